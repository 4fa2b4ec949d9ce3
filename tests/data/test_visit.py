"""What a visit yields: true and false pairs that differ in content and in nothing else, whatever the files are like."""

import functools
import math
from pathlib import Path

import media
import numpy as np
import pytest
import scipy.stats
import tiny

from avc_jax import errors
from avc_jax.data import decoders, files, jpegs, moments, sources
from avc_jax.data import visit as visits
from avc_jax.data.decode import MediaFile, Span
from avc_jax.data.plan import Plan
from avc_jax.data.quarantine import Quarantine
from avc_jax.data.sources import Clip, Source

FORM = visits.Format(short_side=32, size=24, window_s=0.5, rate_hz=8000)


def reader(source, *, form=FORM, pairing="independent", pairs_per_visit=1, seed=0, budget=0.5, ledger=None):
    plan = Plan(len(source.clips), seed, batch_size=4, pairs_per_visit=pairs_per_visit)
    return visits.Reader(source, plan, form, Quarantine(ledger, source.num_files, budget), pairing=pairing)


def equal(one, other):
    return one.keys() == other.keys() and all(np.array_equal(one[name], other[name]) for name in one)


def listed(folder, *clips):
    """A source of clips given as (name, start_s, end_s) or names."""
    clips = [clip if isinstance(clip, tuple) else (clip, -math.inf, math.inf) for clip in clips]
    files = {name: index for index, name in enumerate(sorted({clip[0] for clip in clips}))}
    return Source(Path(folder), tuple(Clip(name, files[name], "train", "", start, end) for name, start, end in clips))


@pytest.fixture(scope="module")
def source(videos):
    return sources.open_folder(str(videos), "", (1.0, 0.0, 0.0))


# Moments ---------------------------------------------------------------------------------------------------------------


def test_sounds_overlap_their_frames_and_stay_within_the_span():
    draws = np.random.default_rng(0).uniform(size=(10_000, 2))
    frame_s, sound_s = draw(Span(3.0, 9.5), draws, 1.0)
    assert (sound_s <= frame_s + 1e-9).all()
    assert (frame_s <= sound_s + 1.0 + 1e-9).all()
    assert frame_s.min() >= 3.0
    assert frame_s.max() < 9.5
    assert sound_s.min() >= 3.0
    assert sound_s.max() + 1.0 <= 9.5 + 1e-9
    assert scipy.stats.kstest((frame_s - 3.0) / 6.5, "uniform").pvalue > 0.01
    # Away from the ends, the frame is anywhere in its second of sound.
    inner = (frame_s > 4.0) & (frame_s < 8.5)
    assert scipy.stats.kstest((frame_s - sound_s)[inner], "uniform").pvalue > 0.01


def test_span_as_long_as_the_sound_leaves_one_start():
    frame_s, sound_s = draw(Span(2.0, 3.0), np.random.default_rng(0).uniform(size=(100, 2)), 1.0)
    np.testing.assert_allclose(sound_s, 2.0, atol=1e-9)
    assert frame_s.std() > 0.2


def draw(span, draws, window_s):
    frame_s = moments.draw_frames(span.start_s, span.end_s, draws)
    return frame_s, moments.draw_sounds(span.start_s, span.end_s, frame_s, draws, window_s)


class FakeMedia:
    """Files that differ in length, and are not decoded: `NAME` is FILE_START_LENGTH."""

    def __init__(self, path):
        _, start, length = path.name.split("_")
        self.span = Span(float(start), float(start) + float(length))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def crops(self, times_s, places, short_side, size):
        return np.zeros((len(times_s), size, size, 3), np.uint8)

    def sounds(self, starts_s, window_s, rate_hz):
        return np.full((len(starts_s), round(window_s * rate_hz)), 99, np.int16)


