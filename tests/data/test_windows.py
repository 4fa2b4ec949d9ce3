"""Windows of media files: the right ones, as in training, without seams, in order, in memory that does not grow."""

import math
import subprocess
import sys
import wave
from pathlib import Path

import media
import numpy as np
import pytest
from PIL import Image

from avc_jax import errors
from avc_jax.data import sound, still, windows
from avc_jax.data.decode import MediaFile, Span
from avc_jax.data.moments import Format

ROOT = Path(__file__).resolve().parents[2]
RATE = 8000
FORM = Format(short_side=48, size=32, window_s=1.0, rate_hz=RATE)
SOUND = windows.Steps("audio", FORM, 0.5)
PICTURE = windows.Steps("video", FORM, 0.5)


def whole(path, steps=SOUND, **options) -> tuple[np.ndarray, np.ndarray, list]:
    """Times, values and losses of one file."""
    blocks = list(windows.read_files([str(path)], steps, **options))
    return (np.concatenate([block.time_s for block in blocks]), np.concatenate([block.values for block in blocks]),
            [one for block in blocks for one in block.lost])


def write_sweep(path, seconds: float, rate_hz: int = 44100) -> Path:
    """A tone that rises from 100 to 1500 Hz, so that no two moments of it sound alike; see `sweep`."""
    return media.write(path, sound=sweep(np.arange(round(seconds * rate_hz)) / rate_hz, seconds), rate_hz=rate_hz)


def sweep(time_s: np.ndarray, seconds: float) -> np.ndarray:
    return 0.5 * np.sin(2 * np.pi * (100 * time_s + 700 * time_s**2 / seconds))


# Times -------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("center", [False, True])
@pytest.mark.parametrize("hop_s", [0.1, 0.5, 1.0, 1.7])
@pytest.mark.parametrize("seconds", [0.2, 1.0, 1.3, 2.0, 9.99])
def test_there_are_as_many_windows_as_in_openl3(seconds, hop_s, center):
    # OpenL3 counts samples: half a window goes before, zeros go behind until the last window is full.
    samples, frame, hop = round(seconds * 48000) + center * 24000, 48000, round(hop_s * 48000)
    expected = 1 if samples < frame else 1 + math.ceil((samples - frame) / hop)
    # Where windows lie apart, OpenL3 may end with one of nothing but zeros.
    expected -= (expected - 1) * hop >= samples
    times = windows.Steps("audio", FORM, hop_s, center).times(Span(7.0, 7.0 + seconds))
    np.testing.assert_allclose(times, 7.0 + hop_s * np.arange(expected))


def test_a_frame_stands_for_the_hop_that_follows():
    np.testing.assert_allclose(PICTURE.times(Span(0.0, 2.0)), [0.0, 0.5, 1.0, 1.5])
    np.testing.assert_allclose(PICTURE.times(Span(0.2, 2.3)), [0.2, 0.7, 1.2, 1.7, 2.2])


# Sounds ------------------------------------------------------------------------------------------------------------------


# Opus never forgets quite where its decoding began: 12 of 32768 were seen.
@pytest.mark.parametrize(("suffix", "tolerance"), [(".wav", 0), (".flac", 0), (".mp3", 0), (".mkv", 40)])
def test_windows_are_those_that_training_cuts(tmp_path, suffix, tolerance):
    path = write_sweep(tmp_path / f"a{suffix}", 40.0, 48000 if suffix == ".mkv" else 44100)
    times, values, lost = whole(path)
    assert not lost and len(times) > windows._WINDOWS, "more than one block is needed to see how they join"
    with MediaFile(path, video=False) as file:
        span = file.measure()
        assert times[0] == span.start_s and np.allclose(np.diff(times), 0.5)
        inside = times + 1.0 <= span.end_s - 0.05
        for time_s, value in zip(times[inside], values[inside], strict=True):
            np.testing.assert_allclose(value, file.sounds([time_s], 1.0, RATE)[0], rtol=0, atol=tolerance)


def test_a_sweep_goes_on_over_every_joint(tmp_path):
    path = write_sweep(tmp_path / "a.wav", 40.0)
    times, values, _ = whole(path, windows.Steps("audio", FORM, 0.25))
    assert len(times) == 157 and len(times) > 2 * windows._WINDOWS
    expected = 32767 * sweep(times[:, None] + np.arange(RATE) / RATE, 40.0)
    difference = np.abs(values - expected)
    # The filter of the resampler finds no sound before the first sample and after the last.
    difference[0, :40] = difference[-1, -40:] = 0
    assert difference.max() < 100


