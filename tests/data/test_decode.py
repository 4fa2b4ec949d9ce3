"""Promises of `avc_jax.data.decode`: one clock, exact frames, honest refusals."""

from __future__ import annotations

import csv
import random
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import av
import media
import numpy as np
import pytest

from avc_jax.data.decode import MediaFile, Span
from avc_jax.errors import BadMedia

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"
ODD, CLIPS = SHARED / "odd_media", SHARED / "clips"
RATES = {"24000/1001": Fraction(24000, 1001), "25": Fraction(25), "60000/1001": Fraction(60000, 1001)}


def _vfr(seconds: float = 6.0) -> list[float]:
    draw = random.Random(1)
    times = [0.0]
    while times[-1] < seconds - 0.1:
        times.append(round(times[-1] + draw.choice([0.02, 0.04, 0.07]), 3))
    return times


def _facts(folder: Path, table: str) -> list[dict[str, str]]:
    if not (folder / table).exists():
        return []
    with open(folder / table, newline="", encoding="utf-8") as lines:
        return list(csv.DictReader(lines))


ODD_FACTS = _facts(ODD, "facts.csv")
CLIP_FACTS = _facts(CLIPS, "manifest.csv")


def _refusal(call) -> BadMedia:
    """Returns the BadMedia that the call raises, after checking that its sentence is fit for a reader."""
    with pytest.raises(BadMedia) as caught:
        call()
    sentence = str(caught.value)
    assert sentence.endswith(".")
    assert sentence[0].isupper()
    assert "Errno" not in sentence
    return caught.value


def _decoded_in_order(path: Path) -> dict[int, np.ndarray]:
    """Returns {time stamp: uint8[h, w, 3]} of a plain decode from the first packet to the last."""
    with av.open(str(path)) as container:
        return {f.pts: f.to_ndarray(format="rgb24", threads=1) for f in container.decode(video=0)}


# --- one clock -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".webm"])
@pytest.mark.parametrize(("fps", "late_s"), [
    *((fps, late_s) for fps in ("24000/1001", "25", "60000/1001")
      for late_s in ({}, {"audio_offset_s": 0.4}, {"video_offset_s": 0.37})),
    ("variable", {}), ("variable", {"audio_offset_s": 0.4}),  # its listed times say when the picture starts
])
def test_flash_and_click_meet_within_one_frame_anywhere_in_the_file(tmp_path, suffix, fps, late_s):
    events = [0.9, 3.0, 5.2]
    times = _vfr() if fps == "variable" else RATES[fps]
    path = media.flash_and_click(tmp_path / f"a{suffix}", fps=times, events_s=events, **late_s)
    period = 0.07 if fps == "variable" else float(1 / RATES[fps])
    with MediaFile(path) as file:
        for event in events:
            grid = np.arange(event - 0.2, event + 0.2, 0.002)
            seen = next(t for t, image in zip(grid, file.frames(grid), strict=True) if media.is_flash(image))
            heard = media.click_time_s(file.sounds([event - 0.3], 0.6, 48000)[0], event - 0.3, 48000)
            assert (
                -0.003 <= seen - event <= period + 0.003
            )  # The first frame that starts at or after the event.
            assert abs(heard - event) < 0.003  # A burst of 4 ms, after a lossy codec and Matroska's 1 ms.
            assert abs(seen - heard) <= period + 0.003


@pytest.mark.parametrize("suffix", [".ts", ".mpg", ".avi"])
def test_other_containers_keep_flash_and_click_together(tmp_path, suffix):
    """Their clocks do not start at 0, and AVI stores no times at all, so only the difference is promised."""
    path = media.flash_and_click(tmp_path / f"a{suffix}", events_s=[1.0], seconds=3)
    with MediaFile(path) as file:
        start = file.measure().start_s
        grid = np.arange(start, start + 2.0, 0.005)
        seen = next(t for t, image in zip(grid, file.frames(grid), strict=True) if media.is_flash(image))
        heard = media.click_time_s(file.sounds([start], 2.0, 48000)[0], start, 48000)
    assert abs(seen - heard) <= 0.04 + 0.003


