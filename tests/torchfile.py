"""Writes files as torch.save does, without PyTorch: pickles that name their functions, and raw storages."""

import io
import pickle
import sys
import types
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

STORAGES = {"float64": "DoubleStorage", "float32": "FloatStorage", "float16": "HalfStorage", "bfloat16": "BFloat16Storage",
            "int64": "LongStorage", "int32": "IntStorage", "uint8": "ByteStorage", "bool": "BoolStorage"}


class Tensor:
    """An array of a storage: elements from offset on, stride apart; by default a storage of its own, in C order."""

    def __init__(self, array: np.ndarray, *, storage: "Storage | None" = None, offset: int = 0,
                 stride: tuple[int, ...] | None = None):
        self.size = array.shape
        self.storage = storage or Storage(array)
        self.offset = offset
        self.stride = stride or tuple(np.cumprod((1, *array.shape[:0:-1]), dtype=int)[::-1].tolist() if array.ndim else ())


class Storage:
    def __init__(self, array: np.ndarray):
        self.array = np.ascontiguousarray(array).reshape(-1)


def write(path: Path, tree: Any, *, folder: str = "archive", extra: Mapping[str, bytes] | None = None) -> Path:
    """Writes any tree of containers with `Tensor`s (or arrays) in it."""
    with _PyTorchsNames() as names:
        buffer, storages = io.BytesIO(), {}
        _Pickler(buffer, names, storages).dump(tree)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{folder}/data.pkl", buffer.getvalue())
        for key, storage in storages.items():
            archive.writestr(f"{folder}/data/{key}", storage.array.tobytes())
        archive.writestr(f"{folder}/version", b"3\n")
        for name, content in (extra or {}).items():
            archive.writestr(f"{folder}/{name}", content)
    return path


def write_before_1_6(path: Path, tree: Any, *, little_endian: bool = True) -> Path:
    """Writes what PyTorch before 1.6 did: pickles of a number, a version, the machine, the tree and its keys; then storages."""
    with open(path, "wb") as file, _PyTorchsNames() as names:
        storages: dict[str, Storage] = {}
        for part in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": little_endian, "type_sizes": {"int": 4}}):
            pickle.dump(part, file, protocol=2)
        _Pickler(file, names, storages, before_1_6=True).dump(tree)
        pickle.dump(list(storages), file, protocol=2)
        for storage in storages.values():
            file.write(storage.array.size.to_bytes(8, "little") + storage.array.tobytes())
    return path


class _PyTorchsNames:
    """Stands in for PyTorch's modules while a pickle is written, which looks up every name that it mentions."""

    def __enter__(self) -> types.ModuleType:
        torch, inner = types.ModuleType("torch"), types.ModuleType("torch._utils")
        for name in STORAGES.values():
            setattr(torch, name, type(name, (), {"__module__": "torch"}))

        def _rebuild_tensor_v2():
            pass

        _rebuild_tensor_v2.__module__, _rebuild_tensor_v2.__qualname__ = "torch._utils", "_rebuild_tensor_v2"
        inner._rebuild_tensor_v2, torch._utils = _rebuild_tensor_v2, inner
        self._before = {name: sys.modules.get(name) for name in ("torch", "torch._utils")}
        sys.modules.update({"torch": torch, "torch._utils": inner})
        return torch

    def __exit__(self, *_) -> None:
        for name, module in self._before.items():
            if module is None:
                del sys.modules[name]
            else:
                sys.modules[name] = module


class _Pickler(pickle.Pickler):
    def __init__(self, buffer, names: types.ModuleType, storages: dict[str, Storage], before_1_6: bool = False):
        super().__init__(buffer, protocol=2)
        self._names, self._storages, self._last = names, storages, (None,) if before_1_6 else ()

    def persistent_id(self, value):
        if not isinstance(value, Storage):
            return None
        key = next((key for key, known in self._storages.items() if known is value), str(len(self._storages)))
        self._storages[key] = value
        return ("storage", getattr(self._names, STORAGES[value.array.dtype.name]), key, "cpu", value.array.size, *self._last)

    def reducer_override(self, value):
        if isinstance(value, np.ndarray):
            value = Tensor(value)
        if not isinstance(value, Tensor):
            return NotImplemented
        return self._names._utils._rebuild_tensor_v2, (value.storage, value.offset, value.size, value.stride, False, {})


def bfloat16(values) -> np.ndarray:
    return np.asarray(values, ml_dtypes.bfloat16)