@pytest.fixture(scope="module")
def drawn():
    """10,000 pairs of a source of files of 2 to 11 s, two clips of each."""
    names = [f"{number}_{number % 3}_{2 + number}" for number in range(10)]
    source = listed("root", *names, *names)
    form = visits.Format(short_side=8, size=8, window_s=1.0, rate_hz=8)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(decoders, "read", functools.partial(files.read_clip, FakeMedia))
        made = reader(source, form=form, pairs_per_visit=2)
        pairs = [made.train(visit) for visit in range(5000)]
    columns = {name: np.concatenate([pair[name] for pair in pairs]) for name in visits.fields(form)}
    file_of = np.array([clip.file for clip in source.clips])
    start_of = np.array([clip_number % 10 % 3 for clip_number in range(20)])
    assert (file_of[columns["clip"]] == columns["file"]).all()
    return columns, file_of, start_of


def test_true_pairs_are_of_one_moment_of_one_file_and_false_pairs_of_two_files(drawn):
    columns, file_of, _ = drawn
    true = columns["label"] == 1
    frame_s, sound_s = columns["frame_s"], columns["sound_s"]
    assert (columns["sound_clip"] == columns["clip"])[true].all()
    assert (sound_s <= frame_s + 1e-9)[true].all()
    assert (frame_s <= sound_s + 1.0 + 1e-9)[true].all()
    assert (file_of[columns["sound_clip"]] != columns["file"])[~true].all()
    assert abs(true.mean() - 0.5) < 5 * 0.5 / np.sqrt(len(true))


def test_nothing_but_the_content_tells_false_sounds_from_true_ones(drawn):
    columns, file_of, start_of = drawn
    true, sound_s = columns["label"] == 1, columns["sound_s"]
    relative_s = sound_s - start_of[columns["sound_clip"]]
    for values in (sound_s, relative_s, relative_s % 0.04):  # the last: places on the grid of a 25 Hz video
        assert scipy.stats.ks_2samp(values[true], values[~true]).pvalue > 0.01
    counts = [np.bincount(file_of[columns["sound_clip"][which]], minlength=10) for which in (true, ~true)]
    assert scipy.stats.chi2_contingency(counts).pvalue > 0.01


# Real files --------------------------------------------------------------------------------------------------------------


def test_pairs_hold_what_their_labels_and_clips_say(source):
    made = reader(source, pairs_per_visit=2)
    labels = []
    for visit in range(20):
        pairs = made.train(visit)
        for frame, waveform, label, clip, sound_clip in zip(pairs["frame"], pairs["waveform"], pairs["label"], pairs["clip"],
                                                            pairs["sound_clip"], strict=True):
            assert tiny.picture_of(frame) == clip
            assert tiny.sound_of(waveform, FORM.rate_hz) == sound_clip
            assert (clip == sound_clip) == (label == 1)
            labels.append(label)
        np.testing.assert_array_equal(pairs["file"], pairs["clip"])  # one clip per file, in order
    assert set(labels) == {0, 1}


def test_fields_have_the_shapes_and_dtypes_that_are_promised(source):
    pairs = reader(source, pairs_per_visit=4).train(0)
    for name, (shape, dtype) in visits.fields(FORM).items():
        value = pairs[name]
        assert value.shape == (4, *shape), name
        assert value.dtype == dtype, name


def test_rows_of_several_visits_are_those_of_each_visit(mixed):
    made = reader(mixed, pairs_per_visit=3)
    visited, pairs = np.array([3, 0, 5, 6, 3]), np.array([1, 0, 2, 2, 0])
    rows = made.train(visited, pairs)
    for row, (visit, pair) in enumerate(zip(visited.tolist(), pairs.tolist(), strict=True)):
        alone = made.train(visit)
        for name in visits.fields(FORM):
            np.testing.assert_array_equal(rows[name][row], alone[name][pair], err_msg=name)