def test_sound_windows_start_at_the_exact_sample(tmp_path):
    path = media.flash_and_click(tmp_path / "a.mkv", acodec="pcm_s16le", events_s=[1.0, 3.0, 5.0])
    with MediaFile(path) as file:
        for start in (0.75, 0.99, 2.6, 4.7):
            window = file.sounds([start], 0.5, 48000)[0]
            event = next(e for e in (1.0, 3.0, 5.0) if e >= start)
            assert abs(int(np.abs(window.astype(int)).argmax()) - round((event - start) * 48000)) == 0


def test_time_stamps_of_frames_are_read_to_half_a_millisecond(tmp_path):
    path = media.flash_and_click(tmp_path / "a.mkv", fps=Fraction(30000, 1001), seconds=2)
    with MediaFile(path) as file:
        exact = [k * 1001 / 30000 for k in range(59)]
        assert [media.frame_number(i) for i in file.frames(exact)] == list(range(59))


def test_the_frame_on_screen_is_the_last_one_that_started(tmp_path):
    times = _vfr()
    path = media.flash_and_click(tmp_path / "a.mp4", fps=times)
    with MediaFile(path) as file:
        asked = [0.0, 0.0199, 1.234, 2.5, 5.5, 3.333]
        expected = [sum(t <= a for t in times) - 1 for a in asked]
        assert [media.frame_number(i) for i in file.frames(asked)] == expected


# --- random access is exact ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("a.mp4", {"bframes": 3, "gop": 30}),
        ("a.mp4", {"gop": 250}),
        ("a.mkv", {"bframes": 2, "gop": 20}),
        ("a.webm", {"gop": 20}),
        ("a.webm", {"vcodec": "libvpx", "gop": 20}),
        ("a.avi", {"gop": 12}),
        ("a.mpg", {"gop": 12, "fps": 25}),
        ("a.ts", {"bframes": 2, "gop": 20}),
    ],
)
def test_random_access_equals_the_sequential_decode_bit_for_bit(tmp_path, name, options):
    path = media.flash_and_click(tmp_path / name, **options)
    truth = _decoded_in_order(path)
    with MediaFile(path) as file:
        tick = float(file._source.video.time_base)
        stamps = random.Random(2).sample(sorted(truth), 25)
        alone = [file.frames([s * tick])[0] for s in stamps]
        together = file.frames([s * tick for s in stamps])
    for stamp, one, many in zip(stamps, alone, together, strict=True):
        assert np.array_equal(one, truth[stamp])
        assert np.array_equal(many, truth[stamp])


@pytest.mark.parametrize(("name", "acodec"), [("a.mkv", "pcm_s16le"), ("a.mp4", "aac"), ("a.mkv", "libopus")])
def test_many_windows_of_sound_equal_one_at_a_time(tmp_path, name, acodec):
    path = media.flash_and_click(tmp_path / name, acodec=acodec, events_s=np.arange(0.2, 6, 0.31))
    starts = [4.0, 0.0, 2.5, 2.6, 5.0, 1.001]
    with MediaFile(path) as file:
        together = file.sounds(starts, 0.7, 16000)
        alone = np.concatenate([file.sounds([s], 0.7, 16000) for s in starts])
    assert together.dtype == np.int16
    assert together.shape == (6, 11200)
    # A lossy decoder that starts elsewhere comes within its own noise, PCM comes out equal.
    assert np.abs(together.astype(int) - alone).max() <= (0 if acodec.startswith("pcm") else 40)


def test_order_repeats_and_an_empty_list_are_kept(tmp_path):
    path = media.flash_and_click(tmp_path / "a.mp4", seconds=2, events_s=[1.0])
    with MediaFile(path) as file:
        images = file.frames([1.5, 0.2, 1.5])
        assert [media.frame_number(i) for i in images] == [37, 5, 37]
        assert images[0] is not images[2]
        assert file.frames([]) == []
        assert file.sounds([], 0.5, 8000).shape == (0, 4000)


