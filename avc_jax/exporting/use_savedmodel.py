"""Runs the signatures of savedmodel/ on arrays; needs tensorflow alone.

    python use_savedmodel.py RESULTS INPUTS.npz ...    writes what the network makes of arrays to RESULTS/INPUTS.npz

INPUTS.npz holds arrays under the names of "inputs" in model.json, with a leading batch axis; one modality alone will do.
"""

import json
import sys
from pathlib import Path

import numpy as np
import tensorflow as tf

HERE = Path(__file__).resolve().parent


def run(inputs):
    """dict of arrays -> dict of arrays: what each signature gives whose inputs are there."""
    model = tf.saved_model.load(str(HERE / "savedmodel"))
    results: dict = {}
    for name, program in json.loads((HERE / "model.json").read_text())["programs"].items():
        if set(program["inputs"]) <= set(inputs):
            results |= model.signatures[name](**{field: tf.constant(inputs[field]) for field in program["inputs"]})
    return results


def main(folder, *paths):
    for path in map(Path, paths):
        np.savez(Path(folder) / path.name, **run(dict(np.load(path))))


if __name__ == "__main__":
    main(*sys.argv[1:])
