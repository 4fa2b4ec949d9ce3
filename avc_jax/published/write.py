"""Writes the arrays of a published checkpoint in the format that its file's name asks for, and reads them back."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from avc_jax import errors
from avc_jax.published.read import read

Arrays = Mapping[str, np.ndarray]


def write(path: Path, arrays: Arrays) -> None:
    """Writes a file that `read` gives the same arrays of, bit by bit; an earlier file there is replaced.

    Raises:
      ConfigError: the name of the file asks for no format that is written, or for one that cannot hold these arrays.
      CannotWriteError: it cannot be written, or reads back differently; what was there before still is.
    """
    writer = _WRITERS.get(path.suffix)
    if writer is None or path.is_dir():
        raise errors.ConfigError(f"--out={path}: expected the name of a file that ends in {', '.join(_WRITERS)}.")
    arrays = {name: np.asarray(array, order="C") for name, array in arrays.items()}  # safetensors takes others for such
    temporary = path.with_name(f".{path.stem}.tmp{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        writer(temporary, arrays)
        changed = _changed(read(temporary), arrays)
        if changed:
            raise errors.CannotWriteError(f"--out={path}: what was written reads back differently: {', '.join(changed[:5])}.")
        os.replace(temporary, path)
    except OSError as error:
        raise errors.CannotWriteError(f"--out={path} cannot be written: {error}.") from error
    finally:
        if temporary.exists():
            temporary.unlink()


def how_to_load(path: Path) -> str:
    """A line of Python that loads what was written."""
    return _LOADERS[path.suffix].format(path=path)


def _changed(found: Arrays, wanted: Arrays) -> list[str]:
    def same(name: str) -> bool:
        one, other = found.get(name), wanted.get(name)
        return (one is not None and other is not None and (one.dtype, one.shape) == (other.dtype, other.shape)
                and one.tobytes() == other.tobytes())

    return [name for name in sorted({*found, *wanted}) if not same(name)]


def _write_npz(path: Path, arrays: Arrays) -> None:
    named: dict[str, Any] = dict(arrays)
    np.savez(path, **named)


def _write_safetensors(path: Path, arrays: Arrays) -> None:
    from safetensors.numpy import save

    path.write_bytes(save(dict(arrays)))


def _write_torch(path: Path, arrays: Arrays) -> None:
    from avc_jax.published import pytorch

    pytorch.write(path, arrays)


def _write_keras(path: Path, arrays: Arrays) -> None:
    from avc_jax.published import keras

    keras.write(path, arrays)


_TORCH = (".pt", ".pth", ".tar", ".bin")
_WRITERS: dict[str, Callable[[Path, Arrays], None]] = {
    ".safetensors": _write_safetensors, ".npz": _write_npz, **dict.fromkeys(_TORCH, _write_torch), ".h5": _write_keras}
_LOADERS = {".safetensors": 'safetensors.torch.load_file("{path}")', ".npz": 'numpy.load("{path}")',
            **dict.fromkeys(_TORCH, 'torch.load("{path}", weights_only=True)'), ".h5": 'model.load_weights("{path}")'}
