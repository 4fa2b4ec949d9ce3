"""Reads variables.safetensors.

    python use_safetensors.py RESULTS                 writes every array to RESULTS/arrays.npz; needs safetensors
    python use_safetensors.py RESULTS INPUTS.npz ...  writes what the network makes of arrays to RESULTS/INPUTS.npz; needs avc_jax

INPUTS.npz holds arrays under the names of "inputs" in model.json, with a leading batch axis.
"""

import json
import sys
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file

HERE = Path(__file__).resolve().parent


def load():
    """Every array under its path in the tree: {"params.vision.block1.conv1.kernel": ..., ...}."""
    return load_file(HERE / "variables.safetensors")


def tree(arrays):
    """Paths joined by dots as nested dicts."""
    root: dict = {}
    for path, array in arrays.items():
        *folders, name = path.split(".")
        place = root
        for folder in folders:
            place = place.setdefault(folder, {})
        place[name] = array
    return root


def run(inputs):
    """dict of arrays -> dict of arrays: the embedding of each modality, and where none is missing the score of each example."""
    import jax

    from avc_jax import config, systems

    description = json.loads((HERE / "model.json").read_text())
    system, variables = systems.make(config.from_dict(description["config"])), tree(load())
    score = {} if description["missing_modalities"] else {"score": jax.jit(system.score)(variables, inputs)}
    return {**jax.jit(system.embed)(variables, inputs), **score}


def main(folder, *paths):
    if not paths:
        np.savez(Path(folder) / "arrays.npz", **load())
    for path in map(Path, paths):
        np.savez(Path(folder) / path.name, **run(dict(np.load(path))))


if __name__ == "__main__":
    main(*sys.argv[1:])
