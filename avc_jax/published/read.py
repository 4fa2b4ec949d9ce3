"""Reads a published checkpoint, whatever its format: what is in a file decides, not what it is called."""

import zipfile
from pathlib import Path

import numpy as np

from avc_jax import errors

_HDF5 = b"\x89HDF\r\n\x1a\n"
_PYTORCH_BEFORE_1_6 = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."  # the number 0x1950a86a20f9469cfc6c, pickled


def read(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a checkpoint by their names.

    Raises:
      MissingInputError: there is no such file.
      DataError: it is of no format that is read, or damaged.
    """
    if not path.is_file():
        raise errors.MissingInputError(f"{path}: there is no such file.")
    with open(path, "rb") as file:
        start = file.read(64)
    if start.startswith(_HDF5):
        from avc_jax.published import keras

        return keras.read(path)
    if start.startswith(_PYTORCH_BEFORE_1_6):
        from avc_jax.published import pytorch

        return pytorch.read(path)
    if zipfile.is_zipfile(path):
        return _read_zip(path)
    if path.suffix == ".safetensors":
        return _read_safetensors(path)
    raise errors.DataError(f"{path} is of no format that is read: expected HDF5 of Keras (.h5), a state dict of PyTorch "
                           "(.pth, .pt, .tar, .bin), .safetensors or .npz.")


def _read_zip(path: Path) -> dict[str, np.ndarray]:
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
    if any(name.endswith("/data.pkl") for name in names):
        from avc_jax.published import pytorch

        return pytorch.read(path)
    if not names or not all(name.endswith(".npy") for name in names):
        raise errors.DataError(f"{path} is a zip archive, but neither a PyTorch checkpoint nor an .npz: it holds "
                               f"{', '.join(names[:5]) or 'nothing'}.")
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return _unwrapped(dict(arrays))
    except (OSError, ValueError) as error:
        raise errors.DataError(f"{path} cannot be read as .npz: {error}") from error


def _read_safetensors(path: Path) -> dict[str, np.ndarray]:
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        return _unwrapped(load_file(path))
    except (OSError, SafetensorError) as error:
        raise errors.DataError(f"{path} cannot be read as safetensors: {error}.") from error


def _unwrapped(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Arrays without the `module.` that PyTorch's DataParallel put before all of their names."""
    wrapped = bool(arrays) and all(name.startswith("module.") for name in arrays)
    return {name.removeprefix("module."): array for name, array in arrays.items()} if wrapped else arrays
