"""Reads variables/, an Orbax checkpoint.

    python use_orbax.py RESULTS                  writes every array to RESULTS/arrays.npz; needs orbax-checkpoint
    python use_orbax.py RESULTS INPUTS.npz ...   writes what the network makes of arrays to RESULTS/INPUTS.npz; needs avc_jax

INPUTS.npz holds arrays under the names of "inputs" in model.json, with a leading batch axis.
"""

import sys
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent


def load():
    """Every array, in nested dicts: {"params": {...}, ...}."""
    import orbax.checkpoint as ocp

    return ocp.StandardCheckpointer().restore(HERE / "variables")


def flatten(tree, path=()):
    """Nested dicts as one, with keys joined by dots."""
    if not isinstance(tree, dict):
        return {".".join(path): np.asarray(tree)}
    return {name: leaf for key in tree for name, leaf in flatten(tree[key], (*path, key)).items()}


def run(inputs):
    """dict of arrays -> dict of arrays: the embedding of each modality, and where none is missing the score of each example."""
    import jax

    from avc_jax import model

    net = model.load(HERE)
    score = {} if net.missing_modalities else {"score": jax.jit(net.system.score)(net.variables, inputs)}
    return {**net.embed(**inputs), **score}


def main(folder, *paths):
    if not paths:
        np.savez(Path(folder) / "arrays.npz", **flatten(load()))
    for path in map(Path, paths):
        np.savez(Path(folder) / path.name, **run(dict(np.load(path))))


if __name__ == "__main__":
    main(*sys.argv[1:])
