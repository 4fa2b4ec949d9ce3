"""Crops are cut from the stored picture and scaled then; they show what a crop of the scaled picture shows. And key frames."""

from fractions import Fraction

import av
import media
import numpy as np
import pytest

from avc_jax import errors
from avc_jax.data.decode import MediaFile, View

PLACES = np.array([(0.0, 0.0), (0.5, 0.5), (0.999, 0.999), (0.2, 0.7), (0.8, 0.1)])


def ramp(width: int, height: int) -> np.ndarray:
    """uint8[h, w, 3]: red grows to the right, green downwards; both from 20 to 230."""
    image = np.full((height, width, 3), 120, np.uint8)
    image[..., 0] = np.linspace(20, 230, width)[None]
    image[..., 1] = np.linspace(20, 230, height)[:, None]
    return image


def lossless(path, image: np.ndarray, pixel_format: str, codec: str = "ffv1"):
    with av.open(str(path), "w") as out:
        stream = out.add_stream(codec, rate=25)
        stream.height, stream.width = image.shape[:2]
        stream.pix_fmt = pixel_format
        for number in range(10):
            frame = av.VideoFrame.from_ndarray(image, "rgb24").reformat(format=pixel_format, dst_color_range="MPEG")
            frame.pts = number
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return path


def assert_crops_are_those_of_the_scaled_picture(path, short_side: int, size: int):
    with MediaFile(path, audio=False) as file:
        whole = file.frames([0.1], short_side)[0].astype(int)
        crops = file.crops([0.1] * len(PLACES), PLACES, short_side, size).astype(int)
    assert crops.shape == (len(PLACES), size, size, 3)
    stored = min(file_size(path))
    # The corner may move by half the chroma grid, a pixel of the stored picture; the codec adds its own noise.
    step = max(np.abs(np.diff(whole, axis=0)).max(), np.abs(np.diff(whole, axis=1)).max()) * max(1.0, short_side / stored)
    for crop, place in zip(crops, PLACES, strict=True):
        y, x = (int(share * (side - size + 1)) for share, side in zip(place, whole.shape[:2], strict=True))
        expected = whole[y : y + size, x : x + size]
        off = np.abs(crop - expected).mean((0, 1)).max()  # of the colour that tells most
        assert off <= step + 2, (place, off, step)


def file_size(path) -> tuple[int, int]:
    with MediaFile(path, audio=False) as file:
        return file.native_size


@pytest.mark.parametrize("rotation", [None, 90, 180, 270])
@pytest.mark.parametrize("aspect", [None, Fraction(4, 3)])
def test_crops_of_turned_and_oblong_pictures(tmp_path, rotation, aspect):
    path = media.write(tmp_path / "a.mp4", pictures=[ramp(160, 96)] * 10, times_s=[k / 25 for k in range(10)], size=(160, 96),
                       rotation=rotation, aspect=aspect)
    assert_crops_are_those_of_the_scaled_picture(path, 64, 48)


@pytest.mark.parametrize("pixel_format", ["yuv420p", "yuv422p10le", "yuv444p", "yuv410p", "gray", "gray16le", "bgra", "bgr0",
                                          "gbrp10le"])
@pytest.mark.parametrize("size", [(160, 96), (97, 131)])
def test_crops_of_every_kind_of_pixel(tmp_path, pixel_format, size):
    path = lossless(tmp_path / "a.mkv", ramp(*size), pixel_format)
    for short_side, side in ((64, 48), (200, 150), (96, 96), (40, 9)):
        assert_crops_are_those_of_the_scaled_picture(path, short_side, side)


def test_crop_as_large_as_a_square_picture_is_the_picture(tmp_path):
    path = lossless(tmp_path / "a.mkv", ramp(96, 96), "yuv420p")
    with MediaFile(path, audio=False) as file:
        whole = file.frames([0.0], 64)[0]
        for crop in file.crops([0.0] * len(PLACES), PLACES, 64, 64):
            np.testing.assert_array_equal(crop, whole)