# --- sound -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rate_hz", [8000, 44100, 96000])
@pytest.mark.parametrize("layout", ["mono", "stereo"])
@pytest.mark.parametrize("out_hz", [16000, 48000])
def test_a_tone_keeps_its_pitch_and_level(tmp_path, rate_hz, layout, out_hz):
    path = media.tone_video(tmp_path / "a.mp4", tone_hz=440, amplitude=0.5, rate_hz=rate_hz, layout=layout)
    with MediaFile(path) as file:
        _check_tone(file.sounds([0.5], 1.0, out_hz)[0], out_hz, 440, 0.5)


@pytest.mark.parametrize(
    ("name", "acodec", "sample_format"),
    [
        ("a.wav", "pcm_s16le", "s16"),
        ("a.wav", "pcm_s24le", "s32"),
        ("a.wav", "pcm_s32le", "s32"),
        ("a.wav", "pcm_f32le", "flt"),
        ("a.flac", "flac", "s32"),
        ("a.mkv", "pcm_f32le", "flt"),
    ],
)
def test_every_sample_format_comes_out_on_the_scale_of_int16(tmp_path, name, acodec, sample_format):
    path = media.tone_video(
        tmp_path / name, tone_hz=1000, amplitude=0.25, video=False, acodec=acodec, sample_format=sample_format
    )
    with MediaFile(path, video=False) as file:
        assert file.sounds([0.0], 2.0, 48000).shape == (1, 96000)
        _check_tone(file.sounds([0.7], 1.0, 48000)[0], 48000, 1000, 0.25)


@pytest.mark.parametrize("layout", ["5.1", "7.1"])
def test_surround_sound_is_mixed_down(tmp_path, layout):
    """7.1 is one plane more than PyAV can read off a frame without crashing the process."""
    path = media.tone_video(tmp_path / "a.mp4", tone_hz=440, amplitude=0.2, layout=layout)
    with MediaFile(path) as file:
        window = file.sounds([0.5], 1.0, 16000)[0].astype(float)
    spectrum = np.abs(np.fft.rfft(window))
    assert spectrum.argmax() == 440
    assert 0.1 < np.abs(window).max() / 32768 < 0.75  # The weights are libswresample's.


def _check_tone(window: np.ndarray, rate_hz: int, tone_hz: float, amplitude: float) -> None:
    spectrum = np.abs(np.fft.rfft(window.astype(float)))
    assert spectrum.argmax() == round(tone_hz * len(window) / rate_hz)
    level_db = 20 * np.log10(np.sqrt(2) * window.astype(float).std() / 32768 / amplitude)
    assert abs(level_db) < 1


def test_a_silent_track_is_told_from_a_quiet_one(tmp_path):
    for name in ("a.mp4", "a.mkv"):
        with MediaFile(media.tone_video(tmp_path / name, amplitude=0.0)) as file:
            assert file.is_silent()
        with MediaFile(media.tone_video(tmp_path / name, amplitude=0.01)) as file:
            assert not file.is_silent()
            assert not file.is_silent()
            file.sounds([0.5], 0.5, 16000)


def test_a_hole_in_the_sound_is_refused_and_the_rest_is_read(tmp_path):
    whole = media.tone_video(tmp_path / "whole.mkv", acodec="pcm_s16le", seconds=4)
    holed = tmp_path / "holed.mkv"
    with av.open(str(whole)) as old, av.open(str(holed), "w") as new:
        copies = {s.index: new.add_stream_from_template(s) for s in old.streams}
        for packet in old.demux():
            if packet.dts is None:
                continue
            if packet.stream.type == "audio" and 1.9 < packet.pts * packet.time_base < 2.1:
                continue
            packet.stream = copies[packet.stream_index]
            new.mux(packet)
    with MediaFile(holed) as file:
        assert file.sounds([0.5, 3.0], 0.5, 16000).shape == (2, 8000)
        assert _refusal(lambda: file.sounds([1.8], 0.5, 16000)).kind == "damaged"


# --- geometry --------------------------------------------------------------------------------------------

RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)
CORNERS = {
    None: (RED, GREEN, BLUE, WHITE),
    90: (GREEN, WHITE, RED, BLUE),  # counter-clockwise
    180: (WHITE, BLUE, GREEN, RED),
    270: (BLUE, RED, WHITE, GREEN),
}