def test_key_frames_alone_are_shown_and_their_sounds_overlap_them(tmp_path):
    for name in ("a.mp4", "b.mkv"):
        media.flash_and_click(tmp_path / name, events_s=[0.5], seconds=6.0, gop=50)
    form = visits.Format(short_side=64, size=64, window_s=0.5, rate_hz=48000, frame_choice="keyframe")
    made = reader(listed(tmp_path, "a.mp4", "b.mkv"), form=form, pairs_per_visit=8)
    seen = []
    for visit in range(4):
        pairs = made.train(visit)
        seen += pairs["frame_s"].round(2).tolist()
        true = pairs["label"] == 1
        assert (pairs["sound_s"] <= pairs["frame_s"] + 1e-9)[true].all()
        assert (pairs["frame_s"] <= pairs["sound_s"] + 0.5 + 1e-9)[true].all()
    assert set(seen) == {0.0, 2.0, 4.0}


def test_a_clip_before_whose_moment_lies_no_key_frame_of_its_own_shows_any(tmp_path):
    for name in ("a.mp4", "b.mp4"):
        media.flash_and_click(tmp_path / name, events_s=[0.5], seconds=6.0, gop=100)
    form = visits.Format(short_side=64, size=64, window_s=0.5, rate_hz=48000, frame_choice="keyframe")
    made = reader(listed(tmp_path, ("a.mp4", 1.0, 3.0), ("b.mp4", 1.0, 3.0)), form=form, pairs_per_visit=8)
    times = made.train(0)["frame_s"]
    assert times.min() >= 1.0
    assert len(set(times.tolist())) == 8


def test_visit_is_a_pure_function_of_its_place(source):
    one, other = reader(source, pairs_per_visit=2), reader(source, pairs_per_visit=2)
    later = [other.train(visit) for visit in (5, 0, 3)]
    for visit, pairs in zip((5, 0, 3), later, strict=True):
        assert equal(one.train(visit), pairs)
    assert not equal(reader(source, pairs_per_visit=2, seed=1).train(0), later[1])


def test_shared_pairing_reads_true_pairs_only(source):
    made = reader(source, pairing="shared", pairs_per_visit=2)
    for visit in range(5):
        pairs = made.train(visit)
        assert (pairs["label"] == 1).all()
        np.testing.assert_array_equal(pairs["clip"], pairs["sound_clip"])
        assert [tiny.sound_of(waveform, FORM.rate_hz) for waveform in pairs["waveform"]] == pairs["clip"].tolist()


def test_frame_and_sound_are_taken_at_the_times_that_are_said(tmp_path):
    events_s = [0.5 + k / 2 for k in range(11)]
    for name in ("a.mp4", "b.mp4"):
        media.flash_and_click(tmp_path / name, events_s=events_s)
    # Large enough to read the number of the frame; as wide as high after the crop of the middle.
    form = visits.Format(short_side=64, size=64, window_s=0.5, rate_hz=48000)
    made = reader(listed(tmp_path, "a.mp4", "b.mp4"), form=form, pairs_per_visit=1)
    seen = 0
    for visit in range(12):
        pairs = made.train(visit)
        start_s = float(pairs["sound_s"][0])
        click_s = media.click_time_s(pairs["waveform"][0], start_s, 48000)
        nearest = min(events_s, key=lambda event: abs(event - click_s))
        if start_s + 0.02 < nearest < start_s + 0.48:
            assert click_s == pytest.approx(nearest, abs=0.002)
            seen += 1
        since_s = min((pairs["frame_s"][0] - event for event in events_s if event <= pairs["frame_s"][0]), default=9.0)
        if not 0.08 < since_s < 0.16 and since_s > 1e-3:
            assert media.is_flash(pairs["frame"][0]) == (since_s < 0.08)
    assert seen >= 6


@pytest.mark.parametrize(("place", "corner"), [((0.0, 0.0), (0, 0)), ((0.5, 0.5), (4, 8)), ((0.999, 0.999), (8, 16))])
def test_crop_of_a_stored_frame_is_at_its_place_and_reaches_the_last_offset(place, corner):
    form = visits.Format(short_side=32, size=24, window_s=1.0, rate_hz=8)
    assert jpegs.make_cut(32, form).crop(b"", 32, 40, place)[3:] == corner