def test_crops_come_in_the_order_asked_and_alike_alone_or_together(tmp_path):
    path = media.flash_and_click(tmp_path / "a.mp4", seconds=3.0, size=(160, 96))
    times, places = [1.5, 0.2, 1.5, 2.9], np.array([(0.1, 0.9), (0.3, 0.2), (0.7, 0.5), (0.1, 0.9)])
    with MediaFile(path) as file:
        together = file.crops(times, places, 64, 48)
        for number, time_s in enumerate(times):
            np.testing.assert_array_equal(file.crops([time_s], places[number : number + 1], 64, 48)[0], together[number])
        assert not np.array_equal(together[0], together[2])
        assert file.crops([], places[:0], 64, 48).shape == (0, 48, 48, 3)


def test_crops_that_do_not_fit_and_files_without_picture_are_refused(tmp_path):
    path = media.flash_and_click(tmp_path / "a.mp4", seconds=1.0, events_s=[])
    with MediaFile(path) as file:
        with pytest.raises(ValueError, match="1 to short_side=32 pixels, got 33"):
            file.crops([0.5], PLACES[:1], 32, 33)
        with pytest.raises(errors.BadMedia) as caught:
            file.crops([5.0], PLACES[:1], 32, 32)
        assert caught.value.kind == "incomplete"
    with MediaFile(path, video=False) as file:
        for ask in (lambda: file.crops([0.5], PLACES[:1], 32, 32), lambda: file.key_times([0.5])):
            with pytest.raises(ValueError, match="video=False"):
                ask()


@pytest.mark.parametrize(("name", "bframes"), [  # VP8 has no B-frames, and AVI no time stamps for them
    ("a.mp4", 0), ("a.mp4", 2), ("a.mkv", 0), ("a.mkv", 2), ("a.mov", 0), ("a.mov", 2), ("a.webm", 0), ("a.avi", 0)])
def test_key_times_are_those_of_the_last_key_frames(tmp_path, name, bframes):
    path = media.flash_and_click(tmp_path / name, seconds=5.0, events_s=[], gop=25, bframes=bframes)
    with av.open(str(path)) as container:
        keys = sorted(float(p.pts * p.time_base) for p in container.demux(video=0) if p.size and p.is_keyframe)
    assert len(keys) == 5
    asked = [4.9, 0.0, *keys, 2.5, 0.3, 2.5, keys[3] - 0.02]
    with MediaFile(path) as file:
        found = file.key_times(asked)
        assert found == pytest.approx([max(key for key in keys if key <= time_s + 5e-4) for time_s in asked])
        assert [file.key_times([time_s])[0] for time_s in asked] == found
        numbers = [media.frame_number(image) for image in file.frames(found)]
    assert [number % 25 for number in numbers] == [0] * len(found)


def test_there_is_no_key_frame_before_the_first(tmp_path):
    path = media.flash_and_click(tmp_path / "a.mp4", seconds=2.0, events_s=[], video_offset_s=0.5)
    with MediaFile(path) as file:
        assert file.key_times([0.6]) == pytest.approx([0.5])
        with pytest.raises(errors.BadMedia) as caught:
            file.key_times([0.2])
    assert caught.value.kind == "incomplete"


def test_views_are_the_frames_and_crops_of_several_forms_decoded_once(tmp_path):
    path = media.flash_and_click(tmp_path / "a.mp4", seconds=2.0, size=(96, 64), bframes=2)
    whole, cut = View([1.0, 0.2, 0.2, 1.9], 48), View([0.2, 0.5], 32, 24)
    below_half = np.full((2, 2), np.nextafter(0.5, 0))
    with MediaFile(path, audio=False) as file:
        expected = file.frames(whole.times_s, 48), file.crops(cut.times_s, below_half, 32, 24)
    with MediaFile(path, audio=False) as file:
        found = file.views([whole, cut])
        assert file.views([View([], 48), cut])[0] == []
        for times_s in ([9.0], [float("nan")]):
            with pytest.raises((errors.BadMedia, ValueError)):
                file.views([View(times_s, 48)])
    for one, other in zip(expected, found, strict=True):
        assert len(one) == len(other)
        for picture, same in zip(one, other, strict=True):
            np.testing.assert_array_equal(picture, same)
