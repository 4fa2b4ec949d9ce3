"""Crops of stored JPEGs: the pixels of the whole picture, scaled as a picture is scaled, and decoded where they are wanted."""

import concurrent.futures
import io

import numpy as np
import pytest
from PIL import Image

from avc_jax.data import jpegs, pipeline
from avc_jax.data.moments import Format


def jpeg(picture, **options):
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "JPEG", **{"quality": 90, "subsampling": "4:2:0", **options})
    return file.getvalue()


def noise(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def form(short_side, size):
    return Format(short_side=short_side, size=size, window_s=1.0, rate_hz=8)


@pytest.mark.parametrize("place", [(0.0, 0.0), (0.3, 0.7), (0.999, 0.999)])
@pytest.mark.parametrize("sides", [(40, 61), (61, 40), (40, 40)])
@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": "4:4:4"}])
def test_a_crop_has_the_pixels_of_the_whole_picture(sides, place, options):
    data, cut = jpeg(noise(*sides), **options), jpegs.make_cut(40, form(40, 24))
    frames = np.asarray(jpegs.Crops([cut.crop(data, *sides, place)], cut))
    y, x = (int(share * (side - 23)) for share, side in zip(place, sides, strict=True))
    assert frames.dtype == np.uint8
    np.testing.assert_array_equal(frames[0], np.asarray(Image.open(io.BytesIO(data)))[y : y + 24, x : x + 24])


@pytest.mark.parametrize(("short_side", "ratio", "side"), [(16, 1, 12), (24, 1, 18), (32, 2, 12), (40, 2, 15), (130, 8, 13)])
@pytest.mark.parametrize("place", [(0.0, 0.0), (0.5, 0.25), (0.999, 0.999)])
def test_a_crop_of_a_stored_frame_is_that_of_the_scaled_frame(short_side, ratio, side, place):
    cut = jpegs.make_cut(short_side, form(16, 12))
    assert cut == (ratio, side, 12)
    height, width = short_side, 2 * short_side
    slopes = 100 / (height - 1), 120 / (width - 1)
    ramp = np.add.outer(slopes[0] * np.arange(height), slopes[1] * np.arange(width)).round().astype(np.uint8)
    crop = cut.crop(jpeg(np.dstack([ramp] * 3), quality=95), height, width, place)
    frames = np.asarray(jpegs.Crops([crop], cut))
    assert frames.shape == (1, 12, 12, 3)
    # Where the middle of each pixel lies in the stored picture. A pixel aside would be 6 or 4 off.
    y, x = ((corner + (np.arange(12) + 0.5) * side / 12) * ratio - 0.5 for corner in (crop.y, crop.x))
    np.testing.assert_allclose(frames[0, 1:-1, 1:-1, 0], np.add.outer(slopes[0] * y, slopes[1] * x)[1:-1, 1:-1], atol=1.9)
    # The same place in the picture as it would be if it were scaled first, to a pixel of that picture.
    assert abs(crop.y * ratio / short_side - int(place[0] * 5) / 16) < 1 / 16
    assert abs(crop.x * ratio / short_side - int(place[1] * 21) / 16) < 1 / 16


def test_gray_jpegs_become_three_channels():
    file, cut = io.BytesIO(), jpegs.make_cut(16, form(16, 16))
    Image.fromarray(noise(16, 16)[..., 0]).save(file, "JPEG")
    frame = np.asarray(jpegs.Crops([cut.crop(file.getvalue(), 16, 16, (0, 0))], cut))[0]
    np.testing.assert_array_equal(frame, np.dstack([np.asarray(Image.open(file))] * 3))


def test_pictures_of_any_size_after_each_other_and_in_threads_are_their_own():
    cut = jpegs.make_cut(24, form(24, 24))
    pictures = [noise(24, 24 + 8 * (number % 5), seed=number) for number in range(40)]
    crops = [cut.crop(jpeg(picture), *picture.shape[:2], (0, 0.5)) for picture in pictures]
    batches = [jpegs.Crops(crops[number:] + crops[:number], cut) for number in range(8)]
    expected = [np.asarray(batch) for batch in batches]
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        for found, wanted in zip(pool.map(np.asarray, batches * 3), expected * 3, strict=True):
            np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize(("data", "height"), [
    (jpeg(noise(24, 24))[:-200], 24), (b"no picture", 24), (b"", 24), (jpeg(noise(24, 24)), 25), (jpeg(noise(24, 24)), 23)])
def test_what_is_no_whole_jpeg_of_that_size_is_an_error(data, height):
    cut = jpegs.make_cut(20, form(20, 20))
    with pytest.raises(ValueError, match=r"JPEG|pixels|buffer|image"):
        np.asarray(jpegs.Crops([cut.crop(data, height, 24, (0, 0))], cut))


def test_no_crops_are_an_empty_array():
    assert np.asarray(jpegs.Crops([], jpegs.make_cut(24, form(24, 16)))).shape == (0, 16, 16, 3)


def test_frames_that_nobody_asks_for_are_not_decoded():
    cut = jpegs.make_cut(24, form(24, 24))
    rows = {"frame": jpegs.Crops([cut.crop(b"no picture", 24, 24, (0, 0))], cut), "clip": np.array([3], np.int32)}
    shapes = {"frame": ((24, 24, 3), np.uint8), "clip": ((), np.int32)}
    found = list(pipeline.read_in_parallel(lambda number: rows, 1, {"clip": shapes["clip"]}, threads=1, ahead=1))
    assert found[0]["clip"].tolist() == [3]
    with pytest.raises(ValueError, match="JPEG"):
        list(pipeline.read_in_parallel(lambda number: rows, 1, shapes, threads=1, ahead=1))
