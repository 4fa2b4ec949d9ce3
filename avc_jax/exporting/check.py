"""Reads an export back in a process of its own, without avc_jax's code, and compares it with the live model."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import jax
import numpy as np

from avc_jax import errors
from avc_jax.exporting.arrays import flatten
from avc_jax.exporting.programs import Program
from avc_jax.model import Model

BATCH_SIZES = (1, 3)
# Largest difference allowed, as a share of the largest value: what the order of sums may change in each precision.
TOLERANCE = {"float32": 1e-5, "bfloat16": 3e-2}

_ROOT = Path(__file__).resolve().parents[2]
_START = ("import runpy, sys; sys.modules.update(dict.fromkeys({without!r})); del sys.argv[0]; "
          "runpy.run_path(sys.argv[0], run_name='__main__')")


class Trial(NamedTuple):
    """A batch of random inputs, and what the live model makes of it."""

    inputs: dict[str, np.ndarray]
    outputs: dict[str, np.ndarray]


def make_trials(model: Model, programs: Sequence[Program]) -> list[Trial]:
    """One trial for each of BATCH_SIZES."""
    rng = np.random.default_rng(0)
    features = {name: feature for program in programs for name, feature in program.inputs.items()}
    trials = []
    for rows in BATCH_SIZES:
        inputs = {name: _random(rng, (rows, *feature.shape), np.dtype(feature.dtype)) for name, feature in features.items()}
        outputs: dict[str, np.ndarray] = {}
        for program in programs:
            given = {name: inputs[name] for name in program.inputs}
            outputs |= jax.device_get(jax.jit(program.call)(model.variables, given))
        trials.append(Trial(inputs, outputs))
    return trials


def _random(rng: np.random.Generator, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    if dtype.kind == "f":
        return rng.uniform(-1, 1, shape).astype(dtype)
    return rng.integers(np.iinfo(dtype).min, np.iinfo(dtype).max, shape, dtype, endpoint=True)


def read_back(form: ModuleType, folder: Path, model: Model, trials: Sequence[Trial]) -> float:
    """Reads a format back with the script that is shipped beside it, and compares it with the live model.

    Arrays have to be equal to those of the model, by name, dtype, shape and bits; only then is the network built from them.

    Args:
      form: module of the format.
      folder: of the export, with model.json and the script.
      model: which was exported.
      trials: of the model.

    Returns:
      The largest difference between what it gives and what the live model gives, as a share of the largest value.

    Raises:
      CannotWriteError: it cannot be read, or differs.
    """
    script = folder / f"use_{form.__name__.rpartition('.')[2]}.py"
    if form.HOLDS == "arrays":
        (found,) = _run(script, [], ["arrays"], form.WITHOUT)
        _compare_arrays(script, found, flatten(model.variables))
    names = [f"batch{len(next(iter(trial.inputs.values())))}" for trial in trials]
    results = _run(script, [trial.inputs for trial in trials], names, () if form.HOLDS == "arrays" else form.WITHOUT)
    return max(_compare_outputs(script, found, trial.outputs, TOLERANCE[model.config.train.precision])
               for found, trial in zip(results, trials, strict=True))


def _run(script: Path, batches: list[dict[str, Any]], names: list[str], without: tuple[str, ...]) -> list[dict]:
    """What the script makes of batches; each travels under a name of `names`, and so does what comes back."""
    with tempfile.TemporaryDirectory() as scratch:
        results = Path(scratch) / "results"
        results.mkdir()
        paths = [Path(scratch) / f"{name}.npz" for name in names[:len(batches)]]
        for path, batch in zip(paths, batches, strict=True):
            np.savez(path, **batch)
        # Flags of JAX's compiler mean nothing to TensorFlow's, which ends over them.
        kept = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "XLA_FLAGS")}
        ours = {} if "avc_jax" in without else {"PYTHONPATH": str(_ROOT)}
        done = subprocess.run(
            [sys.executable, "-c", _START.format(without=without), str(script), str(results), *map(str, paths)], cwd=scratch,
            env=kept | {"JAX_PLATFORMS": "cpu"} | ours, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise errors.CannotWriteError(f"{script.name} cannot read what was exported; it ended with {done.returncode} and "
                                          f"said:\n{done.stderr[-2000:]}")
        return [dict(np.load(results / f"{name}.npz")) for name in names]


def _compare_arrays(script: Path, found: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    _compare_names(script, found, expected)
    for name, array in expected.items():
        if found[name].dtype != array.dtype or found[name].shape != array.shape or found[name].tobytes() != array.tobytes():
            raise errors.CannotWriteError(
                f"{script.name} reads {name} differently from what it is in the model: found {found[name].dtype}"
                f"{list(found[name].shape)}, expected {array.dtype}{list(array.shape)} with the same bits.")


def _compare_outputs(script: Path, found: dict[str, np.ndarray], expected: dict[str, np.ndarray], tolerance: float) -> float:
    _compare_names(script, found, expected)
    worst = 0.0
    for name, array in expected.items():
        if found[name].shape != array.shape:
            raise errors.CannotWriteError(f"{script.name} gives {name} of shape {found[name].shape}, expected {array.shape}.")
        difference = float(np.abs(found[name] - array).max() / (np.abs(array).max() or 1))
        if not difference <= tolerance:  # also where it is no number
            raise errors.CannotWriteError(f"{script.name} gives {name} that differs from the live model's by {difference:.2g} of "
                                          f"its largest value in a batch of {len(array)}; at most {tolerance:g} is allowed.")
        worst = max(worst, difference)
    return worst


def _compare_names(script: Path, found: dict, expected: dict) -> None:
    if found.keys() != expected.keys():
        raise errors.CannotWriteError(f"{script.name} gives {', '.join(sorted(found)) or 'nothing'}; expected "
                                      f"{', '.join(sorted(expected))}.")
