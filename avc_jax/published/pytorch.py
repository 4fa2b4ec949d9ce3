"""PyTorch's checkpoints, read and written without PyTorch, and read without running anything that they bring along.

A checkpoint is a zip archive: a pickle that describes the objects, and a file of raw bytes per storage; before PyTorch 1.6 it was
a stream of the same parts. A pickle can call any function that it names, so this one may name those that put tensors
together, and nothing else.
"""

import collections
import io
import pickle
import struct
import zipfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import IO, Any, NoReturn

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
        with open(path, "rb") as file:
            tree = _read_zip(file) if zipfile.is_zipfile(file) else _read_stream(file)
        arrays = _state_dict(tree)
    except errors.DataError as error:
        raise errors.DataError(f"{path} {error}") from error
    except (OSError, zipfile.BadZipFile, *BROKEN) as error:
        raise errors.DataError(f"{path} cannot be read as a PyTorch checkpoint: {type(error).__name__}: {error}.") from error
    if not arrays:
        keys = ", ".join(map(str, tree)) if isinstance(tree, Mapping) else type(tree).__name__
        raise errors.DataError(f"{path} holds no state dict, found: {keys}. Save the state_dict() of the network alone.")
    return arrays


BROKEN = (pickle.UnpicklingError, ValueError, TypeError, KeyError, IndexError, AttributeError, EOFError, UnicodeDecodeError,
          MemoryError, OverflowError, RecursionError)  # what a damaged or malicious pickle may end with


def _state_dict(tree: Any) -> dict[str, np.ndarray]:
    """The arrays of a dict, or of the first of its dicts that trainers keep the network under."""
    if not isinstance(tree, Mapping):
        return {}
    for part in (tree, *(tree[name] for name in _NETWORK if isinstance(tree.get(name), Mapping))):
        arrays = {name: value.copy() for name, value in part.items() if isinstance(name, str) and isinstance(value, np.ndarray)}
        if arrays:
            wrapped = all(name.startswith("module.") for name in arrays)
            return {name.removeprefix("module.") if wrapped else name: array for name, array in arrays.items()}
    return {}


def _read_zip(file: IO[bytes]) -> Any:
    """What torch.save of PyTorch 1.6 and later wrote."""
    with zipfile.ZipFile(file) as archive:
        name = next(name for name in archive.namelist() if name.endswith("data.pkl"))
        folder = name.removesuffix("data.pkl")
        if folder + "byteorder" in archive.namelist() and archive.read(folder + "byteorder") != b"little":
            raise _other_machine()
        return _Unpickler(archive.open(name), lambda kind, key, count: np.frombuffer(
            archive.read(f"{folder}data/{key}"), kind, count)).load()


def _read_stream(file: IO[bytes]) -> Any:
    """What torch.save of PyTorch before 1.6 wrote: a magic number, a version, facts about the machine, the objects, the keys of
    the storages, and last their elements. Tensors are put together before their elements are there."""
    room = file.seek(0, io.SEEK_END)
    file.seek(0)
    magic, version, machine = (_Unpickler(file, _no_storage).load() for _ in range(3))
    if magic != _MAGIC or version != 1001:
        raise errors.DataError("has no layout of PyTorch's.")
    if not machine["little_endian"]:
        raise _other_machine()
    storages: dict[str, np.ndarray] = {}

    def storage(kind: np.dtype, key: str, count: int) -> np.ndarray:
        if not 0 <= count * kind.itemsize <= room:
            raise errors.DataError(f"is damaged: a storage of {count} elements does not fit into it.")
        return storages.setdefault(key, np.zeros(count, kind))

    tree = _Unpickler(file, storage).load()
    for key in _Unpickler(file, _no_storage).load():
        count, found = int.from_bytes(file.read(8), "little"), storages[key]
        content = file.read(found.nbytes)
        if count != found.size or len(content) != found.nbytes:
            raise errors.DataError(f"is damaged: it ends within a storage of {found.size} elements.")
        found[:] = np.frombuffer(content, found.dtype)
    return tree


