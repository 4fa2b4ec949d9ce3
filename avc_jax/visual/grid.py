"""Which pictures of a video make which rows: a picture a second for the 2-D network, chunks of 16 at 24 a second for the 3-D one.

Rows count from the zero of the file's clock, so row k of a stream belongs to the seconds k / rate to (k + 1) / rate: a clip from
s to e has the rows int(s * rate) to int(e * rate). The picture of a slot is the last one from before its middle, as with ffmpeg's
filter `fps`; and as there, a slot at the end is left out if the video covers less than half of it.
"""

import dataclasses
import math
from typing import NamedTuple

import numpy as np

from avc_jax.data.clock import EDGE_S, Span

RATE_2D_HZ = 1.0
FPS_3D = 24.0
CHUNK = 16  # pictures
RATE_3D_HZ = FPS_3D / CHUNK
SHORT_SIDE_2D = 224
SIDE_3D = 112

_LATE_S = 0.5  # A clock that begins this far from 0, as those of transport streams do, does not mean 0.
_BEFORE_S = 6e-4  # A picture from the very middle of a slot belongs to the next; half a millisecond may be rounding.
_BLOCK_S = 64  # Seconds of both streams that are decoded in one go: whole rows of both, and 75 MB.


@dataclasses.dataclass(frozen=True)
class Grid:
    """The rows of a video.

    Attributes:
      origin_s: where on the file's clock the rows begin.
      span: the picture, on the file's clock.
    """

    origin_s: float
    span: Span

    @property
    def rows_2d(self) -> int:
        return self._slots(RATE_2D_HZ)

    @property
    def rows_3d(self) -> int:
        return math.ceil(self._slots(FPS_3D) / CHUNK)

    def blocks(self) -> list["Block"]:
        """The rows in pieces of a minute."""
        found = []
        for begin_s in range(0, max(math.ceil(self.rows_2d / RATE_2D_HZ), math.ceil(self.rows_3d / RATE_3D_HZ)), _BLOCK_S):
            seconds = np.array([begin_s, begin_s + _BLOCK_S])
            first_2d, last_2d = np.minimum(seconds * RATE_2D_HZ, self.rows_2d).astype(int).tolist()
            first_3d, last_3d = np.minimum(seconds * RATE_3D_HZ, self.rows_3d).astype(int).tolist()
            slots = np.arange(first_3d * CHUNK, min(last_3d * CHUNK, self._slots(FPS_3D)))
            found.append(Block(first_2d, self._times(np.arange(first_2d, last_2d), RATE_2D_HZ), first_3d,
                               self._times(slots, FPS_3D)))
        return found

    def _slots(self, rate_hz: float) -> int:
        return max(1, math.floor((self.span.end_s - self.origin_s) * rate_hz + 0.5))

    def _times(self, slots: np.ndarray, rate_hz: float) -> np.ndarray:
        """float64[n]: when to look, on the file's clock; nan where the picture has not begun."""
        middles = self.origin_s + (slots + 0.5) / rate_hz - _BEFORE_S
        missing = self.origin_s + (slots + 1) / rate_hz <= self.span.start_s
        return np.where(missing, np.nan, middles.clip(self.span.start_s, max(self.span.start_s, self.span.end_s - EDGE_S)))


class Block(NamedTuple):
    """Consecutive rows of both streams.

    Attributes:
      row_2d: the first of its 2-D rows.
      times_2d: float64[n], when to look for each, in seconds on the file's clock; nan: there is no picture yet.
      row_3d: the first of its 3-D rows.
      times_3d: float64[m], as times_2d, of all the pictures of its chunks; of the last chunk maybe fewer than 16.
    """

    row_2d: int
    times_2d: np.ndarray
    row_3d: int
    times_3d: np.ndarray


def make_grid(span: Span, file_start_s: float) -> Grid:
    """The rows of a video.

    Args:
      span: its picture, as measured.
      file_start_s: when the first of all the file's tracks starts.
    """
    start_s = min(span.start_s, file_start_s)
    return Grid(start_s if abs(start_s) > _LATE_S else 0.0, span)