@pytest.mark.parametrize("rotation", [None, 90, 180, 270])
def test_pictures_come_upright(tmp_path, rotation):
    path = media.quarters_video(tmp_path / "a.mp4", rotation=rotation)
    with MediaFile(path, audio=False) as file:
        native, small = file.frames([0.5])[0], file.frames([0.5], 32)[0]
    turned = rotation in (90, 270)
    assert native.shape == ((96, 64, 3) if turned else (64, 96, 3))
    assert small.shape == ((48, 32, 3) if turned else (32, 48, 3))
    for image in (native, small):
        h, w = image.shape[0] // 4, image.shape[1] // 4
        corners = (image[h, w], image[h, -w], image[-h, w], image[-h, -w])
        for got, wanted in zip(corners, CORNERS[rotation], strict=True):
            assert np.abs(got.astype(int) - wanted).max() < 12


@pytest.mark.parametrize(("aspect", "shape"), [(Fraction(4, 3), (64, 128, 3)), (Fraction(1, 2), (64, 48, 3))])
def test_pixels_come_out_square(tmp_path, aspect, shape):
    path = media.quarters_video(tmp_path / "a.mp4", aspect=aspect)
    with MediaFile(path, audio=False) as file:
        assert file.frames([0.0])[0].shape == shape
        assert min(file.frames([0.0], 24)[0].shape[:2]) == 24


def test_turned_pictures_with_oblong_pixels_keep_their_proportions(tmp_path):
    path = media.quarters_video(tmp_path / "a.mp4", aspect=Fraction(4, 3), rotation=90)
    with MediaFile(path, audio=False) as file:
        assert file.frames([0.0], 32)[0].shape == (64, 32, 3)


def test_one_size_for_all_frames_with_the_asked_shorter_side(tmp_path):
    path = media.flash_and_click(tmp_path / "a.mp4", size=(160, 90), seconds=1, events_s=[])
    with MediaFile(path) as file:
        assert {i.shape for i in file.frames([0, 0.3, 0.6], 45)} == {(45, 80, 3)}
        assert {i.dtype for i in file.frames([0, 0.3, 0.6], 45)} == {np.dtype(np.uint8)}


# --- spans and refusals ----------------------------------------------------------------------------------


def test_span_is_the_overlap_of_sound_and_picture(tmp_path):
    path = media.flash_and_click(tmp_path / "a.mp4", audio_offset_s=1.0, seconds=4, events_s=[])
    with MediaFile(path) as file:
        assert isinstance(file.span, Span)
        assert file.span.start_s == pytest.approx(1.0, abs=0.03)
        assert file.span.end_s == pytest.approx(4.0, abs=0.03)
        assert file.measure().start_s == pytest.approx(file.span.start_s, abs=0.03)
    with MediaFile(path, audio=False) as file:
        assert file.span == Span(0.0, 4.0)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".webm"])
def test_all_of_the_measured_span_can_be_read_and_nothing_outside(tmp_path, suffix):
    path = media.flash_and_click(tmp_path / f"a{suffix}", seconds=2, events_s=[1.0])
    with MediaFile(path) as file:
        span = file.measure()
        window = 0.5
        file.sounds([span.start_s, span.end_s - window], window, 16000)
        file.frames([span.start_s, span.end_s - 1e-4])
        for start in (span.start_s - 0.1, -5.0, span.end_s - window + 0.1, 1e6):
            assert _refusal(lambda start=start: file.sounds([start], window, 16000)).kind == "incomplete"
        for time in (-1.0, 2.1, 1e6):
            assert _refusal(lambda time=time: file.frames([0.5, time])).kind == "incomplete"
        assert media.frame_number(file.frames([0.5])[0]) == 12  # A refusal does no harm to the next call.


def test_truncated_file_with_its_index_in_front_gives_what_it_holds(tmp_path):
    whole = media.flash_and_click(tmp_path / "whole.mp4", seconds=6)
    cut = media.truncated(media.index_first(whole, tmp_path / "front.mp4"), tmp_path / "cut.mp4", 0.5)
    with MediaFile(cut) as file:
        assert 1.0 < file.span.end_s < 5.0  # The header claims 6 s.
        images = file.frames([0.0, file.span.end_s - 0.05])
        assert media.frame_number(images[0]) == 0
        assert file.sounds([file.span.end_s - 0.5], 0.5, 16000).any()
        assert _refusal(lambda: file.frames([5.5])).kind == "incomplete"
        assert _refusal(lambda: file.sounds([5.0], 0.5, 16000)).kind == "incomplete"


