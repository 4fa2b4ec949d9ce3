"""Records: what goes in comes out, and training from them sees what training from the videos sees."""

import dataclasses
import io
import json
import shutil
from pathlib import Path

import media
import numpy as np
import pytest
import tiny
from PIL import Image

from avc_jax import errors
from avc_jax.data import sources
from avc_jax.data import visit as visits
from avc_jax.data.decode import MediaFile, Span
from avc_jax.data.plan import Plan
from avc_jax.data.quarantine import Quarantine
from avc_jax.data.records import clip as clips
from avc_jax.data.records import layout, make
from avc_jax.data.records import source as record_source
from avc_jax.data.records.example import Content, DamagedRecord, parse, serialize
from avc_jax.train.guard import Guard
from avc_jax.train.workdir import Workdir

RATE = 8000
RECIPE = layout.Recipe(fps=10.0, short_side=48, rate_hz=RATE, window_s=0.5, clips_per_shard=3, split_fractions=(1.0, 0.0, 0.0))
FORM = visits.Format(short_side=48, size=40, window_s=0.5, rate_hz=RATE)


def make_records(videos: Path, out: Path, recipe=RECIPE, manifest="", **options):
    """Makes the records of a folder in this process; returns the folder's own source."""
    source = sources.open_folder(str(videos), manifest, recipe.split_fractions)
    workdir = Workdir(str(out), flag="--out")
    try:
        with Guard() as guard:
            make.make_records(source, workdir, recipe, guard, stream=io.StringIO(), **{"workers": 1, "budget": 1.0} | options)
    finally:
        workdir.close()
    return source


def config_of(out: Path, **changes):
    return tiny.config(**{"data__source": "records", "data__root": str(out), "data__split_fractions": (1.0, 0.0, 0.0),
                          "audio__rate_hz": RATE} | changes)


def write_videos(folder: Path) -> Path:
    """Six videos in three containers that differ in clock and rate, and four of no use."""
    folder.mkdir(parents=True)
    for number in (0, 1):
        tiny.write_video(folder / f"{number}.mp4", number)
    media.flash_and_click(folder / "pcm.mov", acodec="pcm_s16le", rate_hz=RATE, seconds=3.0, size=(64, 48))
    media.flash_and_click(folder / "late.mov", acodec="pcm_s16le", rate_hz=RATE, seconds=3.0, video_offset_s=0.3, size=(64, 48))
    media.flash_and_click(folder / "other.mkv", seconds=3.0, size=(64, 48))
    long = media.flash_and_click(folder / "whole.webm", seconds=4.0, size=(64, 48))
    media.truncated(long, folder / "lies.webm", 0.6)
    long.unlink()
    media.text_file(folder / "bad.mp4")
    media.empty_file(folder / "empty.mp4")
    media.short_clip(folder / "short.mp4")
    media.quarters_video(folder / "mute.mp4")
    return folder


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """(videos, records, source of the folder, source of the records)."""
    root = tmp_path_factory.mktemp("records")
    folder = make_records(write_videos(root / "videos"), root / "out")
    return root / "videos", root / "out", folder, record_source.open_records(config_of(root / "out"))


# One record --------------------------------------------------------------------------------------------------------------


def jpeg(level: int) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.full((24, 32, 3), level, np.uint8)).save(file, "JPEG")
    return file.getvalue()


def content() -> Content:
    rng = np.random.default_rng(0)
    return Content(
        path="a/\udce9 ü.mp4", split="train", label="cello", file=3, clip=7, span=Span(0.1, 2.1), measured=Span(0.1, 2.05),
        frame_s=0.1 + np.arange(4) / 2, frames=[jpeg(60 * i) for i in range(4)], frames_end_s=2.1, sound_start_s=0.1 + 1 / 3,
        sound=rng.integers(-9, 9, 1000).astype(np.int16), rate_hz=1000, native_width=64, native_height=48, source_bytes=123,
        source_sha256="0" * 64)


