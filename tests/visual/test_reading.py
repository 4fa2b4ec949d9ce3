"""What is read of a video for its rows: the right pictures in the right form, whatever its frame rate and clock."""

import math

import media
import numpy as np
import pytest

from avc_jax import errors
from avc_jax.visual import grid, reading

SQUARE = (96, 96)  # so that the centre crop of the 3-D pictures loses nothing


def read(path, streams=("2d", "3d")):
    """The only block of a file."""
    block, = reading.measure(path).blocks()
    return reading.read_block(path, block, streams)


@pytest.mark.parametrize(("name", "fps"), [("a.mp4", 25), ("a.mp4", 24), ("a.mp4", 30), ("a.mp4", 12), ("a.mp4", 60),
                                           ("a.webm", 25)])
def test_pictures_are_the_last_from_before_the_middle_of_their_slots(tmp_path, name, fps):
    found = read(media.flash_and_click(tmp_path / name, fps=fps, seconds=3.0, size=SQUARE))
    numbers = [media.frame_number(picture) for picture in found["2d"].values]
    assert numbers == [math.ceil((row + 0.5) * fps) - 1 for row in range(3)]
    numbers = [media.frame_number(picture) for chunk in found["3d"].values for picture in chunk][:72]
    assert numbers == [math.ceil((slot + 0.5) * fps / 24) - 1 for slot in range(72)]


def test_rows_begin_where_a_clock_that_does_not_begin_at_zero_begins(tmp_path):
    path = media.flash_and_click(tmp_path / "a.ts", seconds=5.0, audio_offset_s=2.0, video_offset_s=2.0, size=SQUARE)
    assert reading.measure(path).origin_s == pytest.approx(2.0, abs=0.05)
    assert [media.frame_number(picture) for picture in read(path)["2d"].values] == pytest.approx([12, 37, 62], abs=1)


def test_pictures_of_an_uneven_rate_are_found_by_their_times(tmp_path):
    times = np.cumsum(np.random.default_rng(0).uniform(0.01, 0.2, 40)) - 0.01
    times[0] = 0.0
    path = media.flash_and_click(tmp_path / "a.mp4", fps=times.tolist(), size=SQUARE, seconds=float(times[-1]))
    found = read(path, ("2d",))
    for row, picture in enumerate(found["2d"].values[:-1]):
        assert media.frame_number(picture) == np.flatnonzero(times < row + 0.4999)[-1]


def test_forms(tmp_path):
    found = read(media.flash_and_click(tmp_path / "a.mp4", seconds=1.5, size=(96, 64)))
    assert {(picture.shape, picture.dtype.name) for picture in found["2d"].values} == {((224, 336, 3), "uint8")}
    assert {(chunk.shape, chunk.dtype.name) for chunk in found["3d"].values} == {((16, 112, 112, 3), "uint8")}
    tall = read(media.flash_and_click(tmp_path / "b.mp4", seconds=1.0, size=(64, 96)), ("2d",))
    assert tall["2d"].values[0].shape == (336, 224, 3) and set(tall) == {"2d"}


def test_the_centre_is_cut_out_for_the_3d_network(tmp_path):
    image = np.zeros((64, 192, 3), np.uint8)
    image[:, 64:128] = 200  # the middle third, which is the crop
    media.write(tmp_path / "a.mp4", pictures=[image] * 24, times_s=[k / 24 for k in range(24)], fps=24, size=(192, 64))
    chunk = read(tmp_path / "a.mp4")["3d"].values[0]
    assert np.abs(chunk[:, 4:-4, 4:-4].astype(int) - 200).max() < 12


def test_the_last_chunk_ends_in_black(tmp_path):
    chunks = read(media.flash_and_click(tmp_path / "a.mp4", fps=24, seconds=20 / 24, size=SQUARE))["3d"].values
    assert len(chunks) == 2
    assert [media.frame_number(picture) for picture in chunks[1][:4]] == [16, 17, 18, 19] and not chunks[1][4:].any()
    assert chunks[0].reshape(16, -1).any(1).all()


def test_a_picture_that_begins_late_leaves_rows_empty(tmp_path):
    path = media.flash_and_click(tmp_path / "a.mkv", fps=24, seconds=5.0, video_offset_s=3.0, size=SQUARE)
    found = read(path)
    assert [picture is None for picture in found["2d"].values] == [True, True, True, False, False]
    assert [chunk is None for chunk in found["3d"].values] == [True] * 4 + [False] * 4
    half = found["3d"].values[4]  # from 2.667 s on: the picture begins in its middle
    assert not half[:8].any() and [media.frame_number(picture) for picture in half[8:]] == list(range(8))


@pytest.mark.parametrize("offset_s", [0.0, 0.75])
def test_sound_has_the_clock_of_the_rows(tmp_path, offset_s):
    path = media.flash_and_click(tmp_path / "a.mkv", seconds=3.0, events_s=[1.25], audio_offset_s=offset_s, acodec="pcm_s16le")
    sound = reading.read_sound(path, reading.measure(path))
    assert len(sound) == pytest.approx(48000, abs=80)
    assert media.click_time_s(sound, 0.0, 16000) == pytest.approx(1.25, abs=2e-3)
    assert not sound[: max(0, round(offset_s * 16000) - 200)].any()


def test_what_has_no_picture_or_no_sound_says_so(tmp_path):
    silent = media.flash_and_click(tmp_path / "a.mp4", seconds=1.0, audio=False)
    with pytest.raises(errors.BadMedia) as caught:
        reading.read_sound(silent, grid.make_grid(reading.measure(silent).span, 0.0))
    assert caught.value.kind == "no_audio"
    with pytest.raises(errors.BadMedia) as caught:
        reading.measure(media.flash_and_click(tmp_path / "b.mkv", seconds=1.0, video=False))
    assert caught.value.kind == "no_video"