def test_every_offset_of_the_crop_is_equally_likely():
    form = visits.Format(short_side=5, size=4, window_s=1.0, rate_hz=8)
    places = np.random.default_rng(0).uniform(size=(6000, 2))
    corners = [jpegs.make_cut(5, form).crop(b"", 6, 5, place)[3:] for place in places]
    counts = np.unique(corners, axis=0, return_counts=True)[1]
    assert len(counts) == 3 * 2
    assert scipy.stats.chisquare(counts).pvalue > 0.01


def test_manifest_stretches_are_kept_to(videos):
    names = [f"{number:02d}.mp4" for number in range(3)]
    source = listed(videos, *((name, 0.5, 1.25) for name in names))
    made = reader(source, pairs_per_visit=4)
    for visit in range(10):
        pairs = made.train(visit)
        assert pairs["frame_s"].min() >= 0.5
        assert pairs["frame_s"].max() <= 1.25
        assert pairs["sound_s"].min() >= 0.5
        assert pairs["sound_s"].max() + FORM.window_s <= 1.25 + 1e-9


def test_two_clips_of_one_file_make_no_false_pair(videos):
    source = listed(videos, ("00.mp4", 0.0, 1.0), ("00.mp4", 1.0, 2.0), ("01.mp4", 0.0, 2.0))
    made = reader(source, pairs_per_visit=4)
    for visit in range(12):
        pairs = made.train(visit)
        for file, sound_clip, label in zip(pairs["file"], pairs["sound_clip"], pairs["label"], strict=True):
            assert (source.clips[sound_clip].file == file) == (label == 1)


# Bad files ---------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def mixed(videos, tmp_path_factory):
    """A source of four good videos, and one each that is no video, silent, and too short."""
    folder = tmp_path_factory.mktemp("mixed")
    for number in range(4):
        (folder / f"{number:02d}.mp4").symlink_to(videos / f"{number:02d}.mp4")
    media.text_file(folder / "04.mp4")
    tiny.write_video(folder / "05.mp4", 5, amplitude=0.0)
    tiny.write_video(folder / "06.mp4", 1, seconds=0.3)
    return sources.open_folder(str(folder), "", (1.0, 0.0, 0.0))


def test_bad_files_are_quarantined_with_their_kinds_and_good_ones_stand_in(mixed, tmp_path):
    made = reader(mixed, pairs_per_visit=2, ledger=tmp_path / "quarantine.jsonl")
    for visit in range(28):
        pairs = made.train(visit)
        assert (pairs["clip"] < 4).all()
        assert (pairs["sound_clip"] < 4).all()
    kinds = {path: kind for path, (kind, _) in made.quarantine.reasons.items()}
    assert kinds == {"04.mp4": "unreadable", "05.mp4": "silent", "06.mp4": "too_short"}


def test_the_stand_in_is_always_the_same_one(mixed):
    forwards, backwards = reader(mixed, pairs_per_visit=2), reader(mixed, pairs_per_visit=2)
    one = {visit: forwards.train(visit) for visit in range(14)}
    other = {visit: backwards.train(visit) for visit in reversed(range(14))}
    assert all(equal(one[visit], other[visit]) for visit in one)
    plan, bad = forwards.plan, {4, 5, 6}
    replaced = [visit for visit in one if int(plan.clips(np.array([visit]))[0]) in bad]
    assert replaced
    for visit in replaced:
        substitutes = (int(plan.substitutes(np.array([visit]), attempt)[0]) for attempt in range(1, 99))
        stand_in = next(clip for clip in substitutes if clip not in bad)
        assert (one[visit]["clip"] == stand_in).all()


