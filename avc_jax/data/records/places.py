"""Where in a shard the parts of its records lie: to read one frame or one second of a record, and not all of it.

Beside each shard stands a table of its parts (each frame, and each stretch of 16 KiB of sound) with their checksums. Whoever
reads a part compares its checksum, so nothing is lost by going around ArrayRecord's reader, which gives whole records only.
A checksum is seeded with the record that the part is of, its number there and its size in pixels. So it also tells when the table
is damaged, and when shard and table are no longer those that the reader knows; neither has to be read as a whole to be trusted.

A part is placed in the logical stream of the file: its bytes less the block headers of 24 bytes that Riegeli, the container
below ArrayRecord, puts at each multiple of 64 KiB (riegeli/doc/riegeli_records_file_format.md). The tables are made by looking
for each record in that stream, so should the layout ever be another, the shard cannot be made.
"""

import io
import os
import struct
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import xxhash
from PIL import Image

from avc_jax.data.clock import Span
from avc_jax.data.memory import Scratch
from avc_jax.data.records.example import Content, parse

_BLOCK, _HEADER = 65536, 24
_PAYLOAD = _BLOCK - _HEADER
_BETWEEN = 65536  # More than what lies between two records: the header of a chunk.
_MOST_PIECES = 1024  # that a system call takes
SOUND_BYTES = 16384
_scratch = Scratch()
_skipped = bytearray(_HEADER)  # what is read there is of no use to anybody

PART = np.dtype([("offset", "<i8"), ("size", "<u4"), ("height", "<u2"), ("width", "<u2"), ("xxh3", "<u8")])
_ROW = struct.Struct("<qIHHQ")  # of PART: for a few rows, NumPy takes longer
# One record. Spans are those of the clip, in seconds on the clock of its file; frame n is part first_part + n, and was on
# screen from frames_start_s + n / fps on; behind the last frame's follow the parts of the sound. `xxh3` is of all its bytes.
RECORD = np.dtype([
    ("declared_start_s", "<f8"), ("declared_end_s", "<f8"), ("measured_start_s", "<f8"), ("measured_end_s", "<f8"),
    ("frames_start_s", "<f8"), ("frames_end_s", "<f8"), ("sound_start_s", "<f8"), ("samples", "<i8"),
    ("first_part", "<i8"), ("frames", "<i4"), ("shard", "<i4"), ("xxh3", "<u8")])


class Record(NamedTuple):
    """What is needed of a row of RECORD to read parts."""

    first_part: int
    frames: int
    xxh3: int


class DamagedPart(Exception):
    """A shard does not hold what was written."""


def locate(path: Path, records: Iterable[tuple[bytes, Span, Span]]) -> tuple[np.ndarray, np.ndarray]:
    """The tables of a shard.

    Args:
      path: the shard.
      records: for each record in order its bytes, and the declared and the measured span of its clip.

    Returns:
      RECORD[n] and PART[m].

    Raises:
      OSError: a record is not found in the file as one piece.
    """
    rows: list[tuple] = []
    parts: list[tuple] = []
    start = 0
    with open(path, "rb", buffering=0) as file:
        for record, declared, measured in records:
            found = bytes(_read(file.fileno(), start, len(record) + _BETWEEN)).find(record)
            if found < 0:
                raise OSError(f"record {len(rows)} does not lie in the file as one piece, so it could not be read in parts")
            content, start = parse(record), start + found
            rows.append((declared.start_s, declared.end_s, measured.start_s, measured.end_s, content.frame_s[0],
                         content.frames_end_s, content.sound_start_s, len(content.sound), len(parts), len(content.frames), -1,
                         xxhash.xxh3_64_intdigest(record)))
            parts += _parts(record, start, content)
            start += len(record)
    return np.array(rows, RECORD), np.array(parts, PART)


def _parts(record: bytes, start: int, content: Content) -> list[tuple[int, int, int, int, int]]:
    parts: list[tuple[int, int, int, int, int]] = []
    seed = xxhash.xxh3_64_intdigest(record)

    def add(place: int, piece: bytes, height: int = 0, width: int = 0) -> None:
        parts.append((start + place, len(piece), height, width, _checksum(piece, seed, len(parts), height, width)))

    place = 0
    for frame in content.frames:
        place = record.index(frame, place)
        width, height = Image.open(io.BytesIO(frame)).size
        add(place, frame, height, width)
        place += len(frame)
    sound = content.sound.tobytes()
    place = record.index(sound)
    for begin in range(0, len(sound), SOUND_BYTES):
        add(place + begin, sound[begin : begin + SOUND_BYTES])
    return parts


