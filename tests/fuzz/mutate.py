"""Damages to the bytes of a file, drawn from a generator: bit flips, cuts, splices, fields of headers, lengths."""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

# What breaks arithmetic: nothing, one, the edges of signed and unsigned integers, and just beyond.
_VALUES = (0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x10000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 1 << 40, (1 << 63) - 1,
           1 << 63, (1 << 64) - 1)
_EDGE = 4096  # Headers and indices lie at the two ends of a file.


@dataclasses.dataclass(frozen=True)
class Damage:
    """A damaged file.

    Attributes:
      data: its bytes.
      kind: what was done.
      touched: (begin, end) of the bytes that are others now; None where the rest has moved, too.
    """

    data: bytes
    kind: str
    touched: tuple[tuple[int, int], ...] | None

    def write(self, path: Path, number: int, keep: Path | None) -> None:
        """Writes it, and a copy that tells the number of the input into a folder, if one is given."""
        path.write_bytes(self.data)
        if keep is not None:
            keep.mkdir(parents=True, exist_ok=True)
            (keep / f"{number}-{path.name}").write_bytes(self.data)


def damage(data: bytes, rng: np.random.Generator, others: Sequence[bytes] = ()) -> Damage:
    """One to three damages of one kind.

    Args:
      data: of the good file.
      rng: draws.
      others: good files, of which pieces may be spliced in.
    """
    kind = tuple(_KINDS)[int(rng.integers(len(_KINDS)))]
    found, touched = bytearray(data), []
    for _ in range(int(rng.integers(1, 4))):
        if not found:
            break
        touched.append(_KINDS[kind](found, rng, others))
    moved = len(found) != len(data) or None in touched
    return Damage(bytes(found), kind, None if moved else tuple(span for span in touched if span is not None))


def _place(data: bytearray, rng: np.random.Generator) -> int:
    if rng.random() < 0.5:
        return int(rng.integers(len(data)))
    edge = int(rng.integers(min(_EDGE, len(data))))
    return edge if rng.random() < 0.5 else len(data) - 1 - edge


def _flip(data: bytearray, rng, _) -> tuple[int, int]:
    place = _place(data, rng)
    data[place] ^= 1 << int(rng.integers(8))
    return place, place + 1


def _noise(data: bytearray, rng, _) -> tuple[int, int]:
    place = _place(data, rng)
    piece = rng.integers(0, 256, int(rng.integers(1, 64)), np.uint8).tobytes()
    return _put(data, place, piece)


def _zeros(data: bytearray, rng, _) -> tuple[int, int]:
    return _put(data, _place(data, rng), bytes([int(rng.choice((0, 255)))]) * int(rng.integers(1, 2048)))


def _cut(data: bytearray, rng, _) -> None:
    del data[int(rng.integers(len(data))) :]


def _remove(data: bytearray, rng, _) -> None:
    place = _place(data, rng)
    del data[place : place + int(rng.integers(1, 512))]


def _repeat(data: bytearray, rng, _) -> None:
    place, size = _place(data, rng), int(rng.integers(1, 512))
    data[place:place] = data[place : place + size]


def _splice(data: bytearray, rng, others: Sequence[bytes]) -> tuple[int, int] | None:
    source = others[int(rng.integers(len(others)))] if others and rng.random() < 0.5 else bytes(data)
    begin = int(rng.integers(len(source)))
    piece = source[begin : begin + int(rng.integers(1, 1024))]
    place = _place(data, rng)
    if rng.random() < 0.5:
        return _put(data, place, piece)
    data[place:place] = piece
    return None


def _field(data: bytearray, rng, _) -> tuple[int, int]:
    """A value that breaks arithmetic, where a field of 1 to 8 bytes may be."""
    size = int(rng.choice((1, 2, 4, 8)))
    value = _VALUES[int(rng.integers(len(_VALUES)))] % (1 << 8 * size)
    return _put(data, _place(data, rng) // 2 * 2, value.to_bytes(size, str(rng.choice(("little", "big")))))


def _length(data: bytearray, rng, _) -> tuple[int, int] | None:
    """Another number where one stands that could be a length: not 0, and not larger than the file."""
    order, size = str(rng.choice(("little", "big"))), int(rng.choice((2, 4, 8)))
    for _ in range(64):
        place = _place(data, rng)
        value = int.from_bytes(data[place : place + size], order)
        if 0 < value <= len(data) and place + size <= len(data):
            other = int(rng.choice((value - 1, value + 1, value * 2, value // 2, value + len(data), 0)))
            return _put(data, place, other.to_bytes(size, order) if other < 1 << 8 * size else b"\xff" * size)
    return _flip(data, rng, _)


def _put(data: bytearray, place: int, piece: bytes) -> tuple[int, int]:
    piece = piece[: len(data) - place]
    data[place : place + len(piece)] = piece
    return place, place + len(piece)


_KINDS: dict[str, Callable[..., tuple[int, int] | None]] = {
    "flip": _flip, "noise": _noise, "zeros": _zeros, "cut": _cut, "remove": _remove, "repeat": _repeat, "splice": _splice,
    "field": _field, "length": _length}
