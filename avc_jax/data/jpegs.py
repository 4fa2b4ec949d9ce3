"""Crops of frames that are stored as JPEGs, decoded where and when an array is made of them."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import simplejpeg
from PIL import Image

from avc_jax.data import memory
from avc_jax.data.moments import Format

# A whole frame is decoded for each crop; in fresh memory, that takes a fifth longer.
_scratch = memory.Scratch()


class Crop(NamedTuple):
    """A crop of a stored frame: its JPEG, its pixels as stored, and the corner (y, x) in the frame as decoded."""

    jpeg: bytes
    height: int
    width: int
    y: int
    x: int


class Cut(NamedTuple):
    """How crops are cut from stored JPEGs.

    Attributes:
      ratio: 1, 2, 4 or 8, by which the frame is made smaller while it is decoded.
      side: of the crop in the frame as decoded, in pixels.
      size: of the crop as it is delivered.
    """

    ratio: int
    side: int
    size: int

    def crop(self, jpeg: bytes, height: int, width: int, place: Sequence[float]) -> Crop:
        """The crop at a place (y, x) in [0, 1) of a frame stored with this height and width; every offset is equally likely."""
        y, x = int(place[0] * (self._decoded(height) - self.side + 1)), int(place[1] * (self._decoded(width) - self.side + 1))
        return Crop(jpeg, height, width, y, x)

    def decode(self, crop: Crop, out: np.ndarray) -> None:
        """Writes a crop into uint8[size, size, 3], RGB.

        Raises:
          ValueError: it is no whole JPEG, or not of that height and width.
        """
        height, width = self._decoded(crop.height), self._decoded(crop.width)
        buffer = _scratch.take(3 * height * width)
        frame = simplejpeg.decode_jpeg(crop.jpeg, min_height=height, min_width=width, buffer=buffer)
        if frame.shape != (height, width, 3):
            raise ValueError(f"A JPEG has {frame.shape} pixels when decoded, expected {(height, width, 3)}.")
        part = frame[crop.y : crop.y + self.side, crop.x : crop.x + self.side]
        if self.side != self.size:
            part = np.asarray(Image.fromarray(part).resize((self.size, self.size), Image.Resampling.BILINEAR))
        out[...] = part

    def _decoded(self, pixels: int) -> int:
        return -(-pixels // self.ratio)


def make_cut(stored_side: int, form: Format) -> Cut:
    """The cut of frames that are stored with a shorter side of `stored_side` pixels.

    Where smaller frames are wanted, the decoder halves them as often as that leaves them large enough; what is left of the
    difference is scaled after the crop, so that nothing is scaled that is not used.
    """
    ratio = next(ratio for ratio in (8, 4, 2, 1) if ratio == 1 or -(-stored_side // ratio) >= form.short_side)
    return Cut(ratio, round(form.size * -(-stored_side // ratio) / form.short_side), form.size)


class Crops:
    """Crops that become uint8[r, size, size, 3] where `np.asarray` asks for them, as not everybody does.

    Their decoder holds no lock of Python's, so several threads decode at once.
    """

    def __init__(self, crops: Sequence[Crop], cut: Cut):
        self._crops, self.cut = crops, cut

    def __len__(self) -> int:
        return len(self._crops)

    def __iter__(self) -> Iterator[Crop]:
        return iter(self._crops)

    def __array__(self, dtype=None, copy=None) -> np.ndarray:
        if copy is False:
            raise ValueError("Crops are decoded into new memory.")
        frames = memory.empty((len(self), self.cut.size, self.cut.size, 3), np.uint8)
        for crop, frame in zip(self._crops, frames, strict=True):
            self.cut.decode(crop, frame)
        return frames if dtype is None else frames.astype(dtype, copy=False)

