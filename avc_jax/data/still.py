"""Images: the one door to Pillow for reading. Imports neither TensorFlow nor JAX."""

import contextlib
import os
from collections.abc import Iterator

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from avc_jax.errors import BadMedia

EXTENSIONS = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".ppm", ".pgm", ".avif")
_FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "PPM", "AVIF")
CROP_AREA = (0.08, 1.0)  # Range of the area of a random crop, as a share of the picture's,
CROP_ASPECT = (3 / 4, 4 / 3)  # and of its width over its height.


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
    with _open(path) as image, _plain_errors(damaged=True):
        image = _upright_rgb(image)
        scale = short_side / min(image.size)
        box = [edge for side in image.size for edge in _centre(side, round(side * scale), size)]
        return np.asarray(image.resize((size, size), Image.Resampling.BILINEAR, (box[0], box[2], box[1], box[3])))


def read_random(path: str | os.PathLike, draws: np.ndarray, size: int) -> np.ndarray:
    """Crops of random place, area and aspect, stretched to squares (arXiv:1409.4842, section 6, with torchvision's ranges).

    Args:
      path: of the image.
      draws: float64[n, 4 * attempts] in [0, 1): for each attempt (area, aspect, y, x). Where no attempt fits in, the largest crop
        of the centre whose aspect is allowed.
      size: pixels of a side.

    Returns:
      uint8[n, size, size, 3], RGB, upright.

    Raises:
      BadMedia: unreadable, damaged.
    """
    with _open(path) as image, _plain_errors(damaged=True):
        image = _upright_rgb(image)
        boxes = [_random_box(image.size, row.reshape(-1, 4)) for row in draws]
        return np.stack([np.asarray(image.crop(box).resize((size, size), Image.Resampling.BILINEAR)) for box in boxes])


def _open(path: str | os.PathLike) -> Image.Image:
    with _plain_errors():
        image = Image.open(path, formats=_FORMATS)
    with _plain_errors(damaged=True):
        if image.format == "PNG":  # whose checksums are passed over in decoding
            image.verify()
            image = Image.open(path, formats=_FORMATS)
        return image


def _random_box(sides: tuple[int, int], draws: np.ndarray) -> tuple[int, int, int, int]:
    """(left, upper, right, lower) of a crop of a picture of (width, height)."""
    width, height = sides
    for area, aspect, y, x in draws.tolist():
        pixels = width * height * (CROP_AREA[0] + area * (CROP_AREA[1] - CROP_AREA[0]))
        ratio = CROP_ASPECT[0] * (CROP_ASPECT[1] / CROP_ASPECT[0]) ** aspect
        w, h = round((pixels * ratio) ** 0.5), round((pixels / ratio) ** 0.5)
        if 0 < w <= width and 0 < h <= height:
            left, upper = int(x * (width - w + 1)), int(y * (height - h + 1))
            return left, upper, left + w, upper + h
    w = min(width, round(height * CROP_ASPECT[1]))
    h = min(height, round(width / CROP_ASPECT[0]))
    left, upper = (width - w) // 2, (height - h) // 2
    return left, upper, left + w, upper + h


def _upright_rgb(image: Image.Image) -> Image.Image:
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I;16"):  # Pillow would cut off what exceeds 255.
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    return image.convert("RGB")


def _centre(side: int, scaled: int, size: int) -> tuple[float, float]:
    """Where a crop of `size` pixels of the scaled side begins and ends on the stored side."""
    begin = int((scaled - size + 1) / 2)
    return begin * side / scaled, min((begin + size) * side / scaled, side)


@contextlib.contextmanager
def _plain_errors(damaged: bool = False) -> Iterator[None]:
    """Turns what Pillow raises inside into BadMedia."""
    try:
        yield
    except MemoryError as error:
        raise BadMedia("too_large", "Decoding the image takes more memory than it may have.") from error
    # Pillow's plugins also let SyntaxError and IndexError out on broken files.
    except (OSError, ValueError, SyntaxError, IndexError, Image.DecompressionBombError) as error:
        if damaged:
            raise BadMedia("damaged", "The image is damaged and cannot be decoded.") from error
        raise BadMedia("unreadable", "The file is no image, or it is too damaged to be opened.") from error