def test_too_many_bad_files_end_the_run(mixed):
    made = reader(mixed, budget=0.01)  # one file may
    with pytest.raises(errors.DataError, match="of 7 files unusable, expected at most 1"):
        list(map(made.train, range(28)))


def test_a_silent_second_of_a_sounding_file_is_data(tmp_path):
    count = 4 * 16000
    sound = np.where(np.arange(count) < count - 16000, 0.0, 0.5 * np.sin(np.arange(count) / 5))
    times = [k / 25 for k in range(100)]
    for name in ("a.mkv", "b.mkv"):
        media.write(tmp_path / name, pictures=(media.numbered(k) for k in range(100)), times_s=times, sound=sound, rate_hz=16000,
                    acodec="flac")
    made = reader(listed(tmp_path, "a.mkv", "b.mkv"), pairs_per_visit=4)
    quiet = sum(int((np.abs(made.train(visit)["waveform"]) <= 1).all(1).sum()) for visit in range(6))
    assert quiet > 5
    assert not made.quarantine.reasons


def test_one_file_alone_makes_no_false_pair(videos):
    with pytest.raises(errors.DataError, match=r"has 1 file\(s\)"):
        reader(listed(videos, ("00.mp4", 0.0, 1.0), ("00.mp4", 1.0, 2.0)))
    one = reader(listed(videos, ("00.mp4", 0.0, 1.0), ("00.mp4", 1.0, 2.0)), pairing="none")
    assert one.whole(np.arange(2))["frame_s"] == pytest.approx([0.5, 1.5], abs=0.05)


# Headers that lie ----------------------------------------------------------------------------------------------------------


def test_download_that_stopped_gives_what_it_holds(tmp_path):
    whole = media.flash_and_click(tmp_path / "whole.mp4", seconds=8.0, size=(192, 128))
    for name in ("a.mp4", "b.mp4"):
        media.truncated(media.index_first(whole, tmp_path / "front.mp4"), tmp_path / name, 0.6)
    made = reader(listed(tmp_path, "a.mp4", "b.mp4"), pairs_per_visit=4)
    times = np.concatenate([made.train(visit)["frame_s"] for visit in range(10)])
    assert not made.quarantine.reasons
    assert 2.0 < times.max() < 7.0
    # Uniform over what is there, not heaped up at its end.
    assert scipy.stats.kstest(times / times.max(), "uniform").pvalue > 0.001


class Liar(FakeMedia):
    """Says 10 s, holds 4 s."""

    def crops(self, times_s, places, short_side, size):
        if max(times_s, default=0) > 4.0:
            raise errors.BadMedia("incomplete", "Past the end.")
        return super().crops(times_s, places, short_side, size)

    def sounds(self, starts_s, window_s, rate_hz):
        if max(starts_s) + window_s > 4.0:
            raise errors.BadMedia("incomplete", "Past the end.")
        return super().sounds(starts_s, window_s, rate_hz)

    def measure(self):
        return Span(0.0, 4.0)


def test_span_is_measured_where_the_header_promised_too_much(monkeypatch):
    monkeypatch.setattr(decoders, "read", functools.partial(files.read_clip, Liar))
    made = reader(listed("root", "0_0_10", "1_0_10"), pairs_per_visit=2)
    for visit in range(50):
        pairs, draws = made.train(visit), made.plan.draws(np.array([visit])).moment[0]
        if draw(Span(0.0, 10.0), draws, 0.5)[0].max() > 4.0:
            np.testing.assert_allclose(pairs["frame_s"], draw(Span(0.0, 4.0), draws, 0.5)[0])
    assert not made.quarantine.reasons


# Evaluation ----------------------------------------------------------------------------------------------------------------


