"""What features are made of, read from a file: pictures as uint8, and sound. Imports neither TensorFlow nor JAX."""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from avc_jax.data.clock import Span
from avc_jax.data.decode import MediaFile, View
from avc_jax.visual.grid import CHUNK, SHORT_SIDE_2D, SIDE_3D, Block, Grid, make_grid

SOUND_RATE_HZ = 16000


class Rows(NamedTuple):
    """Rows of one stream before their network.

    Attributes:
      first: the first one's number.
      values: one array for each, uint8[h, w, 3] or uint8[16, 112, 112, 3]; None: the video has no picture there.
    """

    first: int
    values: list[np.ndarray | None]


def measure(path: Path) -> Grid:
    """The rows of a video.

    Raises:
      BadMedia: it has no picture.
    """
    with MediaFile(path, audio=False) as media:
        return make_grid(media.measure(), media.start_s)


def read_block(path: Path, block: Block, streams: tuple[str, ...]) -> dict[str, Rows]:
    """The pictures of a block, for which the file is decoded once.

    Args:
      path: of the video.
      block: of its grid.
      streams: which of 2d and 3d.

    Returns:
      Stream -> Rows.

    Raises:
      BadMedia: the file cannot give them all.
    """
    times = {"2d": block.times_2d, "3d": block.times_3d}
    views = {"2d": View(_there(times["2d"]), SHORT_SIDE_2D), "3d": View(_there(times["3d"]), SIDE_3D, SIDE_3D)}
    with MediaFile(path, audio=False) as media:
        found = dict(zip(streams, media.views([views[stream] for stream in streams]), strict=True))
    spread = {stream: _spread(times[stream], pictures) for stream, pictures in found.items()}
    rows = {}
    if "2d" in spread:
        rows["2d"] = Rows(block.row_2d, spread["2d"])
    if "3d" in spread:
        rows["3d"] = Rows(block.row_3d, [_chunk(spread["3d"][place : place + CHUNK])
                                         for place in range(0, len(spread["3d"]), CHUNK)])
    return rows


def read_sound(path: Path, grid: Grid) -> np.ndarray:
    """int16[n]: the sound of a file at 16 kHz, mono, from the beginning of the rows on; zeros where it begins later.

    Raises:
      BadMedia: there is none, or it is damaged.
    """
    with MediaFile(path, video=False) as media:
        span: Span = media.measure()
        start_s, samples = media.stretch(max(grid.origin_s, span.start_s), span.end_s, SOUND_RATE_HZ)
    return np.pad(samples, (max(0, round((start_s - grid.origin_s) * SOUND_RATE_HZ)), 0))


def _there(times_s: np.ndarray) -> list[float]:
    return times_s[~np.isnan(times_s)].tolist()


def _spread(times_s: np.ndarray, pictures: list[np.ndarray]) -> list[np.ndarray | None]:
    """One entry for each time; those that are nan have no picture."""
    given = iter(pictures)
    return [None if missing else next(given) for missing in np.isnan(times_s)]


def _chunk(pictures: list[np.ndarray | None]) -> np.ndarray | None:
    """uint8[16, 112, 112, 3]: black where a picture is missing; None if all are."""
    if all(picture is None for picture in pictures):
        return None
    chunk = np.zeros((CHUNK, SIDE_3D, SIDE_3D, 3), np.uint8)
    for place, picture in enumerate(pictures):
        if picture is not None:
            chunk[place] = picture
    return chunk
