"""Between the arrays of a published checkpoint and our variables, both as flat dicts of names."""

from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from typing import Any

import numpy as np

from avc_jax import errors
from avc_jax.published.table import Checkpoint, torch_counters
from avc_jax.schema import nearest

Arrays = Mapping[str, np.ndarray]

_MOST_ALIKE = 100  # names that differ and are compared with each other


def strangers(arrays: Arrays, kind: Checkpoint) -> list[str]:
    """What tells by names alone that arrays are not of a kind: names that are missing, extra, or known with another shape."""
    known, found = {entry.theirs for entry in kind.entries}, set(arrays)
    lacking, more = known - found, found - known
    # Where nearly all differ, likeness tells nothing and takes a minute to find.
    alike = nearest if len(lacking) + len(more) <= _MOST_ALIKE else lambda name, names: ""
    missing = [f"missing: {name}.{alike(name, more)}" for name in sorted(lacking)]
    return missing + [line for name in sorted(more) for line in _beside(name, arrays[name], kind, alike(name, lacking))]


def _beside(name: str, array: np.ndarray, kind: Checkpoint, question: str) -> list[str]:
    shapes = [shape for pattern, shape in kind.beside.items() if fnmatchcase(name, pattern)]
    if not shapes:
        return [f"extra: {name}, {_form(array)}.{question}"]
    if None in shapes or array.shape in shapes:
        return []
    return [f"misshapen: {name} is {_form(array)}, expected {' or '.join(str(list(shape or ())) for shape in shapes)}."]


def misfits(arrays: Arrays, kind: Checkpoint, shapes: Mapping[str, Any]) -> list[str]:
    """Everything that keeps arrays from becoming variables, one line each; empty if nothing does.

    Args:
      arrays: of the published checkpoint.
      kind: what it is taken for.
      shapes: our path -> what has the shape of our variable.
    """
    lines = strangers(arrays, kind)
    for entry in kind.entries:
        if entry.theirs not in arrays:
            continue
        array, wanted = arrays[entry.theirs], tuple(shapes[entry.ours].shape)
        if not entry.fits(array.shape, wanted):
            expected = entry.to_theirs(np.broadcast_to(np.float32(0), wanted)).shape
            lines.append(f"misshapen: {entry.theirs} is {_form(array)}, expected {list(expected)} (our {entry.ours}).")
        elif not np.issubdtype(array.dtype, np.floating) and array.dtype.name != "bfloat16":
            lines.append(f"not of numbers: {entry.theirs} is {_form(array)}, expected float32.")
    return lines


def initial_paths(kind: Checkpoint, paths: Iterable[str]) -> list[str]:
    """Those of our paths that a kind of checkpoint has nothing for."""
    return [path for path in paths if any(fnmatchcase(path, pattern) for pattern in kind.initial)]


def to_ours(arrays: Arrays, kind: Checkpoint, shapes: Mapping[str, Any], initial: Arrays) -> dict[str, np.ndarray]:
    """Our variables, path -> array.

    Args:
      arrays: of the published checkpoint.
      kind: what it is.
      shapes: our path -> what has the shape and the dtype of our variable.
      initial: the variables that `initial_paths` names.

    Raises:
      ConfigError: arrays do not fit; every array that does not is named.
    """
    lines = misfits(arrays, kind, shapes)
    if lines:
        raise errors.ConfigError("\n  ".join([f"{len(lines)} of the arrays do not fit:", *lines]))
    ours = {entry.ours: np.asarray(entry.to_ours(arrays[entry.theirs]), shapes[entry.ours].dtype) for entry in kind.entries}
    return {path: initial[path] if path in initial else ours[path] for path in shapes}


def to_theirs(variables: Arrays, kind: Checkpoint) -> dict[str, np.ndarray]:
    """The arrays of a published checkpoint, name -> array, of our variables by their paths: the inverse of `to_ours`."""
    return {entry.theirs: np.asarray(entry.to_theirs(np.asarray(variables[entry.ours])), order="C") for entry in kind.entries}


def kept_aside(arrays: Arrays, kind: Checkpoint) -> dict[str, np.ndarray]:
    """Those of a published checkpoint's arrays that `to_ours` has no use for, and that make it whole again."""
    known = {entry.theirs for entry in kind.entries}
    return {name: np.asarray(array, order="C") for name, array in arrays.items() if name not in known}


def counters(kind: Checkpoint, steps: int) -> dict[str, np.ndarray]:
    """The counters of batches that a published network expects beside our variables, as they are after some steps."""
    return {name: np.array(steps, np.int64) for name in torch_counters(kind)}


def _form(array: np.ndarray) -> str:
    return f"{array.dtype.name}{list(array.shape)}"
