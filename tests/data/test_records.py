"""Records: what goes in comes out, and training from them sees what training from the videos sees."""

import dataclasses
import io
import itertools
import json
import shutil
from pathlib import Path

import media
import numpy as np
import pytest
import tiny
from array_record.python import array_record_module
from PIL import Image

from avc_jax import errors
from avc_jax.data import limits, moments, pipeline, sources
from avc_jax.data import visit as visits
from avc_jax.data.decode import MediaFile, Span
from avc_jax.data.plan import Plan
from avc_jax.data.quarantine import Quarantine
from avc_jax.data.records import clip as clips
from avc_jax.data.records import layout, make, places
from avc_jax.data.records import source as record_source
from avc_jax.data.records.example import Content, DamagedRecord, parse, serialize
from avc_jax.data.records.places import RECORD, SOUND_BYTES, DamagedPart, Parts, Record
from avc_jax.data.records.shard import read_records
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


# Where its parts lie ------------------------------------------------------------------------------------------------------


def test_parts_of_a_shard_are_the_frames_and_sounds_of_its_records(made):
    _, out, _, records = made
    for name in records.shards:
        rows = np.load(layout.records_table(out, name))
        parts = Parts(out / name, layout.parts_table(out, name))
        for row, record in zip(rows, read_records(out / name, len(rows)), strict=True):
            found, first = parse(record), int(row["first_part"])
            place = Record(first, len(found.frames), int(row["xxh3"]))
            for number, frame in enumerate(found.frames):
                stored, height, width = parts.frame(place, number)
                assert (stored, (width, height)) == (frame, Image.open(io.BytesIO(frame)).size)
            for begin, count in ((0, len(found.sound)), (5, 1), (SOUND_BYTES // 2 - 1, 2), (len(found.sound) - 7, 7)):
                sound = np.zeros(count, np.int16)
                parts.sound(place, begin, sound)
                np.testing.assert_array_equal(sound, found.sound[begin : begin + count])


def test_record_longer_than_many_blocks_of_the_file_is_read_in_parts(tmp_path):
    rng = np.random.default_rng(0)
    contents = [dataclasses.replace(content(), sound=rng.integers(-9999, 9999, count).astype(np.int16))
                for count in (1000, 200_000, 18_000_000, 90_001)]
    writer = array_record_module.ArrayRecordWriter(str(tmp_path / "shard"), "group_size:1,uncompressed")
    records = [serialize(one) for one in contents]
    for record in records:
        writer.write(record)
    writer.close()
    rows, parts = places.locate(tmp_path / "shard", [(record, Span(0, 1), Span(0, 1)) for record in records])
    np.save(tmp_path / "parts.npy", parts)
    opened = Parts(tmp_path / "shard", tmp_path / "parts.npy")
    for one, row in zip(contents, rows, strict=True):
        starts = range(0, min(200_000, len(one.sound) - 500), 8111)
        for begin, count in ((0, len(one.sound)), *((start, 500) for start in starts)):
            found = np.zeros(count, np.int16)
            opened.sound(Record(int(row["first_part"]), 4, int(row["xxh3"])), begin, found)
            np.testing.assert_array_equal(found, one.sound[begin : begin + count])


@pytest.mark.parametrize("kind", ["frame", "sound"])
def test_one_changed_bit_of_a_part_is_noticed(made, tmp_path, kind):
    _, out, _, records = made
    name = records.shards[0]
    first = np.load(layout.records_table(out, name))[0]
    frames = int(first["frames"])
    part = {"frame": 3, "sound": frames}[kind]
    row = np.load(layout.parts_table(out, name))[part]
    data = bytearray((out / name).read_bytes())
    data[int(row["offset"]) + 24 + int(row["size"]) // 2] ^= 16  # in the first block, behind its header
    (tmp_path / "shard").write_bytes(data)
    opened, record = Parts(tmp_path / "shard", layout.parts_table(out, name)), Record(0, frames, int(first["xxh3"]))
    sound = np.zeros(100, np.int16)
    ask = {"frame": lambda: opened.frame(record, 3), "sound": lambda: opened.sound(record, 0, sound)}
    with pytest.raises(DamagedPart, match="not what was written"):
        ask.pop(kind)()
    ask.popitem()[1]()  # the other kind is as it was


def record_row(**changes):
    """RECORD[1]: 2 s at 2 frames a second and 1000 Hz from 0.1 s on, whose span was declared 0.05 s too long."""
    row = np.zeros(1, RECORD)
    values = dict(declared_start_s=0.1, declared_end_s=2.15, measured_start_s=0.1, measured_end_s=2.1, frames_start_s=0.1,
                  frames_end_s=2.15, sound_start_s=0.1, samples=2050, frames=4)
    for name, value in (values | changes).items():
        row[name] = value
    return row


def request(draws, needed):
    every = np.ones(needed.shape, bool)
    return moments.Request(np.zeros(1, int), draws, draws, needed, every, every, needed * 0, np.zeros((0, 100), np.int16))


def fit(times_s, row=None, *, end_s=2.15, window_s=0.1, sound=0.5, needed=True):
    """Where the frames and sounds lie that are drawn at these times within the declared span."""
    draws = np.array([[((time_s - 0.1) / (end_s - 0.1), sound) for time_s in times_s]])
    mask = np.ones(draws.shape[:2], bool)
    form = visits.Format(short_side=24, size=24, window_s=window_s, rate_hz=1000)
    return record_source._fit(record_row() if row is None else row,
                              request(draws, mask & needed), form, fps=2.0)


def test_frames_are_the_last_stored_ones_at_or_before_the_times():
    found = fit([0.1, 0.59, 0.6, 0.5996, 1.6, 2.12])
    assert found.fits.all()
    np.testing.assert_array_equal(found.frame, [[0, 0, 1, 1, 3, 3]])


def test_every_time_on_the_grid_of_frames_names_its_frame():
    rng = np.random.default_rng(0)
    for fps in (0.7, 3.0, 29.97, 59.94):
        start_s = float(rng.uniform(0, 100))
        times_s = start_s + np.arange(400) / fps
        row = record_row(declared_start_s=start_s, declared_end_s=times_s[-1] + 1, frames_start_s=start_s, frames=400,
                         frames_end_s=times_s[-1] + 1, sound_start_s=start_s, samples=10**9)
        draws = np.stack([(times_s - start_s) / (times_s[-1] + 1 - start_s), np.zeros(400)], axis=-1)[None]
        mask, form = np.ones((1, 400), bool), visits.Format(short_side=24, size=24, window_s=0.1, rate_hz=1000)
        found = record_source._fit(row, request(draws, mask), form, fps)
        np.testing.assert_array_equal(found.frame[0], np.arange(400))


def test_sounds_are_placed_to_the_sample():
    found = fit([1.0, 1.5], record_row(sound_start_s=0.1 + 1 / 3, samples=1700), sound=0.25)
    np.testing.assert_allclose(found.sound_s, [[0.925, 1.425]])
    np.testing.assert_array_equal(found.sample, np.rint((found.sound_s - 0.1 - 1 / 3) * 1000))


@pytest.mark.parametrize(("changes", "fits"), [
    ({}, True), ({"samples": 2000}, False), ({"frames_end_s": 2.0}, False), ({"sound_start_s": 0.2}, False),
    ({"sound_start_s": 0.1009}, True), ({"samples": 10}, False)])
def test_moments_that_a_record_does_not_hold_do_not_fit(changes, fits):
    found = fit([0.1, 2.1499], record_row(measured_end_s=2.15, **changes), sound=0.999)
    assert found.fits.tolist() == [fits]
    assert not found.bad(0.1) if fits else found.bad(0.1)[0].kind == "incomplete"


def test_moments_that_are_not_needed_need_not_be_there():
    assert fit([0.5, 2.1], record_row(measured_end_s=2.15, samples=1500), needed=np.array([[True, False]])).fits.all()


def test_span_that_does_not_hold_is_replaced_by_the_measured_one():
    row = record_row(frames_end_s=2.1, samples=2000)
    np.testing.assert_allclose(fit([1.0, 2.0], row).frame_s, [[1.0, 2.0]])
    late = fit([1.0, 2.14], row)
    np.testing.assert_allclose(late.frame_s, [[0.1 + 0.9 * 2.0 / 2.05, 0.1 + 2.04 * 2.0 / 2.05]])
    assert late.fits.all()


def test_record_shorter_than_the_sound_is_too_short():
    assert fit([0.1], window_s=2.2).bad(2.2)[0].kind == "too_short"


def test_another_rate_is_refused(made):
    records = made[3]
    with pytest.raises(ValueError, match="8000 Hz"):
        visits.Reader(records, Plan(len(records.clips), 0, 4), dataclasses.replace(FORM, rate_hz=16000),
                      Quarantine(None, 9, 1.0), pairing="shared").train(0)


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
    """Pairs of 40 visits, and what ended up in quarantine."""
    quarantine = Quarantine(ledger, source.num_files, 1.0)
    reader = visits.Reader(source, Plan(len(source.clips), 3, batch_size=4, pairs_per_visit=2), FORM, quarantine, pairing=pairing)
    pairs = [reader.train(number) for number in range(40)]
    return [one | {"frame": np.asarray(one["frame"])} for one in pairs], quarantine.reasons


@pytest.mark.parametrize("pairing", ["independent", "shared"])
def test_batches_from_records_are_those_from_the_folder(made, pairing):
    _, _, folder, records = made
    names = ("label", "file", "clip", "sound_clip", "frame_s", "sound_s")

    def batches(source, **options):
        plan = Plan(len(source.clips), 3, batch_size=8, pairs_per_visit=2)
        reader = visits.Reader(source, plan, FORM, Quarantine(None, source.num_files, 1.0), pairing=pairing)
        stream = pipeline.train_batches(reader, threads=2, names=(*names, "frame", "waveform"), **options)
        return list(itertools.islice(stream, 6))

    one, other = batches(folder, first_step=0), batches(records, first_step=0)
    late, hosts = batches(records, first_step=3), [batches(records, first_step=0, host=host, hosts=2) for host in (0, 1)]
    for step in range(6):
        for name in names:
            np.testing.assert_array_equal(one[step][name], other[step][name], err_msg=name)
        for name in (*names, "frame", "waveform"):
            np.testing.assert_array_equal(np.concatenate([share[step][name] for share in hosts]), other[step][name], err_msg=name)
            if step < 3:
                np.testing.assert_array_equal(late[step][name], other[step + 3][name], err_msg=name)


def test_evaluation_asks_the_same_of_records_and_folder(made):
    _, _, folder, records = made
    readers = [visits.Reader(source, Plan(len(source.clips), 0, 2, 2), FORM, Quarantine(None, 99, 1.0), pairing="independent")
               for source in (folder, records)]
    places = np.arange(len(folder.clips))
    one, other = (reader.evaluate(places) for reader in readers)
    for name in ("label", "file", "clip", "sound_clip", "frame_s", "sound_s"):
        np.testing.assert_array_equal(one[name], other[name], err_msg=name)
    assert 0 < len(one["label"]) < 2 * len(places)


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
            np.testing.assert_array_equal(one[name], other[name], err_msg=name)
    used = {folder.clips[clip].path for pairs in from_folder for clip in pairs["clip"]}
    assert {"lies.webm", "late.mov", "pcm.mov"} <= used, "the plan missed the interesting files"


def test_sounds_at_their_own_rate_are_bit_for_bit_those_of_the_folder(made):
    _, _, folder, records = made
    compared = 0
    for one, other in zip(visited(folder)[0], visited(records)[0], strict=True):
        for row, clip in enumerate(one["sound_clip"]):
            if folder.clips[clip].path.endswith(".mov"):
                np.testing.assert_array_equal(one["waveform"][row], other["waveform"][row])
                compared += 1
    assert compared > 10


def test_resampled_sounds_are_those_of_the_folder_but_for_a_fraction_of_a_sample(made):
    _, _, folder, records = made
    for one, other in zip(visited(folder)[0], visited(records)[0], strict=True):
        for row, clip in enumerate(one["sound_clip"]):
            if folder.clips[clip].path in ("0.mp4", "1.mp4"):
                assert tiny.sound_of(one["waveform"][row], RATE) == tiny.sound_of(other["waveform"][row], RATE)
                a, b = one["waveform"][row].astype(float), other["waveform"][row].astype(float)
                # A tone of 550 Hz that is late by half a sample of 8 kHz turns by 0.22, so correlates by more than 0.97.
                assert a @ b / np.sqrt((a @ a) * (b @ b)) > 0.97


def test_frames_are_the_nearest_stored_ones(made):
    videos, _, folder, records = made
    for one, other in zip(visited(folder)[0], visited(records)[0], strict=True):
        for row, clip in enumerate(other["clip"]):
            name = folder.clips[clip].path
            if name.endswith(".mov"):
                with MediaFile(videos / name) as file:
                    start_s = file.span.start_s
                    stored_s = start_s + np.floor((one["frame_s"][row] - start_s) * RECIPE.fps + 1e-9) / RECIPE.fps
                    image = file.frames([stored_s], 48)[0]
                crops = [np.abs(image[y : y + 40, x : x + 40].astype(int) - other["frame"][row].astype(int)).mean()
                         for y in range(9) for x in range(25)]
                assert min(crops) < 6, "no crop of the stored frame looks like what the record gave"


# Opening -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("changes", "words"), [
    ({"audio__rate_hz": 16000}, "audio.rate_hz: found 16000, expected the records' 8000"),
    ({"data__frame_choice": "keyframe"}, "data.frame_choice"),
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
    (lambda out: (out / layout.TABLE).write_bytes(b""), errors.DataError, "damaged"),
    (lambda out: (out / layout.TABLE).unlink(), errors.DataError, "damaged"),
    (lambda out: np.save(out / layout.TABLE, np.zeros(3, RECORD)), errors.DataError, "damaged"),
    (lambda out: (out / layout.DIGESTS).unlink(), errors.DataError, "damaged"),
    (lambda out: (out / layout.RECIPE).write_text(json.dumps({"version": 0})), errors.DataError, "version 0")])
def test_records_that_are_not_whole_are_told_in_words(made, tmp_path, change, error, words):
    shutil.copytree(made[1], tmp_path / "out")
    change(tmp_path / "out")
    with pytest.raises(error, match=words):
        record_source.open_records(config_of(tmp_path / "out"))


@pytest.fixture
def impatient():
    before = limits.use(dataclasses.replace(limits.current(), patience_s=0.0))
    yield
    limits.use(before)


def shard_of(source, path: str) -> str:
    """The name of the shard that holds a clip."""
    return source.shards[source.table["shard"][source.rows[next(clip for clip in source.clips if clip.path == path)]]]


@pytest.mark.parametrize("how", ["gone", "cut short"])
def test_shard_that_is_not_what_it_was_stops_the_run(made, tmp_path, impatient, how):
    shutil.copytree(made[1], tmp_path / "out")
    source = record_source.open_records(config_of(tmp_path / "out"))
    name = shard_of(source, "pcm.mov")
    damage = {"gone": lambda path: path.unlink(), "cut short": lambda path: path.write_bytes(path.read_bytes()[:500])}[how]
    damage(tmp_path / "out" / name)
    with pytest.raises(errors.MissingInputError, match=name):
        visited(source)


def test_shard_of_another_making_is_never_read_as_ours(made, tmp_path, impatient):
    """Every file but the ones that are in memory is exchanged for one that is good in itself."""
    shutil.copytree(made[1], tmp_path / "out")
    source = record_source.open_records(config_of(tmp_path / "out"))
    shutil.copytree(made[0], tmp_path / "videos")
    for path in (tmp_path / "videos").glob("*.mp4"):
        shutil.copy(tmp_path / "videos" / "other.mkv", path)
    shutil.rmtree(tmp_path / "out")
    make_records(tmp_path / "videos", tmp_path / "out")
    with pytest.raises(errors.MissingInputError, match="when it was made"):
        visited(source)


def test_damaged_record_goes_to_quarantine_and_the_others_are_used(made, tmp_path):
    shutil.copytree(made[1], tmp_path / "out")
    source = record_source.open_records(config_of(tmp_path / "out"))
    name = shard_of(source, "pcm.mov")
    (tmp_path / "out" / name).write_bytes(bytes((tmp_path / "out" / name).stat().st_size))
    pairs, bad = visited(source)
    assert bad["pcm.mov"][0] == "damaged" and name in bad["pcm.mov"][1]
    assert all(source.shards[source.table["shard"][clip]] != name for one in pairs for clip in (*one["clip"], *one["sound_clip"]))


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
            np.testing.assert_array_equal(one[name], other[name])