_MAGIC = 0x1950a86a20f9469cfc6c


def _no_storage(*_: Any) -> NoReturn:
    raise errors.DataError("is damaged: there is a storage where none should be.")


def _other_machine() -> errors.DataError:
    return errors.DataError("has the byte order of another machine; save it again on this one.")


class _Unpickler(pickle.Unpickler):
    """Admits plain containers, and tensors as NumPy arrays, which are views of their storages."""

    def __init__(self, file: IO[bytes], storage: Callable[[np.dtype, str, int], np.ndarray]):
        """
        Args:
          file: where the pickle begins.
          storage: (kind of its numbers, key, count) -> a storage.
        """
        super().__init__(file, encoding="utf-8")
        self._storage = storage

    def find_class(self, module: str, name: str) -> Any:
        # What is returned may be called with anything and have attributes set: bound methods and texts take no harm.
        if module in ("torch", "torch.storage") and name in _STORAGES:
            return _STORAGES[name]
        admitted = {("collections", "OrderedDict"): collections.OrderedDict, ("torch", "Size"): tuple, **TENSORS}
        if (module, name) not in admitted:
            raise errors.DataError(f"is refused: its pickle asks for {module}.{name}, and only tensors and plain containers "
                                   "are read. If you trust it, load it in PyTorch and save the state_dict() of its network.")
        return admitted[module, name]

    def persistent_load(self, pid: Any) -> np.ndarray:
        """The storage that a persistent id ("storage", type, key, device, elements[, part of it]) names."""
        _, dtype, key, _, count, *part = pid
        if dtype not in _STORAGES.values():
            raise errors.DataError(f"is damaged: it has a storage of type {dtype!r}.")
        found = self._storage(np.dtype(ml_dtypes.bfloat16 if dtype == "bfloat16" else dtype), key, count)
        if part and part[0] is not None:
            _, offset, size = part[0]
            return found[offset:offset + size]
        return found


def _tensor(storage: np.ndarray, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_: Any) -> np.ndarray:
    """size elements of a storage from offset on, stride elements apart along each axis."""
    last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
    if 0 in size:
        return np.zeros(size, storage.dtype)
    if min(offset, *size, *stride, 0) < 0 or last >= storage.size:
        raise errors.DataError(f"is damaged: a tensor reaches to element {last} of a storage of {storage.size}.")
    steps = [step * storage.itemsize for step in stride]
    return np.lib.stride_tricks.as_strided(storage[offset:], size, steps, writeable=False)


def _parameter(tensor: np.ndarray, *_: Any) -> np.ndarray:
    return tensor


def _storage_of_bytes(content: bytes) -> np.ndarray:
    """A storage that was pickled without torch.save, which packs one of its files into the pickle."""
    found = _read_stream(io.BytesIO(content))
    if not isinstance(found, np.ndarray):
        raise errors.DataError("is damaged: what should be a storage is none.")
    return found


# What pickles call to put tensors together, (module, name) -> what takes its place; for other readers of pickles as well.
TENSORS = {("torch._utils", "_rebuild_tensor_v2"): _tensor, ("torch._utils", "_rebuild_parameter"): _parameter,
           ("torch.storage", "_load_from_bytes"): _storage_of_bytes}


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
        storage = (pickle.MARK + _text("storage") + _name("torch", _storage_of(array.dtype)) + _text(str(key)) + _text("cpu")
                   + _int(array.size) + pickle.TUPLE + pickle.BINPERSID)
        arguments = pickle.MARK + storage + _int(0) + _ints(array.shape) + _ints(strides) + pickle.NEWFALSE + ordered_dict
        out.write(_text(name) + _name("torch._utils", "_rebuild_tensor_v2") + arguments + pickle.TUPLE + pickle.REDUCE)
    out.write(pickle.SETITEMS + pickle.STOP)
    return out.getvalue()


def _storage_of(dtype: np.dtype) -> str:
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