def test_evaluation_gives_one_true_and_one_false_pair_and_the_same_at_every_call(source):
    made, again = (reader(source, pairs_per_visit=2) for _ in range(2))
    for index in range(len(source.clips)):
        pairs = made.evaluate(index)
        np.testing.assert_array_equal(pairs["label"], [1, 0])
        np.testing.assert_array_equal(pairs["clip"], [index, index])
        assert [tiny.picture_of(frame) for frame in pairs["frame"]] == [index, index]
        assert tiny.sound_of(pairs["waveform"][0], FORM.rate_hz) == index
        assert tiny.sound_of(pairs["waveform"][1], FORM.rate_hz) == pairs["sound_clip"][1] != index
        assert equal(pairs, made.evaluate(index))
    assert equal(again.evaluate(2), made.evaluate(2))


def test_evaluation_crops_at_the_centre(source, monkeypatch):
    asked = []
    crops = MediaFile.crops
    monkeypatch.setattr(MediaFile, "crops", lambda file, times_s, places, *sizes: asked.append(places) or crops(
        file, times_s, places, *sizes))
    monkeypatch.setattr(decoders, "read", functools.partial(files.read_clip, MediaFile))
    reader(source, pairs_per_visit=2).evaluate(0)
    np.testing.assert_array_equal(asked, [[(0.5, 0.5)] * 2])


def test_evaluation_skips_a_bad_clip_and_replaces_a_bad_partner(mixed):
    made = reader(mixed, pairs_per_visit=2)
    for index in range(7):
        pairs = made.evaluate(index)
        assert len(pairs["label"]) == (2 if index < 4 else 0)
        assert (pairs["sound_clip"] < 4).all()
        for name, (shape, dtype) in visits.fields(FORM).items():
            assert pairs[name].shape[1:] == shape
            assert pairs[name].dtype == dtype


def test_centre_is_the_middle_frame_and_the_sound_around_it_also_of_short_clips(monkeypatch):
    monkeypatch.setattr(decoders, "read", functools.partial(files.read_clip, FakeMedia))
    source = listed("root", "0_0_9", "1_3_1.5", ("0_0_9", 2.0, 5.0), "2_7_1")
    pairs = reader(source, form=visits.Format(8, 8, 1.0, 8), pairing="none").whole(np.arange(4))
    np.testing.assert_allclose(pairs["frame_s"], [4.5, 3.75, 3.5, 7.5])
    np.testing.assert_allclose(pairs["sound_s"], pairs["frame_s"] - 0.5)
    assert pairs["label"].tolist() == [1] * 4 and pairs["clip"].tolist() == pairs["sound_clip"].tolist() == [0, 1, 2, 3]
    assert len(pairs["waveform"]) == len(pairs["frame"]) == 4


def test_centre_of_a_bad_clip_is_left_out(mixed):
    pairs = reader(mixed, pairing="none").whole(np.arange(7))
    assert pairs["clip"].tolist() == [0, 1, 2, 3]
    for place in range(7):
        one = reader(mixed, pairing="none").whole(place)
        np.testing.assert_array_equal(one["waveform"], pairs["waveform"][pairs["clip"] == place])
        np.testing.assert_array_equal(one["frame"], pairs["frame"][pairs["clip"] == place])


def test_a_file_that_is_bad_at_some_moments_gives_the_same_samples_in_any_order(source, monkeypatch):
    class HalfDamaged(MediaFile):
        def __init__(self, path):
            super().__init__(path)
            self.is_damaged = path.name < "02"

        def crops(self, times_s, places, short_side, size):
            if self.is_damaged and max(times_s) > 1.0:
                raise errors.BadMedia("damaged", "It is damaged after its first second.")
            return super().crops(times_s, places, short_side, size)

    monkeypatch.setattr(decoders, "read", functools.partial(files.read_clip, HalfDamaged))
    forwards, backwards = reader(source, budget=1.0), reader(source, budget=1.0)
    pairs = {visit: forwards.train(visit) for visit in range(12)}
    assert forwards.quarantine.reasons  # otherwise this tests nothing
    assert all(equal(backwards.train(visit), pairs[visit]) for visit in reversed(range(12)))