def test_record_reads_as_it_was_written():
    written, found = content(), parse(serialize(content()), check=True)
    for field in dataclasses.fields(Content):
        one, other = getattr(written, field.name), getattr(found, field.name)
        assert np.array_equal(one, other) if isinstance(one, np.ndarray) else one == other, field.name
    assert found.sound.dtype == np.int16 and found.frame_s.dtype == np.float64


def test_same_content_same_bytes():
    assert serialize(content()) == serialize(content())


@pytest.mark.parametrize("change", [
    {"path": "b"}, {"clip": 8}, {"span": Span(0.1, 2.2)}, {"sound_start_s": 0.1}, {"frame_s": np.arange(4.0)},
    {"frames": [jpeg(0)] * 4}, {"sound": np.zeros(1000, np.int16)}, {"source_bytes": 124}])
def test_digest_covers_every_kind_of_field(change):
    digest = content()
    changed = serialize(dataclasses.replace(digest, **change))
    own = serialize(digest).split(b"payload_sha256")[1][:80]
    assert own not in changed


def test_record_whose_digest_does_not_fit_is_damaged():
    record = serialize(content())
    place = record.index(b"cello")
    forged = record[:place] + b"viola" + record[place + 5 :]
    assert parse(forged).label == "viola"
    with pytest.raises(DamagedRecord, match="sha256"):
        parse(forged, check=True)


@pytest.mark.parametrize("record", [b"", b"\xff" * 50, b"\x0a\x03abc"])
def test_what_is_no_record_is_damaged(record):
    with pytest.raises(DamagedRecord):
        parse(record)


def level(image) -> int:
    return round(float(image.mean()) / 60)


def test_frames_are_the_last_stored_ones_at_or_before_the_times():
    record = record_source.Record(content())
    images = record.frames([0.1, 0.59, 0.6, 2.09, 0.1, 0.0998, 0.5997], 24)
    assert [level(image) for image in images] == [0, 0, 1, 3, 0, 0, 1]
    assert images[0].shape == (24, 32, 3) and images[0].dtype == np.uint8
    images[0][:] = 7
    assert level(images[4]) == 0, "two rows share their memory"


def test_frames_are_scaled_down_when_asked():
    assert record_source.Record(content()).frames([0.2], 12)[0].shape == (12, 16, 3)


@pytest.mark.parametrize("time_s", [0.0, 0.099, 2.2])
def test_frames_outside_are_incomplete(time_s):
    with pytest.raises(errors.BadMedia) as caught:
        record_source.Record(content()).frames([time_s], 24)
    assert caught.value.kind == "incomplete"


def test_frame_that_is_no_jpeg_is_damaged():
    with pytest.raises(errors.BadMedia) as caught:
        record_source.Record(dataclasses.replace(content(), frames=[b"x"] * 4)).frames([0.2], 24)
    assert caught.value.kind == "damaged"


def test_sounds_are_cut_to_the_sample():
    written = content()
    starts = written.sound_start_s + np.array([0.0, 0.25, 0.9, -0.0009, 0.9009])
    found = record_source.Record(written).sounds(starts, 0.1, 1000)
    for row, begin in zip(found, (0, 250, 900, 0, 900), strict=True):
        np.testing.assert_array_equal(row, written.sound[begin : begin + 100])


@pytest.mark.parametrize("start_s", [-0.01, 0.91])
def test_sounds_outside_are_incomplete(start_s):
    with pytest.raises(errors.BadMedia) as caught:
        record_source.Record(content()).sounds([content().sound_start_s + start_s], 0.1, 1000)
    assert caught.value.kind == "incomplete"


def test_another_rate_is_refused():
    with pytest.raises(ValueError, match="1000 Hz"):
        record_source.Record(content()).sounds([0.5], 0.1, 2000)


# From a clip to its record -----------------------------------------------------------------------------------------------


def read(videos, name, *, start_s=-np.inf, end_s=np.inf, **changes):
    clip = sources.Clip(name, 0, "train", "", start_s, end_s)
    return clips.read_content(videos, 0, clip, dataclasses.replace(RECIPE, **changes))