@pytest.mark.parametrize("layout", ["mono", "stereo"])
@pytest.mark.parametrize("center", [False, True])
def test_an_array_has_the_windows_of_a_file_with_the_same_samples(tmp_path, layout, center):
    steps = windows.Steps("audio", FORM, 0.3, center)
    channels = {"mono": 1, "stereo": 2}[layout]
    samples = np.random.default_rng(0).integers(-20000, 20000, (round(3.21 * 44100), channels)).astype(np.int16)
    with wave.open(str(tmp_path / "a.wav"), "wb") as file:
        file.setparams((channels, 2, 44100, 0, "NONE", ""))
        file.writeframes(samples.tobytes())
    times, values, lost = whole(tmp_path / "a.wav", steps)
    cut = sound.windows_of(samples, 44100, (times - steps.lead_s).tolist(), 1.0, RATE)
    assert not lost and len(times) == (11 if center else 9)
    np.testing.assert_array_equal(values, cut)


def test_silence_is_added_outside_the_track_only(tmp_path):
    path = media.tone_video(tmp_path / "a.wav", video=False, seconds=1.25, rate_hz=RATE)
    with MediaFile(path, video=False) as file:
        _, all_of_it = file.stretch(0.0, 2.0, RATE)
    times, values, _ = whole(path)
    np.testing.assert_array_equal(times, [0.0, 0.5])
    np.testing.assert_array_equal(values[1], np.pad(all_of_it[RATE // 2 :], (0, RATE // 4)))
    times, values, _ = whole(path, windows.Steps("audio", FORM, 0.5, center=True))
    np.testing.assert_array_equal(times, [0.0, 0.5, 1.0])
    np.testing.assert_array_equal(values[0], np.pad(all_of_it[: RATE // 2], (RATE // 2, 0)))
    np.testing.assert_array_equal(values[1], all_of_it[:RATE])
    np.testing.assert_array_equal(values[2], np.pad(all_of_it[RATE // 2 :], (0, RATE // 4)))


def test_a_file_shorter_than_a_window_is_one_window(tmp_path):
    path = media.tone_video(tmp_path / "a.wav", video=False, seconds=0.25, rate_hz=RATE)
    times, values, _ = whole(path)
    assert times.tolist() == [0.0] and np.abs(values[0, : RATE // 4]).max() > 10000 and not values[0, RATE // 4 :].any()
    _, values, _ = whole(path, windows.Steps("audio", FORM, 0.5, center=True))
    sounding = np.flatnonzero(np.abs(values[0]) > 100)
    assert sounding[0] in range(RATE // 2, RATE // 2 + 3) and sounding[-1] in range(RATE * 3 // 4 - 3, RATE * 3 // 4)


def test_a_hole_is_lost_and_never_filled_with_zeros():
    def piece(start_s):
        return sound._Piece(start_s, RATE, np.full((1, RATE), 1000, np.int16), ("s16", "mono", RATE))

    decoded = sound._Decoded([piece(0.0), piece(1.0), piece(5.0), piece(6.0)], [], 0.0, ends=True)
    assert sound._window(decoded, 0.5, 1.0, RATE, pad=True).all()
    np.testing.assert_array_equal(np.flatnonzero(sound._window(decoded, 6.5, 1.0, RATE, pad=True)), np.arange(RATE // 2))
    for start_s in (1.5, 3.0, 4.5):
        with pytest.raises(errors.BadMedia):
            sound._window(decoded, start_s, 1.0, RATE, pad=True)
    with pytest.raises(errors.BadMedia, match="end of what"):
        sound._window(decoded, 6.5, 1.0, RATE, pad=False)


def test_only_the_damaged_windows_of_a_file_are_lost(tmp_path):
    path = media.write(tmp_path / "a.flac", rate_hz=RATE, sound=0.2 * np.random.default_rng(0).normal(size=60 * RATE).clip(-4, 4))
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 20000] = bytes(20000)
    path.write_bytes(data)
    times, values, lost = whole(path)
    missing = [time_s for time_s, _ in lost]
    assert len(times) + len(missing) >= 100 and len(values) == len(times) and 1 <= len(missing) < 15
    assert all(25 < time_s < 35 for time_s in missing) and {error.kind for _, error in lost} <= {"damaged", "incomplete"}
    assert times[0] == 0.0 and times[-1] > 55


def test_a_header_that_promises_more_than_there_is_makes_nothing_up(tmp_path):
    whole_file = media.tone_video(tmp_path / "a.wav", video=False, seconds=10.0, rate_hz=RATE)
    times, values, lost = whole(media.truncated(whole_file, tmp_path / "b.wav", 0.57))
    # The last packet is half a packet, so the sound there is damaged; there is nothing behind it.
    np.testing.assert_allclose([*times, *(time_s for time_s, _ in lost)], 0.5 * np.arange(11))
    assert len(lost) <= 2 and np.abs(values).max(1).min() > 10000


# Frames ------------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    """40 s at 10 frames a second, whose grey level says how many half seconds have passed."""
    times = [k / 10 for k in range(400)]
    pictures = (np.full((64, 96, 3), 10 + 3 * (k // 5), np.uint8) for k in range(400))
    return media.write(tmp_path_factory.mktemp("film") / "a.mp4", pictures=pictures, times_s=times, fps=10, gop=50)


def test_frames_are_those_on_screen_and_cut_as_in_evaluation(film):
    times, values, lost = whole(film, PICTURE)
    assert not lost and len(times) == 80 > windows._WINDOWS
    np.testing.assert_allclose(times, 0.5 * np.arange(80))
    np.testing.assert_allclose(values.mean((1, 2, 3)), 10 + 3 * np.arange(80), atol=2.5)
    with MediaFile(film, audio=False) as file:
        np.testing.assert_array_equal(values, file.crops(times.tolist(), np.full((80, 2), 0.5), 48, 32))


def test_a_video_cut_short_gives_what_it_holds(film, tmp_path):
    path = media.truncated(media.index_first(film, tmp_path / "whole.mp4"), tmp_path / "cut.mp4", 0.6)
    times, values, lost = whole(path, PICTURE)
    assert 20 < len(times) < 60 and len(lost) <= 1
    np.testing.assert_allclose(values.mean((1, 2, 3)), 10 + 3 * np.arange(len(times)), atol=2.5)


# Images ------------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def picture():
    """uint8[90, 160, 3]: coarse squares of random colours."""
    return np.kron(np.random.default_rng(1).integers(0, 256, (9, 16, 3)), np.ones((10, 10, 1))).astype(np.uint8)


def test_an_image_is_one_row_at_time_0_and_looks_like_a_frame(picture, tmp_path):
    Image.fromarray(picture).save(tmp_path / "a.png")
    times, values, lost = whole(tmp_path / "a.png", windows.Steps("video", FORM, 0.01))
    assert times.tolist() == [0.0] and not lost
    with MediaFile(tmp_path / "a.png", audio=False) as file:
        frame = file.crops([0.0], np.array([[0.5, 0.5]]), 48, 32)[0]
    # Two libraries scale; the same picture a pixel further differs by more than 20 levels.
    assert np.abs(values[0].astype(int) - frame).mean() < 4


@pytest.mark.parametrize("orientation", range(1, 9))
def test_images_are_turned_upright(picture, tmp_path, orientation):
    turns = {1: picture, 2: picture[:, ::-1], 3: picture[::-1, ::-1], 4: picture[::-1], 5: picture.swapaxes(0, 1),
             6: np.rot90(picture), 7: np.rot90(picture, 2).swapaxes(0, 1), 8: np.rot90(picture, -1)}
    image = Image.fromarray(np.ascontiguousarray(turns[orientation]))
    exif = image.getexif()
    exif[0x0112] = orientation
    image.save(tmp_path / "turned.png", exif=exif)
    Image.fromarray(picture).save(tmp_path / "upright.png")
    turned, upright = (still.read_crop(tmp_path / f"{name}.png", 48, 32) for name in ("turned", "upright"))
    np.testing.assert_array_equal(turned, upright)


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "CMYK", "I;16"])
def test_any_kind_of_image_becomes_rgb(picture, tmp_path, mode):
    image = Image.fromarray(picture)
    made = Image.fromarray(picture[..., 0].astype(np.uint16) * 256) if mode == "I;16" else image.convert(mode)
    path = tmp_path / ("a.jpg" if mode == "CMYK" else "a.png")
    made.save(path, quality=95)
    crop = still.read_crop(path, 48, 32)
    image.save(tmp_path / "plain.png")
    expected = still.read_crop(tmp_path / "plain.png", 48, 32).astype(int)
    if mode in ("L", "I;16"):
        expected = np.repeat(np.asarray(image.convert("L") if mode == "L" else picture[..., 0])[..., None], 3, -1)
        Image.fromarray(expected.astype(np.uint8)).save(tmp_path / "plain.png")
        expected = still.read_crop(tmp_path / "plain.png", 48, 32).astype(int)
    assert crop.shape == (32, 32, 3) and np.abs(crop - expected).mean() < 16


def test_a_broken_image_is_told(picture, tmp_path):
    Image.fromarray(picture).save(tmp_path / "a.jpg")
    (tmp_path / "a.jpg").write_bytes((tmp_path / "a.jpg").read_bytes()[:900])
    times, _, lost = whole(tmp_path / "a.jpg", PICTURE)
    assert not len(times) and [(time_s, error.kind) for time_s, error in lost] == [(0.0, "damaged")]


# Many files --------------------------------------------------------------------------------------------------------------


def test_files_come_in_order_whatever_the_threads_do(tmp_path):
    lengths = [3.0, 45.0, 0.3, 12.0, 1.0]
    paths = [write_sweep(tmp_path / f"{k}.wav", seconds, 16000) for k, seconds in enumerate(lengths)]
    media.text_file(tmp_path / "bad.wav")
    paths = [*map(str, paths[:2]), str(tmp_path / "bad.wav"), *map(str, paths[2:])]
    one = list(windows.read_files(paths, SOUND, threads=1))
    four = list(windows.read_files(paths, SOUND, threads=4))
    assert [block.file for block in four] == [0, 1, 1, 2, 3, 4, 5]
    assert [(b.file, len(b.time_s)) for b in four] == [(0, 5), (1, 64), (1, 25), (2, 0), (3, 1), (4, 23), (5, 1)]
    for left, right in zip(one, four, strict=True):
        np.testing.assert_array_equal(left.values, right.values)
        np.testing.assert_array_equal(left.time_s, right.time_s)
    assert math.isnan(four[3].lost[0][0]) and four[3].lost[0][1].kind == "unreadable"


def test_a_wait_ends_when_it_is_told_to(tmp_path):
    path = write_sweep(tmp_path / "a.wav", 10.0, 16000)

    def stop():
        raise errors.Stopped("Stopped.")

    with pytest.raises(errors.Stopped):
        list(windows.read_files([str(path)], SOUND, on_wait=stop))


def test_odd_media_is_read_or_named(shared):
    paths = sorted(map(str, (shared / "data" / "odd_media" / "files").iterdir()))
    assert len(paths) == 71
    for steps in (SOUND, PICTURE):
        found = {file: [0, []] for file in range(len(paths))}
        for block in windows.read_files(paths, steps):
            found[block.file][0] += len(block.values)
            found[block.file][1] += [error for _, error in block.lost]
        for file, (count, lost) in found.items():
            assert count or lost, paths[file]
            assert all(str(error).endswith(".") for error in lost)
        assert sum(bool(count) for count, _ in found.values()) > 30


PEAK = """
import resource, sys
from avc_jax.data import windows
from avc_jax.data.moments import Format
peaks = []
for path in sys.argv[1:]:
    steps = windows.Steps("audio", Format(256, 224, 1.0, 48000), 0.5)
    print(sum(len(block.values) for block in windows.read_files([path], steps, threads=2)))
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""


def test_1000_seconds_take_no_more_memory_than_100(tmp_path):
    for name, seconds in (("short", 100), ("long", 1000)):
        with wave.open(str(tmp_path / name), "wb") as file:
            file.setparams((1, 2, 48000, 0, "NONE", ""))
            second = np.random.default_rng(0).integers(-9999, 9999, 48000).astype(np.int16).tobytes()
            for _ in range(seconds):
                file.writeframes(second)
    printed = subprocess.run([sys.executable, "-c", PEAK, str(tmp_path / "short"), str(tmp_path / "long")], cwd=ROOT,
                             capture_output=True, text=True, check=True).stdout
    few, before, many, after = map(int, printed.split())
    assert (few, many) == (199, 1999)
    # In MB. The long file's sound alone is 96 MB, its windows are 192 MB.
    assert after - before < 32
