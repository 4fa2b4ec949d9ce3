"""Pickles of plain containers, strings, numbers, arrays and tensors, read without running anything that they bring along.

A pickle can call any function that it names, so this one may name those that put arrays together, and nothing else.
"""

import pickle
from pathlib import Path
from typing import Any

import numpy as np

from avc_jax import errors
from avc_jax.data import limits
from avc_jax.published import pytorch

# A small number takes two bytes of a pickle and forty of memory.
_LEAST_BYTES, _GROWTH = 256 << 20, 40
_PLAIN = {"list": list, "tuple": tuple, "dict": dict, "set": set, "frozenset": frozenset, "str": str, "bytes": bytes, "int": int,
          "float": float, "bool": bool, "complex": complex, "bytearray": bytearray}
_KINDS = "?bBhHiIlLqQefdSUO"  # Characters of the dtypes that are admitted, objects with them: they are of this pickle.


def read(path: Path) -> Any:
    """What a pickle holds.

    Raises:
      DataError: it cannot be read, or names a function that has no business in plain data.
    """
    try:
        # A few changed bytes can ask for any amount of memory, such as a list of 2^32 places for what is referred to later.
        with open(path, "rb") as file, limits.at_most(_LEAST_BYTES + _GROWTH * path.stat().st_size):
            return _Unpickler(file, encoding="latin1").load()
    except errors.DataError as error:
        raise errors.DataError(f"{path} {error}") from error
    except OSError as error:
        raise errors.DataError(f"{path} cannot be read: {error.strerror}.") from error
    except pytorch.BROKEN as error:
        raise errors.DataError(f"{path} is damaged, or no pickle: {type(error).__name__}: {error}.") from error


class _Unpickler(pickle.Unpickler):
    """Admits what `_admitted` lists, by name."""

    def find_class(self, module: str, name: str) -> Any:
        short = module.replace("numpy._core", "numpy.core")
        if module in ("builtins", "__builtin__") and name in _PLAIN:
            return _PLAIN[name]
        if (short, name) not in _ADMITTED:
            raise errors.DataError(f"is refused: it asks for {module}.{name}, and only plain containers, strings, numbers, "
                                   "arrays and tensors are read. If you trust it, load it where it was made and save "
                                   "such data alone.")
        return _ADMITTED[short, name]

    def persistent_load(self, pid: Any) -> Any:
        raise errors.DataError("is refused: it refers to objects outside itself.")


class _Array(np.ndarray):
    """Stands for numpy.ndarray in a pickle, which names it only to have one reconstructed."""


def _reconstruct(kind: Any, shape: Any, code: Any) -> np.ndarray:
    """An array that the pickle fills next."""
    if kind is not _Array:
        raise ValueError("an array of an unknown type")
    return np.ndarray(shape, np.dtype(code if isinstance(code, str) else bytes(code).decode("latin1")))


def _dtype(code: Any, *_: Any) -> np.dtype:
    made = np.dtype(str(code), copy=True)  # The pickle sets its byte order next.
    if made.char not in _KINDS:
        raise ValueError(f"an array of type {made}")
    return made


def _scalar(dtype: np.dtype, value: Any) -> Any:
    if not isinstance(dtype, np.dtype) or dtype.hasobject:
        raise ValueError("a number of an unknown type")
    return np.frombuffer(value if isinstance(value, bytes) else str(value).encode("latin1"), dtype, 1)[0]


def _frombuffer(buffer: Any, dtype: np.dtype, shape: Any, order: str) -> np.ndarray:
    if not isinstance(dtype, np.dtype) or dtype.hasobject:
        raise ValueError("an array of an unknown type")
    return np.frombuffer(bytes(buffer), dtype).reshape(shape, order="F" if order == "F" else "C").copy()


def _encode(text: str, codec: str = "latin1") -> bytes:
    """Bytes, as Python 3 writes them for Python 2."""
    if codec not in ("latin1", "latin-1"):
        raise ValueError(f"bytes in the codec {codec}")
    return text.encode("latin1")


def _ordered(*items: Any) -> dict:
    return dict(*items)


_ADMITTED = {
    ("numpy.core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy.core.multiarray", "scalar"): _scalar,
    ("numpy.core.numeric", "_frombuffer"): _frombuffer,
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _dtype,
    ("_codecs", "encode"): _encode,
    ("collections", "OrderedDict"): _ordered,
    **pytorch.TENSORS,  # as arrays; AVLnet's spectrograms are tensors
}