def test_damaged_pictures_are_refused_and_the_next_key_frame_is_fine(tmp_path):
    path = media.flash_and_click(tmp_path / "a.mp4", gop=25, audio=False, seconds=4, size=(192, 128))
    data = bytearray(path.read_bytes())
    with av.open(str(path)) as container:
        packet = next(p for p in container.demux(video=0) if p.pts * p.time_base >= 1.2)
        data[packet.pos + 4 : packet.pos + packet.size] = b"\xff" * (packet.size - 4)
    path.write_bytes(data)
    with MediaFile(path, audio=False) as file:
        assert _refusal(lambda: file.frames([1.5])).kind == "damaged"
        assert [media.frame_number(i) for i in file.frames([0.5, 2.5])] == [12, 62]


@pytest.mark.parametrize(
    "make", [media.empty_file, media.text_file, lambda p: p], ids=["0 bytes", "text", "no such file"]
)
@pytest.mark.parametrize("name", ["a.mp4", "a.webm", "a.wav"])
def test_what_is_no_media_file_is_unreadable(tmp_path, make, name):
    path = make(tmp_path / name)
    assert _refusal(lambda: MediaFile(path)).kind == "unreadable"


def test_an_mp4_without_its_index_and_a_folder_are_unreadable(tmp_path):
    whole = media.flash_and_click(tmp_path / "whole.mp4", seconds=1)
    assert _refusal(lambda: MediaFile(media.truncated(whole, tmp_path / "cut.mp4"))).kind == "unreadable"
    assert _refusal(lambda: MediaFile(tmp_path)).kind == "unreadable"


def test_a_file_that_vanishes_is_bad_media_or_still_reads(tmp_path):
    path = media.flash_and_click(tmp_path / "a.mp4", seconds=2)
    with MediaFile(path) as file:
        file.frames([1.0])
        path.unlink()
        assert media.frame_number(file.frames([0.5])[0]) == 12
        assert _refusal(file.measure).kind == "unreadable"
        assert media.frame_number(file.frames([0.5])[0]) == 12
    with pytest.raises(
        ValueError, match="closed"
    ):  # And not a crash, which is what PyAV does with a closed container.
        file.frames([0.5])


def test_a_missing_track_is_named(tmp_path):
    picture = media.flash_and_click(tmp_path / "picture.mp4", audio=False, seconds=1)
    sound = media.flash_and_click(tmp_path / "sound.mp4", video=False, seconds=1)
    assert _refusal(lambda: MediaFile(picture)).kind == "no_audio"
    assert _refusal(lambda: MediaFile(sound)).kind == "no_video"
    with MediaFile(picture, audio=False) as file:
        assert len(file.frames([0.5])) == 1
    with MediaFile(sound, video=False) as file:
        assert file.sounds([0.2], 0.5, 8000).shape == (1, 4000)


def test_cover_art_is_no_video(tmp_path):
    path = tmp_path / "song.mp4"
    with av.open(str(path), "w") as out:
        cover = out.add_stream("mjpeg", rate=1)
        cover.width, cover.height, cover.pix_fmt = 64, 64, "yuvj420p"
        cover.disposition = av.stream.Disposition.attached_pic
        voice = out.add_stream("aac", rate=48000, layout="mono")
        picture = av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8), format="rgb24")
        for packet in [*cover.encode(picture), *cover.encode(None)]:
            out.mux(packet)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 48000), np.int16), format="s16", layout="mono")
        frame.sample_rate = 48000
        for packet in [*voice.encode(frame), *voice.encode(None)]:
            out.mux(packet)
    assert _refusal(lambda: MediaFile(path)).kind == "no_video"
    with MediaFile(path, video=False) as file:
        assert file.is_silent()


