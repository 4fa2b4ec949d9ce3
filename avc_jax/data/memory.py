"""Memory that is used again: to get fresh memory can take as long as what it is wanted for."""

import threading

import numpy as np

_ALIGNMENT = 64
_MOST_KEPT = 8  # free ones of each size, of which a running pipeline has one or two
_LEAST_BYTES = 1 << 20  # what is smaller, malloc keeps
_kept: dict[int, list[np.ndarray]] = {}


def empty(shape: tuple[int, ...], dtype) -> np.ndarray:
    """An array, not filled, at an address that TensorFlow takes over without copying.

    When nobody refers to it any more, its memory is kept for the next one of its size. So it belongs to whoever has it as any
    array does, for as long as that one likes.
    """
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    try:
        memory = _kept[size].pop()  # the one that was used last, of which the caches may still hold something
    except (KeyError, IndexError):
        whole = np.empty(size + _ALIGNMENT, np.uint8)
        begin = -whole.ctypes.data % _ALIGNMENT
        memory = whole[begin : begin + size]
    if size >= _LEAST_BYTES:
        memory = np.asarray(_Loan(memory))
    return memory.view(dtype).reshape(shape)


class _Loan:
    """What an array refers to as the owner of its memory."""

    def __init__(self, memory: np.ndarray):
        self._memory, self.__array_interface__ = memory, memory.__array_interface__

    def __del__(self, kept=_kept):
        # No lock, as this may run in the middle of anything; each of these operations is one of the interpreter's. `kept` is
        # bound here, because the module may be gone by then.
        kept = kept.setdefault(self._memory.nbytes, [])
        if len(kept) < _MOST_KEPT:
            kept.append(self._memory)


class Scratch(threading.local):
    """Memory of a thread."""

    def __init__(self):
        self._buffer = bytearray()

    def take(self, size: int) -> memoryview:
        """So many bytes, the same ones each time."""
        if len(self._buffer) < size:
            self._buffer = bytearray(size)
        return memoryview(self._buffer)[:size]