def test_clock_facts_are_those_of_the_file(made):
    found = read(made[0], "late.mov")
    with MediaFile(made[0] / "late.mov") as file:
        assert found.span == file.span
        assert found.span.start_s == pytest.approx(0.3)
    np.testing.assert_allclose(np.diff(found.frame_s), 0.1)
    assert found.frame_s[0] == found.span.start_s
    assert (found.native_width, found.native_height) == (64, 48)
    assert found.source_bytes == (made[0] / "late.mov").stat().st_size


def test_every_frame_is_the_one_on_screen_at_its_time(made):
    found = read(made[0], "pcm.mov")
    numbers = [media.frame_number(np.array(Image.open(io.BytesIO(frame)))) for frame in found.frames]
    assert numbers == [int(time_s * 25 + 1e-6) for time_s in found.frame_s]


def test_sound_starts_when_it_says(made):
    found = read(made[0], "late.mov", rate_hz=48000)
    assert media.click_time_s(found.sound, found.sound_start_s, 48000) == pytest.approx(1.0, abs=0.002)
    assert abs(found.sound_start_s - found.span.start_s) <= 1 / RATE


def test_stretch_of_sound_is_what_there_is_between_two_times(made):
    with MediaFile(made[0] / "late.mov") as file:
        start_s, sound = file.stretch(-5.0, 99.0, RATE)
        inner_s, inner = file.stretch(1.0, 1.5, RATE)
        assert (start_s, inner_s) == pytest.approx((0.0, 1.0), abs=1e-9)
        assert (len(sound), len(inner)) == (3 * RATE, RATE // 2)
        np.testing.assert_array_equal(inner, sound[RATE : RATE * 3 // 2])
        with pytest.raises(errors.BadMedia) as caught:
            file.stretch(50.0, 51.0, RATE)
    assert caught.value.kind == "incomplete"


def test_stretch_of_a_file_is_all_that_is_kept(made):
    found = read(made[0], "pcm.mov", start_s=1.0, end_s=2.0)
    assert found.frame_s[0] == 1.0 and found.frame_s[-1] < 2.0
    assert len(found.sound) == RATE
    assert found.span == read(made[0], "pcm.mov").span, "the span is that of the file; readers cut it by the clip"


def test_headers_that_promise_too_much_are_measured(made):
    found = read(made[0], "lies.webm")
    assert found.measured.end_s < found.span.end_s - 0.5
    assert found.frames_end_s <= found.measured.end_s + 0.1


@pytest.mark.parametrize(("name", "changes", "kind"), [
    ("bad.mp4", {}, "unreadable"), ("empty.mp4", {}, "unreadable"), ("none.mp4", {}, "unreadable"), ("mute.mp4", {}, "no_audio"),
    ("short.mp4", {}, "too_short"), ("pcm.mov", {"longest_s": 2.0}, "too_long"), ("pcm.mov", {"window_s": 4.0}, "too_short")])
def test_clips_of_no_use_are_rejected(made, name, changes, kind):
    with pytest.raises(errors.BadMedia) as caught:
        read(made[0], name, **changes)
    assert caught.value.kind == kind


def test_file_that_is_silent_from_beginning_to_end_is_rejected(tmp_path):
    media.tone_video(tmp_path / "a.mp4", amplitude=0.0)
    with pytest.raises(errors.BadMedia) as caught:
        read(tmp_path, "a.mp4")
    assert caught.value.kind == "silent"


# The same training -------------------------------------------------------------------------------------------------------


def visited(source, pairing="independent", ledger=None):
    """`Pairs` of 40 visits, and what ended up in quarantine."""
    quarantine = Quarantine(ledger, source.num_files, 1.0)
    reader = visits.Reader(source, Plan(len(source.clips), 3, batch_size=4, pairs_per_visit=2), FORM, quarantine, pairing=pairing)
    return [reader.train(number) for number in range(40)], quarantine.reasons


def test_list_of_clips_is_that_of_the_folder(made):
    _, _, folder, records = made
    assert records.clips == folder.clips
    assert records.sha256() == folder.sha256()
    assert records.select("train").clips == folder.select("train").clips


def test_same_clips_times_and_substitutes_as_from_the_folder(made):
    _, _, folder, records = made
    (from_folder, bad), (from_records, known) = visited(folder), visited(records)
    assert bad and set(known) == set(bad)
    assert {path: kind for path, (kind, _) in known.items()} == {path: kind for path, (kind, _) in bad.items()}
    for one, other in zip(from_folder, from_records, strict=True):
        for name in ("label", "file", "clip", "sound_clip", "frame_s", "sound_s"):
            np.testing.assert_array_equal(getattr(one, name), getattr(other, name), err_msg=name)
    used = {folder.clips[clip].path for pairs in from_folder for clip in pairs.clip}
    assert {"lies.webm", "late.mov", "pcm.mov"} <= used, "the plan missed the interesting files"


def test_sounds_at_their_own_rate_are_bit_for_bit_those_of_the_folder(made):
    _, _, folder, records = made
    compared = 0
    for one, other in zip(visited(folder)[0], visited(records)[0], strict=True):
        for row, clip in enumerate(one.sound_clip):
            if folder.clips[clip].path.endswith(".mov"):
                np.testing.assert_array_equal(one.waveform[row], other.waveform[row])
                compared += 1
    assert compared > 10


def test_resampled_sounds_are_those_of_the_folder_but_for_a_fraction_of_a_sample(made):
    _, _, folder, records = made
    for one, other in zip(visited(folder)[0], visited(records)[0], strict=True):
        for row, clip in enumerate(one.sound_clip):
            if folder.clips[clip].path in ("0.mp4", "1.mp4"):
                assert tiny.sound_of(one.waveform[row], RATE) == tiny.sound_of(other.waveform[row], RATE)
                a, b = one.waveform[row].astype(float), other.waveform[row].astype(float)
                # A tone of 550 Hz that is late by half a sample of 8 kHz turns by 0.22, so correlates by more than 0.97.
                assert a @ b / np.sqrt((a @ a) * (b @ b)) > 0.97


def test_frames_are_the_nearest_stored_ones(made):
    videos, _, folder, records = made
    for one, other in zip(visited(folder)[0], visited(records)[0], strict=True):
        for row, clip in enumerate(other.clip):
            name = folder.clips[clip].path
            if name.endswith(".mov"):
                with MediaFile(videos / name) as file:
                    start_s = file.span.start_s
                    stored_s = start_s + np.floor((one.frame_s[row] - start_s) * RECIPE.fps + 1e-9) / RECIPE.fps
                    image = file.frames([stored_s], 48)[0]
                crops = [np.abs(image[y : y + 40, x : x + 40].astype(int) - other.frame[row].astype(int)).mean()
                         for y in range(9) for x in range(25)]
                assert min(crops) < 6, "no crop of the stored frame looks like what the record gave"


# Opening -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("changes", "words"), [
    ({"audio__rate_hz": 16000}, "audio.rate_hz: found 16000, expected the records' 8000"),
    ({"data__frame_short_side": 64}, "data.frame_short_side: found 64, expected at most the records' 48"),
    ({"data__window_s": 0.25}, "data.window_s"), ({"data__manifest": "m.csv"}, "data.manifest"),
    ({"data__split_fractions": (0.8, 0.1, 0.1)}, "data.split_fractions")])
def test_config_that_asks_for_more_than_the_records_hold_is_refused(made, changes, words):
    with pytest.raises(errors.ConfigError) as caught:
        record_source.open_records(config_of(made[1], **changes))
    assert words in str(caught.value) and "avc_jax.prepare" in str(caught.value)


def test_sources_open_records_by_config(made):
    assert isinstance(sources.open_source(config_of(made[1])), record_source.RecordSource)


@pytest.mark.parametrize(("change", "error", "words"), [
    (lambda out: shutil.rmtree(out), errors.MissingInputError, "expected a folder of records"),
    (lambda out: (out / layout.INDEX).unlink(), errors.MissingInputError, "unfinished"),
    (lambda out: [(out / name).unlink() for name in (layout.INDEX, layout.RECIPE)], errors.MissingInputError, "found none"),
    (lambda out: (out / layout.INDEX).write_text("{"), errors.DataError, "damaged"),
    (lambda out: (out / layout.RECIPE).write_text("{"), errors.DataError, "damaged"),
    (lambda out: (out / layout.RECIPE).write_text(json.dumps({"version": 0})), errors.DataError, "version 0")])
def test_records_that_are_not_whole_are_told_in_words(made, tmp_path, change, error, words):
    shutil.copytree(made[1], tmp_path / "out")
    change(tmp_path / "out")
    with pytest.raises(error, match=words):
        record_source.open_records(config_of(tmp_path / "out"))


@pytest.mark.parametrize("how", ["flipped", "gone"])
def test_damaged_record_goes_to_quarantine_and_the_others_are_used(made, tmp_path, how):
    shutil.copytree(made[1], tmp_path / "out")
    source = record_source.open_records(config_of(tmp_path / "out"))
    clip = next(clip for clip in source.clips if clip.path == "pcm.mov")
    shard, _ = source.places[clip]
    if how == "gone":
        (tmp_path / "out" / shard).unlink()
    else:
        flip(tmp_path / "out" / shard, b"pcm.mov")
    with pytest.raises(errors.BadMedia) as caught:
        source.open(clip)
    assert caught.value.kind == "damaged" and shard in str(caught.value)
    good = [one for one in source.clips if not isinstance(source.places[one][1], str) and source.places[one][0] != shard]
    with source.open(good[0]) as record:
        assert record.frames([record.span.start_s], 48)


def flip(path: Path, near: bytes) -> None:
    """Flips one bit a little behind the first place where `near` stands in a file."""
    data = bytearray(path.read_bytes())
    data[data.index(near) + 2] ^= 1
    path.write_bytes(data)


# The layout --------------------------------------------------------------------------------------------------------------


def listed(*splits):
    return sources.Source(Path("x"), tuple(sources.Clip(f"{i}.mp4", i, split) for i, split in enumerate(splits)))


def test_shards_are_consecutive_clips_of_a_split():
    shards = layout.assign(listed("b", "a", "b", "b", "a"), 2)
    assert [(one.name, [place for place, _ in one.clips]) for one in shards] == [
        ("clips-a.array_record-00000-of-00001", [1, 4]), ("clips-b.array_record-00000-of-00002", [0, 2]),
        ("clips-b.array_record-00001-of-00002", [3])]


@pytest.mark.parametrize("split", ["all", "fold 1", "1", "a-b", "größer", "a/b"])
def test_split_that_cannot_name_a_file_is_refused(split):
    with pytest.raises(errors.DataError, match="Rename it"):
        layout.assign(listed(split), 2)


def test_recipe_survives_its_file():
    described = json.loads(json.dumps(layout.describe(RECIPE, listed("a"))))
    assert layout.recipe_from(described) == RECIPE


# Real files --------------------------------------------------------------------------------------------------------------


def test_odd_real_files_are_visited_alike(shared, tmp_path):
    root = shared / "data"
    odd = sorted(path for path in (root / "odd_media").rglob("*") if path.suffix in (".mp4", ".mkv", ".webm", ".avi"))[:40]
    # Its sound has a hole in the first second: the folder goes on to use the rest of it, records reject it as a whole.
    odd = [path for path in odd if path.name != "mp_fire2_vfr.mp4"]
    manifest = tmp_path / "odd.csv"
    manifest.write_text("path,start_s,end_s\n" + "".join(f"{path.relative_to(root)},0,4\n" for path in odd))
    folder = make_records(root, tmp_path / "out", manifest=str(manifest))
    records = record_source.open_records(config_of(tmp_path / "out"))
    for one, other in zip(visited(folder, "shared")[0], visited(records, "shared")[0], strict=True):
        for name in ("clip", "frame_s", "sound_s"):
            np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
