"""PyTorch's checkpoints, read without PyTorch and without running anything that they bring along.

A checkpoint is a zip archive: a pickle that describes the objects, and a file of raw bytes per storage. Before PyTorch 1.6 it was
one file: a few pickles, and the bytes of all storages behind them. A pickle can call any function that it names, so this one may
name those that put tensors together, and nothing else.
"""

import collections
import pickle
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any

import ml_dtypes
import numpy as np

from avc_jax import errors

_STORAGES = {"DoubleStorage": "<f8", "FloatStorage": "<f4", "HalfStorage": "<f2", "BFloat16Storage": "bfloat16",
             "LongStorage": "<i8", "IntStorage": "<i4", "ShortStorage": "<i2", "CharStorage": "i1", "ByteStorage": "u1",
             "BoolStorage": "?"}
# Under these the trainers of published systems keep the network beside epochs and optimizers.
_NETWORK = ("state_dict", "model_state_dict", "model", "net", "network")

# (type of its elements, its key, how many, what part of another it is) -> a storage.
_Open = Callable[[np.dtype, str, int, Any], np.ndarray]


def read(path: Path) -> dict[str, np.ndarray]:
    """The state dict, name -> array. Names lose the `module.` that PyTorch's DataParallel puts before all of them.

    Raises:
      DataError: it cannot be read, holds no state dict, or its pickle names a function that has no business in one.
    """
    try:
        tree = _read_zip(path) if zipfile.is_zipfile(path) else _read_before_1_6(path)
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
        plain = {name: value.tensor if isinstance(value, _Parameter) else value for name, value in part.items()}
        arrays = {name: value.copy() for name, value in plain.items() if isinstance(name, str) and isinstance(value, np.ndarray)}
        if arrays:
            wrapped = all(name.startswith("module.") for name in arrays)
            return {name.removeprefix("module.") if wrapped else name: array for name, array in arrays.items()}
    return {}


def _read_zip(path: Path) -> Any:
    """What was saved, with tensors as views of their storages."""
    with zipfile.ZipFile(path) as archive:
        name = next(name for name in archive.namelist() if name.endswith("data.pkl"))
        folder = name.removesuffix("data.pkl")
        _check_order(folder + "byteorder" not in archive.namelist() or archive.read(folder + "byteorder") == b"little")

        def open_storage(dtype: np.dtype, key: str, count: int, _) -> np.ndarray:
            return np.frombuffer(archive.read(f"{folder}data/{key}"), dtype, count)

        with archive.open(name) as file:
            return _Unpickler(file, open_storage).load()


def _read_before_1_6(path: Path) -> Any:
    """As `_read_zip`: storages are as empty as they are when the pickle says how large they are, and filled behind it."""
    storages: dict[str, np.ndarray] = {}
    size = path.stat().st_size

    def open_storage(dtype: np.dtype, key: str, count: int, view: Any) -> np.ndarray:
        if not 0 <= count * dtype.itemsize <= size:
            raise errors.DataError(f"is damaged: it has a storage of {count} elements, and {size} bytes in all.")
        whole = storages.setdefault(key, np.empty(count, dtype))
        if view is None:
            return whole
        _, first, length = view
        return whole[first : first + length]

    with open(path, "rb") as file:
        _, _, machine, tree, keys = (_Unpickler(file, open_storage).load() for _ in range(5))
        _check_order(machine.get("little_endian", True))
        for key in keys:
            count, storage = int.from_bytes(file.read(8), "little"), storages[key]
            if count != storage.size or file.readinto(storage.view(np.uint8).data) != storage.nbytes:
                raise errors.DataError(f"is damaged: storage {key} of {storage.size} elements has {count}, or ends early.")
    return tree


def _check_order(is_little: bool) -> None:
    if not is_little:
        raise errors.DataError("has the byte order of another machine; save it again on this one.")


class _Parameter:
    """A parameter: its tensor. What else is said of it, such as whether it trains, is dropped."""

    def __init__(self, tensor: np.ndarray, *_):
        self.tensor = tensor

    def __setstate__(self, _) -> None:
        pass


class _Unpickler(pickle.Unpickler):
    """Admits plain containers, and tensors as NumPy arrays."""

    def __init__(self, file: IO[bytes], open_storage: _Open):
        super().__init__(file, encoding="utf-8")
        self._open = open_storage

    def find_class(self, module: str, name: str) -> Any:
        # What is returned may be called with anything and have attributes set: bound methods and texts take no harm.
        if module in ("torch", "torch.storage", "torch.cuda") and name in _STORAGES:
            return _STORAGES[name]
        admitted = {("collections", "OrderedDict"): collections.OrderedDict, ("torch", "Size"): tuple,
                    ("torch._utils", "_rebuild_tensor"): self._tensor, ("torch._utils", "_rebuild_tensor_v2"): self._tensor,
                    ("torch._utils", "_rebuild_parameter"): self._parameter, ("torch.nn.parameter", "Parameter"): self._parameter}
        if (module, name) not in admitted:
            raise errors.DataError(f"is refused: its pickle asks for {module}.{name}, and only tensors and plain containers "
                                   "are read. If you trust it, load it in PyTorch and save the state_dict() of its network.")
        return admitted[module, name]

    def persistent_load(self, pid: Any) -> np.ndarray:
        """The storage that a persistent id ("storage", type, key, device, elements[, part of another]) names."""
        _, dtype, key, _, count, *view = pid
        if dtype not in _STORAGES.values():
            raise errors.DataError(f"is damaged: it has a storage of type {dtype!r}.")
        return self._open(np.dtype(ml_dtypes.bfloat16 if dtype == "bfloat16" else dtype), key, count, view[0] if view else None)

    def _tensor(self, storage: np.ndarray, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_) -> np.ndarray:
        """A view of size elements of a storage from offset on, stride elements apart along each axis."""
        last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
        if 0 in size:
            return np.zeros(size, storage.dtype)
        if min(offset, *size, *stride, 0) < 0 or last >= storage.size:
            raise errors.DataError(f"is damaged: a tensor reaches to element {last} of a storage of {storage.size}.")
        steps = [step * storage.itemsize for step in stride]
        return np.lib.stride_tricks.as_strided(storage[offset:], size, steps, writeable=False)

    def _parameter(self, tensor: np.ndarray, *_) -> _Parameter:
        return _Parameter(tensor)
