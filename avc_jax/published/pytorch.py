"""PyTorch's checkpoints, read and written without PyTorch, and read without running anything that they bring along.

A checkpoint is a zip archive: a pickle that describes the objects, and a file of raw bytes per storage. Before PyTorch 1.6 it was
one file: a few pickles, and the bytes of all storages behind them. A pickle can call any function that it names, so this one may
name those that put tensors together, and nothing else.
"""

import collections
import io
import pickle
import struct
import zipfile
from collections.abc import Callable, Iterable, Mapping
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
        with open(path, "rb") as file:
            tree = _read_zip(file) if zipfile.is_zipfile(file) else _read_before_1_6(file)
        arrays = _state_dict(tree)
    except errors.DataError as error:
        raise errors.DataError(f"{path} {error}") from error
    except (OSError, zipfile.BadZipFile, *BROKEN) as error:
        raise errors.DataError(f"{path} cannot be read as a PyTorch checkpoint: {type(error).__name__}: {error}.") from error
    if not arrays:
        keys = ", ".join(map(str, tree)) if isinstance(tree, Mapping) else type(tree).__name__
        raise errors.DataError(f"{path} holds no state dict, found: {keys}. Save the state_dict() of the network alone.")
    return arrays


# What a damaged or malicious pickle may end with.
BROKEN = (pickle.UnpicklingError, ValueError, TypeError, KeyError, IndexError, AttributeError, EOFError, UnicodeDecodeError,
          MemoryError, OverflowError, RecursionError)


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


def _read_zip(file: IO[bytes]) -> Any:
    """What was saved, with tensors as views of their storages."""
    with zipfile.ZipFile(file) as archive:
        name = next(name for name in archive.namelist() if name.endswith("data.pkl"))
        folder = name.removesuffix("data.pkl")
        _check_order(folder + "byteorder" not in archive.namelist() or archive.read(folder + "byteorder") == b"little")

        def open_storage(dtype: np.dtype, key: str, count: int, _) -> np.ndarray:
            return np.frombuffer(archive.read(f"{folder}data/{key}"), dtype, count)

        with archive.open(name) as pickled:
            return _Unpickler(pickled, open_storage).load()


def _read_before_1_6(file: IO[bytes]) -> Any:
    """As `_read_zip`: storages are as empty as they are when the pickle says how large they are, and filled behind it."""
    storages: dict[str, np.ndarray] = {}
    size = file.seek(0, io.SEEK_END)
    file.seek(0)

    def open_storage(dtype: np.dtype, key: str, count: int, view: Any) -> np.ndarray:
        if not 0 <= count * dtype.itemsize <= size:
            raise errors.DataError(f"is damaged: it has a storage of {count} elements, and {size} bytes in all.")
        whole = storages.setdefault(key, np.empty(count, dtype))
        if view is None:
            return whole
        _, first, length = view
        return whole[first : first + length]

    _, _, machine, tree, keys = (_Unpickler(file, open_storage).load() for _ in range(5))
    _check_order(machine.get("little_endian", True))
    for key in keys:
        count, storage = int.from_bytes(file.read(8), "little"), storages[key]
        content = file.read(storage.nbytes)
        if count != storage.size or len(content) != storage.nbytes:
            raise errors.DataError(f"is damaged: storage {key} of {storage.size} elements has {count}, or ends early.")
        storage[:] = np.frombuffer(content, storage.dtype)
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


def _parameter(tensor: np.ndarray, *_: Any) -> _Parameter:
    return _Parameter(tensor)


class _Unpickler(pickle.Unpickler):
    """Admits plain containers, and tensors as NumPy arrays."""

    def __init__(self, file: IO[bytes], open_storage: _Open):
        super().__init__(file, encoding="utf-8")
        self._open = open_storage

    def find_class(self, module: str, name: str) -> Any:
        # What is returned may be called with anything and have attributes set: bound methods and texts take no harm.
        if module in ("torch", "torch.storage", "torch.cuda") and name in _STORAGES:
            return _STORAGES[name]
        admitted = {("collections", "OrderedDict"): collections.OrderedDict, ("torch", "Size"): tuple, **TENSORS,
                    ("torch._utils", "_rebuild_parameter"): _parameter, ("torch.nn.parameter", "Parameter"): _parameter}
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


def _tensor(storage: np.ndarray, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_: Any) -> np.ndarray:
    """A view of size elements of a storage from offset on, stride elements apart along each axis."""
    last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
    if 0 in size:
        return np.zeros(size, storage.dtype)
    if min(offset, *size, *stride, 0) < 0 or last >= storage.size:
        raise errors.DataError(f"is damaged: a tensor reaches to element {last} of a storage of {storage.size}.")
    steps = [step * storage.itemsize for step in stride]
    return np.lib.stride_tricks.as_strided(storage[offset:], size, steps, writeable=False)