def test_a_clip_of_a_third_of_a_second_is_read(tmp_path):
    with MediaFile(media.short_clip(tmp_path / "a.mp4")) as file:
        assert file.span.end_s == pytest.approx(0.3, abs=0.03)
        assert file.sounds([0.0], 0.25, 16000).shape == (1, 4000)
        assert _refusal(lambda: file.sounds([0.0], 1.0, 16000)).kind == "incomplete"


def test_nonsense_asked_is_the_callers_error(tmp_path):
    with MediaFile(media.short_clip(tmp_path / "a.mp4"), audio=False) as file:
        with pytest.raises(ValueError, match="finite"):
            file.frames([float("nan")])
        with pytest.raises(ValueError, match="audio=False"):
            file.sounds([0.0], 0.1, 16000)
        with pytest.raises(ValueError, match="audio=False"):
            _ = file.native_rate_hz
    with pytest.raises(ValueError, match="video, audio or both"):
        MediaFile(tmp_path / "a.mp4", video=False, audio=False)


def test_the_module_imports_neither_jax_nor_tensorflow():
    code = "import sys, avc_jax.data.decode; print({'jax', 'tensorflow'} & set(sys.modules))"
    root = Path(__file__).resolve().parents[2]
    seen = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=root)
    assert seen.stdout.strip() == "set()"


# --- real media ------------------------------------------------------------------------------------------

needs_shared = pytest.mark.skipif(not ODD_FACTS or not CLIP_FACTS, reason="../shared is not here")


def _read(file: MediaFile, window_s: float) -> tuple[list[np.ndarray], np.ndarray]:
    """Reads windows at the beginning, the middle and the end; the headers get one chance to be wrong."""
    for span in (file.span, None):
        span = span or file.measure()
        starts = [span.start_s, (span.start_s + span.end_s - window_s) / 2, span.end_s - window_s]
        try:
            return file.frames([s + window_s / 2 for s in starts], 64), file.sounds(starts, window_s, 16000)
        except BadMedia as error:
            if error.kind != "incomplete":
                raise
    raise AssertionError("the measured span cannot be read")


@needs_shared
@pytest.mark.parametrize("facts", CLIP_FACTS, ids=[f["file"] for f in CLIP_FACTS])
def test_every_clip_gives_its_beginning_middle_and_end(facts):
    path = CLIPS / facts["file"]
    if not path.exists():
        pytest.skip("this clip is not here: some are not cleared for publication")
    with MediaFile(path) as file:
        images, sound = _read(file, 1.0)
        assert not file.is_silent()
    assert {min(i.shape[:2]) for i in images} == {64}
    assert sound.shape == (3, 16000)
    assert (sound.std(axis=1) > 0).all()
    # No clip comes out louder than its own peak, nor as the spikes of mistaken sample formats.
    assert np.abs(sound.astype(int)).max() <= 32768 * min(1.0, 1.2 * float(facts["audio_peak"]) + 0.01)


@needs_shared
@pytest.mark.parametrize("facts", ODD_FACTS, ids=[f["file"] for f in ODD_FACTS])
@pytest.mark.parametrize(
    "tracks", [(True, True), (True, False), (False, True)], ids=["both", "video", "audio"]
)
def test_every_odd_file_gives_data_or_bad_media(facts, tracks):
    video, audio = tracks
    refusal = None
    path = ODD / "files" / facts["file"]
    try:
        with MediaFile(path, video=video, audio=audio) as file:
            span = file.measure()
            window_s = min(0.5, span.end_s - span.start_s)
            if video:
                images = file.frames([span.start_s, (span.start_s + span.end_s) / 2], 64)
                assert {min(i.shape[:2]) for i in images} == {64}
            if audio:
                starts = [span.start_s, span.end_s - window_s]
                sound = file.sounds(starts, window_s, 16000)
                peak = float(facts["audio_peak"] or 1)
                if (
                    facts["file"] != "ax_100kB-garbage-prefix.mp3"
                ):  # FFmpeg 5.1 took it for AMR; 8 reads the tone.
                    assert np.abs(sound.astype(int)).max() <= 32768 * min(1.0, 1.2 * peak + 0.01)
                assert file.is_silent() == (peak == 0.0) or peak < 1e-4
    except BadMedia as error:
        refusal = error
    if refusal is not None:
        assert refusal.kind in {"unreadable", "no_video", "no_audio", "incomplete", "damaged"}
        assert str(refusal).endswith(".")


