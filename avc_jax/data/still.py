"""Images: the one door to Pillow for reading. Imports neither TensorFlow nor JAX."""

import contextlib
import os
from collections.abc import Iterator

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from avc_jax.errors import BadMedia

EXTENSIONS = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".ppm", ".pgm", ".avif")
_FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "PPM", "AVIF")


def is_still(path: str | os.PathLike) -> bool:
    """Whether a file is an image, by its first bytes; what moves (GIF too) is a video."""
    try:
        with Image.open(path, formats=_FORMATS):
            return True
    except (UnidentifiedImageError, OSError, ValueError, Image.DecompressionBombError):
        return False


def read_crop(path: str | os.PathLike, short_side: int, size: int) -> np.ndarray:
    """The centre of an image, as `MediaFile.crops` gives that of a frame: cut out first, scaled second.

    Args:
      path: of the image.
      short_side: pixels of the shorter side of the scaled image.
      size: pixels of the crop's side, at most short_side.

    Returns:
      uint8[size, size, 3], RGB, upright as its EXIF orientation says.

    Raises:
      BadMedia: unreadable, damaged.
    """
    with _plain_errors():
        image = Image.open(path, formats=_FORMATS)
    with image, _plain_errors(damaged=True):
        image = ImageOps.exif_transpose(image)
        if image.mode.startswith("I;16"):  # Pillow would cut off what exceeds 255.
            image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
        image = image.convert("RGB")
        scale = short_side / min(image.size)
        box = [edge for side in image.size for edge in _centre(side, round(side * scale), size)]
        return np.asarray(image.resize((size, size), Image.Resampling.BILINEAR, (box[0], box[2], box[1], box[3])))


def _centre(side: int, scaled: int, size: int) -> tuple[float, float]:
    """Where a crop of `size` pixels of the scaled side begins and ends on the stored side."""
    begin = int((scaled - size + 1) / 2)
    return begin * side / scaled, min((begin + size) * side / scaled, side)


@contextlib.contextmanager
def _plain_errors(damaged: bool = False) -> Iterator[None]:
    """Turns what Pillow raises inside into BadMedia."""
    try:
        yield
    # Pillow's plugins also let SyntaxError and IndexError out on broken files.
    except (OSError, ValueError, SyntaxError, IndexError, Image.DecompressionBombError) as error:
        if damaged:
            raise BadMedia("damaged", "The image is damaged and cannot be decoded.") from error
        raise BadMedia("unreadable", "The file is no image, or it is too damaged to be opened.") from error