def _checksum(data: bytes | memoryview, seed: int, number: int, height: int, width: int) -> int:
    """Of part `number` of a record whose xxh3 is `seed`."""
    return xxhash.xxh3_64_intdigest(data, (seed + (number << 32) + (height << 16) + width) % 2**64)


def _read(descriptor: int, offset: int, size: int) -> memoryview:
    """Bytes of the logical stream, fewer where the file ends; good until this thread reads again."""
    whole = rest = _scratch.take(size)
    block = offset // _PAYLOAD
    room = (block + 1) * _PAYLOAD - offset  # until the next header
    pieces: list[Any] = []
    while len(rest) > room:
        pieces += [rest[:room], _skipped]
        rest, room = rest[room:], _PAYLOAD
    pieces.append(rest)
    begin = position = offset + _HEADER * (block + 1)
    for number in range(0, len(pieces), _MOST_PIECES):
        position += os.preadv(descriptor, pieces[number : number + _MOST_PIECES], position)
    missing = begin + size + _HEADER * (len(pieces) // 2) - position
    return whole[: max(0, size - missing)]


class Parts:
    """The parts of an open shard. Safe to use from several threads.

    Attributes:
      written_ns: when the shard was last written to before it was opened.
    """

    def __init__(self, shard: Path, table: Path):
        """
        Raises:
          OSError: one of the two files cannot be read.
        """
        self._file = open(shard, "rb", buffering=0)  # noqa: SIM115 (closed with this object)
        self._table = open(table, "rb", buffering=0)  # noqa: SIM115
        self._descriptor, self._table_descriptor = self._file.fileno(), self._table.fileno()
        stat = os.fstat(self._descriptor)
        self._size, self.written_ns = stat.st_size, stat.st_mtime_ns
        self._begin = 10 + int.from_bytes(os.pread(self._table_descriptor, 2, 8), "little")  # length of the header of a .npy

    def frame(self, record: Record, number: int) -> tuple[bytes, int, int]:
        """JPEG, height and width of a frame of a record.

        Raises:
          DamagedPart: it is not what was written.
        """
        rows = self._rows(record.first_part + number, 1)
        return bytes(self._checked(record, number, rows)), rows[0][2], rows[0][3]

    def sound(self, record: Record, begin: int, out: np.ndarray) -> None:
        """Fills int16[n] with the samples from `begin` on of the sound of a record.

        Raises:
          DamagedPart: it is not what was written.
        """
        first, last = 2 * begin // SOUND_BYTES, (2 * (begin + len(out)) - 1) // SOUND_BYTES
        number = record.frames + first
        data = self._checked(record, number, self._rows(record.first_part + number, last - first + 1))
        out[:] = np.frombuffer(data, "<i2", len(out), 2 * begin - first * SOUND_BYTES)

    def _rows(self, part: int, count: int) -> list[tuple[int, int, int, int, int]]:
        # Not mapped into memory: to look at what a file had before it was cut short ends the process.
        data = os.pread(self._table_descriptor, count * _ROW.size, self._begin + part * _ROW.size)
        if len(data) != count * _ROW.size:
            raise DamagedPart("the table of its parts is cut short")
        return list(_ROW.iter_unpack(data))

    def _checked(self, record: Record, number: int, rows: list[tuple[int, int, int, int, int]]) -> memoryview:
        """The bytes of consecutive parts, each compared with its checksum; good until this thread reads again."""
        offset = rows[0][0]
        size = rows[-1][0] + rows[-1][1] - offset
        if offset < 0 or not 0 < size <= self._size:
            raise DamagedPart("the table of its parts is damaged")
        data = _read(self._descriptor, offset, size)
        for place, (begin, length, height, width, xxh3) in enumerate(rows, start=number):
            if _checksum(data[begin - offset : begin - offset + length], record.xxh3, place, height, width) != xxh3:
                raise DamagedPart(f"what lies at byte {begin} of its content is not what was written")
        return data