def _storage_of(content: bytes) -> np.ndarray:
    """A storage that was pickled without torch.save, which packs a file of before 1.6 into the pickle."""
    found = _read_before_1_6(io.BytesIO(content))
    if not isinstance(found, np.ndarray):
        raise errors.DataError("is damaged: what should be a storage is none.")
    return found


# What plain pickles call to put tensors together, (module, name) -> what takes its place; for those who read such pickles.
TENSORS = {("torch._utils", "_rebuild_tensor"): _tensor, ("torch._utils", "_rebuild_tensor_v2"): _tensor,
           ("torch.storage", "_load_from_bytes"): _storage_of}


# Writing ---------------------------------------------------------------------------------------------------------------------

_FOLDER = "archive"
_HEADER = 30  # bytes before a file's name
_ALIGNED = 64  # bytes; torch.load(mmap=True) makes tensors of storages where they lie in the file


def write(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Writes a state dict as torch.save does; torch.load(path, weights_only=True) reads it.

    The same arrays give the same bytes: nothing in the file says when or where it was written.

    Args:
      path: the file.
      arrays: name -> array of any shape, of numbers that PyTorch has.
    """
    kept = {name: np.asarray(array, order="C") for name, array in arrays.items()}
    with open(path, "wb") as file, zipfile.ZipFile(file, "w") as archive:
        _put(archive, "data.pkl", _pickle_of(kept), file.tell())
        _put(archive, "byteorder", b"little", file.tell())
        for key, array in enumerate(kept.values()):
            little = array.astype(array.dtype.newbyteorder("<"), copy=False)
            _put(archive, f"data/{key}", little.tobytes(), file.tell())
        _put(archive, "version", b"3\n", file.tell())


def _put(archive: zipfile.ZipFile, name: str, content: bytes, place: int) -> None:
    """Adds a file whose content begins at a multiple of _ALIGNED, by zeros in its header ("FB", as PyTorch calls them).

    Args:
      archive: to add to.
      name: of the file in the folder.
      content: its bytes.
      place: where the archive ends so far.
    """
    about = zipfile.ZipInfo(f"{_FOLDER}/{name}")  # of 1980, and not compressed
    padding = -(place + _HEADER + len(about.filename) + 4) % _ALIGNED
    about.extra = b"FB" + struct.pack("<H", padding) + bytes(padding)
    archive.writestr(about, content)


def _pickle_of(arrays: Mapping[str, np.ndarray]) -> bytes:
    """The pickle of an OrderedDict of tensors, by its opcodes: pickle itself would have to import the functions that it names."""
    out = io.BytesIO()
    ordered_dict = _name("collections", "OrderedDict") + pickle.EMPTY_TUPLE + pickle.REDUCE
    out.write(pickle.PROTO + b"\x02" + ordered_dict + pickle.MARK)
    for key, (name, array) in enumerate(arrays.items()):
        # Of a new array, because NumPy leaves what it likes as the stride of an axis of one.
        strides = [stride // array.itemsize for stride in np.empty(array.shape, array.dtype).strides]
        storage = (pickle.MARK + _text("storage") + _name("torch", _storage_name(array.dtype)) + _text(str(key)) + _text("cpu")
                   + _int(array.size) + pickle.TUPLE + pickle.BINPERSID)
        arguments = pickle.MARK + storage + _int(0) + _ints(array.shape) + _ints(strides) + pickle.NEWFALSE + ordered_dict
        out.write(_text(name) + _name("torch._utils", "_rebuild_tensor_v2") + arguments + pickle.TUPLE + pickle.REDUCE)
    out.write(pickle.SETITEMS + pickle.STOP)
    return out.getvalue()


def _storage_name(dtype: np.dtype) -> str:
    names = {np.dtype(ml_dtypes.bfloat16 if kind == "bfloat16" else kind): name for name, kind in _STORAGES.items()}
    if dtype not in names:
        raise errors.ConfigError(f"PyTorch's files hold no numbers of type {dtype}.")
    return names[dtype]


def _name(module: str, name: str) -> bytes:
    return pickle.GLOBAL + f"{module}\n{name}\n".encode()


def _text(text: str) -> bytes:
    encoded = text.encode()
    return pickle.BINUNICODE + struct.pack("<I", len(encoded)) + encoded


def _int(value: int) -> bytes:
    return pickle.BININT + struct.pack("<i", value)


def _ints(values: Iterable[int]) -> bytes:
    return pickle.MARK + b"".join(map(_int, values)) + pickle.TUPLE