EXPECTED = {
    "ax_sample_malformed_free_box.mp4": "unreadable",
    "ax_1024_incrementing_bytes.mp3": "unreadable",
    "mp_zero_bytes.webm": "unreadable",
    "zero_bytes.mp4": "unreadable",
    "zero_bytes.wav": "unreadable",
    "first_100_bytes.mp4": "unreadable",
    "ax_sample_missing_stsd.mp4": "no_audio",
    "gr_muted.mp4": "no_audio",
    "ax_sample_audio_only.mp4": "no_video",
    "ax_sample_ac4.mp4": "no_video",
}


@needs_shared
@pytest.mark.parametrize("name", EXPECTED)
def test_odd_files_are_refused_for_the_right_reason(name):
    assert _refusal(lambda: MediaFile(ODD / "files" / name)).kind == EXPECTED[name]


@needs_shared
def test_sound_without_a_decoder_or_without_samples_is_no_sound():
    assert _refusal(lambda: MediaFile(ODD / "files" / "ax_sample_ac4.mp4", video=False)).kind == "no_audio"
    with MediaFile(ODD / "files" / "ol3_empty.wav", video=False) as file:
        assert _refusal(lambda: file.span).kind == "no_audio"
        assert _refusal(file.is_silent).kind == "no_audio"


@needs_shared
def test_broken_pictures_are_never_shown():
    with MediaFile(ODD / "files" / "ax_invalid-bitstream.webm", audio=False) as file:
        assert _refusal(lambda: file.frames([1.0])).kind == "damaged"
    with MediaFile(ODD / "files" / "dec_corrupted.mp4", audio=False) as file:
        assert len(file.frames([0.0])) == 1
        assert _refusal(lambda: file.frames([4.9])).kind == "damaged"


@needs_shared
def test_rotated_phone_clips_come_upright():
    shapes = {}
    for turn in (0, 90, 270):
        with MediaFile(ODD / "files" / f"dec_rotated_{turn}.mov", audio=False) as file:
            shapes[turn] = file.frames([0.0])[0].shape
    assert shapes == {0: (320, 568, 3), 90: (568, 320, 3), 270: (568, 320, 3)}
    path = ODD / "files" / "mp_fire2_vfr.mp4"
    with av.open(str(path)) as container:
        stored = next(container.decode(video=0)).to_ndarray(format="rgb24", threads=1)
    with MediaFile(path, audio=False) as file:
        assert np.array_equal(file.frames([0.0])[0], stored[::-1, ::-1])


@needs_shared
@pytest.mark.parametrize(
    ("name", "start_s", "end_s"),
    [
        ("ax_sample_fragmented.mp4", 0.067, 1.068),
        ("mp_no_duration.webm", 0.015, 4.874),
        ("cut_world_33pct.mp4", 0.0, 9.467),
        ("cut_friday_half.mp4", 0.0, 3.065),
        ("ax_edit_list_positive_shift.mp4", 1.0, 10.0),
    ],
)
def test_headers_that_lie_or_say_nothing_are_not_believed(name, start_s, end_s):
    with MediaFile(ODD / "files" / name) as file:
        assert file.span.start_s == pytest.approx(start_s, abs=0.002)
        assert file.span.end_s == pytest.approx(end_s, abs=0.002)


@needs_shared
@pytest.mark.parametrize(
    "name", ["open/nasa_13013.mp4", "open/grid_bbaf2n.mpg", "web/kinetics_pancake.mkv", "web/web_050.mp4"]
)
def test_random_access_into_real_clips_equals_the_sequential_decode(name):
    path = CLIPS / name
    if not path.exists():
        pytest.skip("this clip is not here: some are not cleared for publication")
    truth = _decoded_in_order(path)
    with MediaFile(path, audio=False) as file:
        tick = float(file._source.video.time_base)
        for stamp in random.Random(5).sample(sorted(truth), 5):
            assert np.array_equal(file.frames([stamp * tick])[0], truth[stamp])
