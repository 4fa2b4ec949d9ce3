"""A picture as a file stores it, and as it is shown: its pixels may be oblong, and it may lie on its side or be mirrored."""

from __future__ import annotations

from fractions import Fraction

import av
import numpy as np


def _matrix(frame: av.VideoFrame) -> tuple[int, int, int, int]:
    """Returns (a, b, c, d) of the display matrix: (x, y) is shown at (a x + c y, b x + d y) plus a shift."""
    for data in frame.side_data:
        if data.type.name == "DISPLAYMATRIX":
            m = np.frombuffer(bytes(data), np.int32)
            return int(m[0]), int(m[1]), int(m[3]), int(m[4])
    return 1, 0, 0, 1


def _is_turned(frame: av.VideoFrame) -> bool:
    a, b, c, d = _matrix(frame)
    return abs(b) + abs(c) > abs(a) + abs(d)


def upright(image: np.ndarray, frame: av.VideoFrame) -> np.ndarray:
    """Turns and mirrors the picture as the file says it should be shown, to the nearest quarter turn."""
    a, b, c, d = _matrix(frame)
    if _is_turned(frame):
        image, a, d = image.swapaxes(0, 1), c, b
    return image[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1]


def display_size(frame: av.VideoFrame, aspect: Fraction | None, short_side: int | None) -> tuple[int, int]:
    """Returns (width, height) to scale the stored picture to, before it is turned upright."""
    stretch = float(aspect or 1)
    if not 0.05 < stretch < 20:  # Nonsense in the header; square pixels are the best guess.
        stretch = 1.0
    width, height = frame.width * stretch, float(frame.height)
    scale = 1.0 if short_side is None else short_side / min(width, height)
    return max(1, round(width * scale)), max(1, round(height * scale))


def corner(frame: av.VideoFrame, scaled: tuple[int, int], place: np.ndarray, size: int) -> tuple[int, int]:
    """Returns (x, y) of the crop at a place (y, x) in [0, 1) of the upright picture, every offset being equally likely,
    in the scaled picture before it is turned upright.
    """
    a, b, c, d = _matrix(frame)
    y, x = place
    if _is_turned(frame):
        y, x, a, d = x, y, b, c
    x, y = (int(share * (side - size + 1)) for share, side in zip((x, y), scaled, strict=True))
    return (scaled[0] - size - x if a < 0 else x), (scaled[1] - size - y if d < 0 else y)


def is_planar(frame: av.VideoFrame) -> bool:
    """True if each component has its plane to itself, row by row from the top."""
    components = frame.format.components
    return len(components) == len(frame.planes) and all(
        plane.line_size > 0 and component.width == plane.width and component.bits <= 16
        for component, plane in zip(components, frame.planes, strict=True))


def cut(frame: av.VideoFrame, scaled: tuple[int, int], corner: tuple[int, int], size: int) -> av.VideoFrame:
    """Returns the part of a planar picture that becomes the crop when it is scaled to size x size.

    Its corner moves to the grid of the chroma samples, so by less than a pixel of the stored picture, or two.
    """
    components = frame.format.components
    begins, lengths = [], []
    for stored, pixels, offset, step in zip(
        (frame.width, frame.height), scaled, corner,
        (max(-(-frame.width // c.width) for c in components), max(-(-frame.height // c.height) for c in components)),
        strict=True,
    ):
        begins.append(min(round(offset * stored / pixels / step) * step, stored - step))
        lengths.append(min(max(step, round(size * stored / pixels / step) * step), stored - begins[-1]))
    part = av.VideoFrame(*lengths, frame.format.name)
    for name in ("colorspace", "color_range", "color_primaries", "color_trc"):
        setattr(part, name, getattr(frame, name))
    for component, whole, plane in zip(components, frame.planes, part.planes, strict=True):
        x, y = begins[0] * component.width // frame.width, begins[1] * component.height // frame.height
        width = (component.bits + 7) // 8
        rows = np.frombuffer(whole, np.uint8)[: whole.height * whole.line_size].reshape(whole.height, whole.line_size)
        target = np.frombuffer(plane, np.uint8)[: plane.height * plane.line_size].reshape(plane.height, plane.line_size)
        columns = plane.width * width
        target[:, :columns] = rows[y : y + plane.height, x * width : x * width + columns]
    return part
