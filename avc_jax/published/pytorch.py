"""PyTorch's checkpoints, read without PyTorch and without running anything that they bring along.

A checkpoint is a zip archive: a pickle that describes the objects, and a file of raw bytes per storage. A pickle can call any
function that it names, so this one may name those that put tensors together, and nothing else.
"""

import collections
import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

from avc_jax import errors

_STORAGES = {"DoubleStorage": "<f8", "FloatStorage": "<f4", "HalfStorage": "<f2", "BFloat16Storage": "bfloat16",
             "LongStorage": "<i8", "IntStorage": "<i4", "ShortStorage": "<i2", "CharStorage": "i1", "ByteStorage": "u1",
             "BoolStorage": "?"}
# Under these the trainers of published systems keep the network beside epochs and optimizers.
_NETWORK = ("state_dict", "model_state_dict", "model", "net", "network")


def read(path: Path) -> dict[str, np.ndarray]:
    """The state dict, name -> array. Names lose the `module.` that PyTorch's DataParallel puts before all of them.

    Raises:
      DataError: it cannot be read, holds no state dict, or its pickle names a function that has no business in one.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            tree = _Unpickler(archive).load()
    except errors.DataError as error:
        raise errors.DataError(f"{path} {error}") from error
    except (OSError, pickle.UnpicklingError, zipfile.BadZipFile, *_MALFORMED) as error:
        raise errors.DataError(f"{path} cannot be read as a PyTorch checkpoint: {type(error).__name__}: {error}.") from error
    arrays = _state_dict(tree)
    if not arrays:
        keys = ", ".join(map(str, tree)) if isinstance(tree, Mapping) else type(tree).__name__
        raise errors.DataError(f"{path} holds no state dict, found: {keys}. Save the state_dict() of the network alone.")
    return arrays


_MALFORMED = (ValueError, TypeError, KeyError, IndexError, AttributeError, EOFError, UnicodeDecodeError)


def _state_dict(tree: Any) -> dict[str, np.ndarray]:
    """The arrays of a dict, or of the first of its dicts that trainers keep the network under."""
    if not isinstance(tree, Mapping):
        return {}
    for part in (tree, *(tree[name] for name in _NETWORK if isinstance(tree.get(name), Mapping))):
        arrays = {name: value for name, value in part.items() if isinstance(name, str) and isinstance(value, np.ndarray)}
        if arrays:
            wrapped = all(name.startswith("module.") for name in arrays)
            return {name.removeprefix("module.") if wrapped else name: array for name, array in arrays.items()}
    return {}


class _Unpickler(pickle.Unpickler):
    """Admits plain containers, and tensors as NumPy arrays."""

    def __init__(self, archive: zipfile.ZipFile):
        name = next(name for name in archive.namelist() if name.endswith("data.pkl"))
        super().__init__(archive.open(name), encoding="utf-8")
        self._archive, self._folder = archive, name.removesuffix("data.pkl")
        if self._folder + "byteorder" in archive.namelist() and archive.read(self._folder + "byteorder") != b"little":
            raise errors.DataError("has the byte order of another machine; save it again on this one.")

    def find_class(self, module: str, name: str) -> Any:
        # What is returned may be called with anything and have attributes set: bound methods and texts take no harm.
        if module in ("torch", "torch.storage") and name in _STORAGES:
            return _STORAGES[name]
        admitted = {("collections", "OrderedDict"): collections.OrderedDict, ("torch", "Size"): tuple,
                    ("torch._utils", "_rebuild_tensor_v2"): self._tensor, ("torch._utils", "_rebuild_parameter"): self._parameter}
        if (module, name) not in admitted:
            raise errors.DataError(f"is refused: its pickle asks for {module}.{name}, and only tensors and plain containers "
                                   "are read. If you trust it, load it in PyTorch and save the state_dict() of its network.")
        return admitted[module, name]

    def persistent_load(self, pid: Any) -> np.ndarray:
        """The storage that a persistent id ("storage", type, key, device, elements) names."""
        _, dtype, key, _, count = pid
        if dtype not in _STORAGES.values():
            raise errors.DataError(f"is damaged: it has a storage of type {dtype!r}.")
        kind = np.dtype(ml_dtypes.bfloat16 if dtype == "bfloat16" else dtype)
        return np.frombuffer(self._archive.read(f"{self._folder}data/{key}"), kind, count)

    def _tensor(self, storage: np.ndarray, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_) -> np.ndarray:
        """size elements of a storage from offset on, stride elements apart along each axis."""
        last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
        if 0 in size:
            return np.zeros(size, storage.dtype)
        if min(offset, *size, *stride, 0) < 0 or last >= storage.size:
            raise errors.DataError(f"is damaged: a tensor reaches to element {last} of a storage of {storage.size}.")
        steps = [step * storage.itemsize for step in stride]
        return np.lib.stride_tricks.as_strided(storage[offset:], size, steps, writeable=False).copy()

    def _parameter(self, tensor: np.ndarray, *_) -> np.ndarray:
        return tensor
