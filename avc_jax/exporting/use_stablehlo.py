"""Runs the programs in stablehlo/ on arrays; needs jax alone.

    python use_stablehlo.py RESULTS INPUTS.npz ...     writes what the network makes of arrays to RESULTS/INPUTS.npz

INPUTS.npz holds arrays under the names of "inputs" in model.json, with a leading batch axis; one modality alone will do.
"""

import json
import sys
from pathlib import Path

import jax.export
import numpy as np

HERE = Path(__file__).resolve().parent


def run(inputs):
    """dict of arrays -> dict of arrays: what each program gives whose inputs are there."""
    results: dict = {}
    for name, program in json.loads((HERE / "model.json").read_text())["programs"].items():
        if set(program["inputs"]) <= set(inputs):
            exported = jax.export.deserialize((HERE / "stablehlo" / f"{name}.bin").read_bytes())
            results |= exported.call({field: inputs[field] for field in program["inputs"]})
    return results


def main(folder, *paths):
    for path in map(Path, paths):
        np.savez(Path(folder) / path.name, **run(dict(np.load(path))))


if __name__ == "__main__":
    main(*sys.argv[1:])
