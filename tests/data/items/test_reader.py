"""What a visit to an item yields: the right rows of the right seconds, whatever is missing, too long or broken."""

import dataclasses
import itertools
import pickle
import shutil

import media
import numpy as np
import pytest
import tiny
from data.items import made
from PIL import Image

from avc_jax import errors
from avc_jax.data import pipeline
from avc_jax.data.quarantine import Quarantine
from avc_jax.systems.base import Feature

WAVEFORM = {"waveform": Feature((80000,), "int16", modality="audio"), "waveform_length": Feature((), "int32")}
IMAGE = {"image": Feature((24, 24, 3), "uint8", modality="video")}


@pytest.fixture(scope="module")
def films(tmp_path_factory):
    return made.write_howto100m(tmp_path_factory.mktemp("howto100m"))


@pytest.fixture(scope="module")
def items(films):
    return made.opened("howto100m", films, data__manifest="list.csv")


def equal(one, other):
    return one.keys() == other.keys() and all(np.array_equal(one[name], other[name]) for name in one)


def each(rows, *names):
    return zip(*(rows[name] for name in names), strict=True)


def said(words, count):
    """The words that vectors f[W, 3] are of."""
    return [made.WORDS[int(row[0])] for row in words[:count]]


# Films with features -----------------------------------------------------------------------------------------------------


def test_rows_are_windows_of_one_film_at_the_same_second_of_all_tracks(items):
    reader, seen = made.reader(items, pairs=8), set()
    for visit in range(8):
        rows = reader.train(visit)
        assert len(set(rows["clip"])) == 1
        np.testing.assert_array_equal(rows["file"], rows["clip"])
        np.testing.assert_array_equal(rows["spectrogram_length"], 1000)
        for sound, video, count in each(rows, "spectrogram", "video", "video_length"):
            # Frame f is -f / 100 and begins at f / 100 s; the reference is 20 ms early, but not before the film.
            second = round(100 * -float(sound[0, 0]) + 2) // 100 if sound[0, 0] else 0
            seen.add(second)
            np.testing.assert_allclose(-sound[0].astype(float), (max(0, 100 * second - 2) + np.arange(1000)) / 100, atol=0.02)
            # The last row says its own second: 2d has one a second, 3d one and a half.
            for stream, last_s in ((video[:6], second + 10), (video[6:], int(1.5 * (second + 10)) / 1.5)):
                np.testing.assert_allclose(np.linalg.norm(stream), 1, rtol=1e-5)
                assert stream[1] / stream[0] * (rows["file"][0] + 1) * 100 == pytest.approx(last_s, rel=0.01)
            assert count == 11 + int(1.5 * (second + 10)) - int(1.5 * second) + 1
    assert len(seen) > 15


def test_fields_have_the_shapes_and_dtypes_that_are_promised(items):
    reader = made.reader(items, pairs=2)
    for rows, count in ((reader.train(0), 2), (reader.train(np.arange(3)), 6), (reader.whole(1), 1), (reader.whole([0, 2]), 2)):
        assert rows.keys() == reader.shapes.keys()
        for name, (shape, dtype) in reader.shapes.items():
            assert rows[name].shape == (count, *shape) and rows[name].dtype == dtype, name


def test_a_visit_is_a_pure_function_of_its_place(items):
    one, other = made.reader(items), made.reader(items)
    later = {visit: other.train(visit) for visit in (5, 0, 3)}
    assert all(equal(one.train(visit), later[visit]) for visit in later)
    assert not equal(made.reader(items, seed=1).train(0), later[0])
    rows = one.train(np.array([5, 0, 3]), np.array([2, 0, 1]))
    for row, (visit, pair) in enumerate([(5, 2), (0, 0), (3, 1)]):
        assert all(np.array_equal(rows[name][row], later[visit][name][pair]) for name in rows)


@pytest.mark.parametrize("together", [True, False])
def test_batches_are_the_same_on_two_hosts_and_when_resumed(items, together):
    def batches(steps, **options):
        reader = made.reader(items, pairs=3, batch_size=12, together=together)
        return list(itertools.islice(pipeline.train_batches(reader, threads=2, names=tuple(reader.shapes), **options), steps))

    whole, resumed = batches(3, first_step=0), batches(1, first_step=2)
    hosts = [batches(3, first_step=0, host=host, hosts=2) for host in range(2)]
    assert equal(whole[2], resumed[0])
    for step, batch in enumerate(whole):
        assert equal(batch, {name: np.concatenate([share[step][name] for share in hosts]) for name in batch})
        films = [len(set(batch["clip"][begin : begin + 3])) for begin in range(0, 12, 3)]
        assert (films == [1] * 4) == together


def test_a_sound_that_is_shorter_than_the_window_is_followed_by_zeros(tmp_path):
    made.write_film(tmp_path, "a", seconds=4)
    made.write_film(tmp_path, "b", seconds=9)
    reader = made.reader(made.opened("howto100m", tmp_path))
    for rows in (reader.train(0), reader.whole([0, 1])):
        for sound, length, clip in each(rows, "spectrogram", "spectrogram_length", "clip"):
            assert length == (400, 900)[clip]
            assert (sound[:, length:] == 0).all() and (sound[:, 1:length] < 0).all()


def test_evaluation_sees_the_middle_of_a_film_and_as_much_as_it_is_asked_for(items):
    rows = made.reader(items).whole(0)  # 40 s
    np.testing.assert_allclose(-rows["spectrogram"][0, 0, [0, -1]].astype(float), [14.98, 24.97], atol=0.02)
    longer = made.reader(items, window_s=60.0).whole(0)
    assert longer["spectrogram"].shape == (1, made.BANDS, 6000) and longer["spectrogram_length"] == 4000
    assert longer["video_length"] == 40 + 60  # all rows


def test_a_stretch_of_a_film_keeps_to_itself(films, tmp_path):
    (tmp_path / "list.csv").write_text("path,start_s,end_s\nfood/0/film0000000,20,23\nfood/1/film0000001,5,35\n")
    items = made.opened("howto100m", films, data__manifest=str(tmp_path / "list.csv"))
    reader = made.reader(items, pairs=16)
    starts = []
    for visit in range(4):
        rows = reader.train(visit)
        first = -rows["spectrogram"][:, 0, 0].astype(float)
        starts += first[rows["clip"] == 1].tolist()
        np.testing.assert_allclose(first[rows["clip"] == 0], 19.98, atol=0.02)
    assert min(starts) >= 4.97 and max(starts) <= 25.0 and len({round(start) for start in starts}) > 5
    rows = reader.whole([0])
    assert rows["spectrogram_length"] == 300 and rows["video_length"] == (23 - 20 + 1) + (34 - 30 + 1)


# Words --------------------------------------------------------------------------------------------------------------------


def test_clips_around_captions_hold_their_words_in_the_order_in_which_they_were_joined(films):
    items = made.opened("howto100m", films, data__manifest="list.csv", data__captions="caption.pickle",
                        data__word_vectors=str(films / "vectors.bin"), data__clip_choice="captions", data__min_clip_s=6.0)
    assert any("4 of the" in note and "zzz" in note for note in items.notes)
    rows = made.reader(items, made.FEATURES | made.TEXT, pairs=32).train(0)
    found = {(round(-100 * float(sound[0, 0])), int(length), " ".join(said(words, count)))
             for sound, length, words, count in each(rows, "spectrogram", "spectrogram_length", "words", "words_length")}
    # Captions of 0 to 3, 3 to 6, 7 to 12 and 20 to 24 s, each with the neighbour that makes it at least 6 s.
    assert found == {(0, 598, "the salt and pepper"), (0, 598, "and pepper the salt"), (298, 900, "mix well don't and pepper"),
                     (698, 1000, "now bake it mix well")}
    assert all((words[count:] == 0).all() for words, count in each(rows, "words", "words_length"))


def test_captions_of_another_stretch_of_the_film_are_none_of_a_clip(films, tmp_path):
    (tmp_path / "m.csv").write_text("path,split,start_s,end_s\nfood/0/film0000000,train,6,22\nfood/0/film0000000,test,30,40\n")
    items = made.opened("howto100m", films, data__manifest=str(tmp_path / "m.csv"), data__captions="caption.json",
                        data__clip_choice="captions", data__word_vectors=str(films / "vectors.bin"), data__min_clip_s=1.0)
    reader = made.reader(items, made.FEATURES | made.TEXT, pairs=16, budget=1.0)
    rows = reader.train(0)
    found = {(int(length), " ".join(said(words, count))) for length, words, count in each(
        rows, "spectrogram_length", "words", "words_length")}
    assert set(rows["clip"]) == {0} and found == {(500, "mix well don't"), (200, "now bake it")}
    assert not {1} & {int(clip) for visit in range(4) for clip in reader.train(visit)["clip"]}
    assert [kind for kind, _ in reader._quarantine.reasons.values()] in ([], ["no_captions"])


def test_random_windows_hold_the_words_that_are_said_in_them_or_none(films):
    items = made.opened("howto100m", films, data__manifest="list.csv", data__captions="caption.json",
                        data__word_vectors=str(films / "vectors.bin"))
    reader, lengths = made.reader(items, made.FEATURES | made.TEXT, pairs=32), set()
    captions = ((0, 3, "the salt"), (3, 6, "and pepper"), (7, 12, "mix well don't"), (20, 24, "now bake it"))
    for visit in range(3):
        rows = reader.train(visit)
        for sound, words, count in each(rows, "spectrogram", "words", "words_length"):
            second = round(0.02 - float(sound[0, 0]))
            expected = [word for start, end, text in captions if start < second + 10 and end > second for word in text.split()]
            assert said(words, count) == expected[:5]
            lengths.add(int(count))
    assert 0 in lengths and len(lengths) > 2


def test_a_film_without_captions_is_named_counted_and_passed_over(films, tmp_path):
    table = pickle.loads((films / "caption.pickle").read_bytes())
    del table["film0000002"]
    (tmp_path / "some.pickle").write_bytes(pickle.dumps(table | {"stranger": {"start": [], "end": [], "text": []}}))
    items = made.opened("howto100m", films, data__manifest="list.csv", data__captions=str(tmp_path / "some.pickle"),
                        data__clip_choice="captions")
    assert "no captions of 1 of the 4 films, such as food/2/film0000002" in items.notes[0]
    assert "captions of 1 videos that are not in the list" in items.notes[1] and "stranger" in items.notes[1]
    reader = made.reader(items)
    clips = {int(clip) for visit in range(12) for clip in reader.train(visit)["clip"]}
    assert clips == {0, 1, 3}
    assert {path: kind for path, (kind, _) in reader._quarantine.reasons.items()} == {"food/2/film0000002": "no_captions"}


# What is broken or missing --------------------------------------------------------------------------------------------------


def broken(tmp_path):
    """Six films, of which only `0` and `5` are whole."""
    for number in range(6):
        made.write_film(tmp_path, str(number), seconds=15, number=number, width=5 if number == 1 else made.WIDTH)
    (tmp_path / "2_3d.npz").unlink()
    (tmp_path / "3_2d.npz").write_bytes((tmp_path / "3_2d.npz").read_bytes()[:200])
    damaged = bytearray((tmp_path / "4_spec.npz").read_bytes())
    damaged[len(damaged) // 2] ^= 1
    (tmp_path / "4_spec.npz").write_bytes(damaged)
    (tmp_path / "list.csv").write_text("\n".join(["path", *map(str, range(6)), ""]))
    return made.opened("howto100m", tmp_path, data__manifest="list.csv")


def test_damaged_and_missing_features_and_those_of_another_width_are_named_and_replaced(tmp_path):
    items = broken(tmp_path)
    reader, again = made.reader(items, budget=1.0), made.reader(items, budget=1.0)
    rows = {visit: reader.train(visit) for visit in range(12)}
    assert {int(clip) for found in rows.values() for clip in found["clip"]} == {0, 5}
    reasons = reader._quarantine.reasons
    assert {path: kind for path, (kind, _) in reasons.items()} == {
        "1": "wrong_width", "2": "missing", "3": "damaged", "4": "damaged"}
    assert "found rows of 5 numbers, expected 6" in reasons["1"][1] and "2_3d.npz" in reasons["2"][1]
    assert all(equal(again.train(visit), rows[visit]) for visit in reversed(range(12)))
    assert reader.whole(np.arange(6))["clip"].tolist() == [0, 5]


def test_a_film_without_a_spectrogram_is_silent_and_named(tmp_path):
    root = made.write_howto100m(tmp_path, films=3)
    (root / "food/1/film0000001_spec.npz").unlink()
    items = made.opened("howto100m", root)
    assert items.notes == ("1 of the 3 films have no spectrogram and count as silent, such as food/1/film0000001.",)
    reader = made.reader(items)
    rows = reader.whole(np.arange(3))
    assert rows["spectrogram_length"].tolist() == [1000, 0, 1000] and (rows["video_length"] > 0).all()
    heard = {int(clip): int(length) for visit in range(12) for clip, length in zip(
        *(reader.train(visit)[name] for name in ("clip", "spectrogram_length")), strict=True)}
    assert heard == {0: 1000, 1: 0, 2: 1000} and not reader._quarantine.reasons
    # One that is lost later is not silent but missing.
    (root / "food/2/film0000002_spec.npz").unlink()
    assert reader.whole(2)["clip"].size == 0 and reader._quarantine.reasons["food/2/film0000002"][0] == "missing"


@pytest.mark.parametrize(("name", "value"), [("2d", np.nan), ("3d", np.inf), ("spec", np.nan), ("spec", 1e6)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_what_is_not_finite_is_damaged(tmp_path, name, value, dtype):
    made.write_film(tmp_path, "a", seconds=20)
    made.write_film(tmp_path, "b", seconds=20)
    key = "arr_0" if name == "spec" else "features"
    with np.load(tmp_path / f"a_{name}.npz") as arrays:
        found = arrays[key].astype(dtype)
    found[found.shape[0] // 2, found.shape[1] // 2] = value
    np.savez(tmp_path / f"a_{name}.npz", **{key: found})
    reader = made.reader(made.opened("howto100m", tmp_path))
    assert reader.whole(np.arange(2))["clip"].tolist() == [1]
    assert [kind for kind, _ in reader._quarantine.reasons.values()] == ["damaged"]


@pytest.mark.parametrize("dtype", [np.float64, np.int32, np.uint8])
def test_features_of_any_kind_of_number_are_read(tmp_path, dtype):
    made.write_film(tmp_path, "a", seconds=20)
    with np.load(tmp_path / "a_2d.npz") as arrays:
        rows = arrays["features"].astype(dtype)
    np.savez(tmp_path / "a_2d.npz", features=rows)
    np.testing.assert_allclose(made.reader(made.opened("howto100m", tmp_path)).whole(0)["video"][0, 0], 1, atol=0.02)


def test_a_clip_that_begins_after_its_film_has_ended_is_too_short(tmp_path):
    made.write_film(tmp_path, "a", seconds=20)
    (tmp_path / "m.csv").write_text("path,start_s,end_s\na,5,30\na,25,30\n")
    for choice in ("random", "whole"):
        reader = made.reader(made.opened("howto100m", tmp_path, data__manifest="m.csv", data__clip_choice=choice), budget=1.0)
        rows = reader.whole(np.arange(2))
        assert rows["clip"].tolist() == [0] and rows["spectrogram_length"] == [1000]
        assert {int(clip) for visit in range(4) for clip in reader.train(visit)["clip"]} == {0}
        assert [kind for kind, _ in reader._quarantine.reasons.values()] == ["too_short"]


def test_too_many_broken_films_end_the_run_and_say_why(tmp_path):
    with pytest.raises(errors.DataError, match="unusable, expected at most 1"):
        list(map(made.reader(broken(tmp_path), budget=0.01).train, range(12)))


def test_a_film_with_no_rows_is_a_zero_vector_and_missing(tmp_path):
    made.write_film(tmp_path, "a", seconds=20)
    for name in ("2d", "3d"):
        np.savez(tmp_path / f"a_{name}.npz", features=np.zeros((0, made.WIDTH), np.float16))
    reader = made.reader(made.opened("howto100m", tmp_path))
    for rows in (reader.train(0), reader.whole(0)):
        assert (rows["video"] == 0).all() and (rows["video_length"] == 0).all() and (rows["spectrogram_length"] == 1000).all()


def test_one_stream_alone_makes_a_video_of_half_the_width(items, films):
    half = made.opened("howto100m", films, data__manifest="list.csv", data__streams="3d")
    narrow = made.FEATURES | {"video": Feature((made.WIDTH,), "float32", modality="video")}
    both, one = made.reader(items).whole(0), made.reader(half, narrow).whole(0)
    np.testing.assert_array_equal(one["video"], both["video"][:, made.WIDTH :])
    odd = made.FEATURES | {"video": Feature((7,), "float32", modality="video")}
    with pytest.raises(errors.ConfigError, match="takes videos of 7 numbers; expected a multiple of the 2 streams"):
        made.reader(items, odd)


def test_what_items_do_not_have_is_said_before_training(items, films):
    for features, lacking in ((made.FEATURES | WAVEFORM, "waveform"), (made.FEATURES | IMAGE, "image"), (made.TEXT, "words")):
        with pytest.raises(errors.ConfigError, match=f"no {lacking}"):
            made.reader(items, features)
    words = made.opened("howto100m", films, data__word_vectors=str(films / "vectors.bin"))
    wide = {"words": Feature((5, 300), "float16", modality="text"), "words_length": Feature((), "int32")}
    with pytest.raises(errors.ConfigError, match="found vectors of 3 numbers, expected 300"):
        made.reader(words, wide)


# Pickles of clips -----------------------------------------------------------------------------------------------------------


def test_records_of_both_forms_are_read_whole(tmp_path):
    (tmp_path / "youcook_train.pkl").write_bytes(pickle.dumps([made.record(0), made.record(1, seconds=25)]))
    pooled = made.record(2, caption=["salt", "pepper", "don't"], eval_caption="bake it", audio=None)
    pooled |= {"2d_pooled": pooled.pop("2d"), "3d_pooled": pooled.pop("3d")}
    (tmp_path / "msrvtt_test.pkl").write_bytes(pickle.dumps([pooled]))
    made.write_vectors(tmp_path / "v")
    items = made.opened("clip_pickles", tmp_path, data__word_vectors=str(tmp_path / "v"))
    assert items.count_splits() == {"test": 1, "train": 2} and "1 of the 3 clips have no sound" in items.notes[0]
    reader = made.reader(items, made.FEATURES | made.TEXT, pairs=12)
    rows = reader.whole(np.arange(3))
    assert rows["spectrogram_length"].tolist() == [0, 800, 1000] and (rows["spectrogram"][0] == 0).all()
    assert rows["video_length"].tolist() == [2, 2, 2]
    np.testing.assert_allclose(rows["video"][:, [0, made.WIDTH]], 1)
    assert [said(*row) for row in each(rows, "words", "words_length")] == [["bake", "it"], ["the", "salt"], ["the", "salt"]]
    drawn = {made.WORDS[int(row[0, 0])] for visit in range(9) for row, clip in
             zip(*(reader.train(visit)[name] for name in ("words", "clip")), strict=True) if clip == 0}
    assert drawn == {"salt", "pepper", "don't"}


@pytest.mark.parametrize(("records", "said"), [
    ({"a": 1}, "found a dict, expected a list"),
    ([1], "expected a list of records"),
    ([{"id": "x", "audio": np.zeros((4, 9))}], "record x: found audio, id, expected 2d"),
    ([made.record(0, audio=np.zeros(9))], "audio has 1 axes"),
    ([made.record(0, **{"2d": "text"})], "2d is no array of numbers"), ([made.record(0, **{"3d": 1.0})], "3d is a single number"),
    ([made.record(0, caption=5)], "caption is a int, expected a text"),
])
def test_pickles_of_something_else_are_said_so(tmp_path, records, said):
    (tmp_path / "a_train.pkl").write_bytes(pickle.dumps(records))
    with pytest.raises(errors.DataError, match=said):
        made.opened("clip_pickles", tmp_path)


def test_a_record_without_rows_has_no_video(tmp_path):
    (tmp_path / "a_train.pkl").write_bytes(pickle.dumps([made.record(0, **{"2d": [], "3d": np.zeros((0, made.WIDTH))})]))
    rows = made.reader(made.opened("clip_pickles", tmp_path)).whole(0)
    assert rows["video_length"] == [0] and not rows["video"].any() and rows["spectrogram_length"] == [800]


def test_records_of_one_narrower_clip_pass_it_over(tmp_path):
    narrow = made.record(1, **{"2d": np.ones(made.WIDTH - 1, np.float32)})
    (tmp_path / "a_train.pkl").write_bytes(pickle.dumps([made.record(0), narrow, made.record(2)]))
    reader = made.reader(made.opened("clip_pickles", tmp_path))
    assert reader.whole(np.arange(3))["clip"].tolist() == [0, 2]
    assert [kind for kind, _ in reader._quarantine.reasons.values()] == ["wrong_width"]


# Sound from media, and pictures ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    """Features beside videos of 3, 14 and 30 s, as avc_jax.features makes them, and a text file."""
    root = tmp_path_factory.mktemp("features")
    for number, seconds in enumerate((3, 14, 30)):
        (root / "deep").mkdir(exist_ok=True)
        tiny.write_video(root / "deep" / f"{number}.mp4", number, seconds=seconds)
        made.write_film(root, f"deep/{number}", seconds=seconds, number=number, spectrogram=False)
    media.text_file(root / "3.mp4")
    made.write_film(root, "3", seconds=5, spectrogram=False)
    (root / "manifest.csv").write_text("path,split,label,start_s,end_s,caption\n" + "".join(
        f"{name},train,,,,\n" for name in ("deep/0.mp4", "deep/1.mp4", "deep/2.mp4", "3.mp4")))
    return root


def features_of(window_s):
    sound = {"waveform": Feature((round(window_s * 8000),), "int16", modality="audio"), "waveform_length": Feature((), "int32")}
    return sound | {name: made.FEATURES[name] for name in ("video", "video_length")}


@pytest.mark.parametrize("window_s", [2.0, 10.0])
def test_sound_comes_from_the_media_beside_the_features(videos, window_s):
    reader = made.reader(made.opened("features", videos), features_of(window_s), window_s=window_s, budget=1.0)
    for visit in range(6):
        rows = reader.train(visit)
        for sound, length, clip, video in each(rows, "waveform", "waveform_length", "clip", "video"):
            assert clip < 3 and tiny.sound_of(sound[:8000], 8000) == clip
            expected = min(window_s, (3, 14, 30)[clip]) * 8000
            assert abs(length - expected) <= 0.06 * 8000, "AAC pads its ends by a frame"
            assert (sound[length:] == 0).all() and video[0] > 0
    assert list(reader._quarantine.reasons) == ["3.mp4"]


def test_evaluation_hears_the_middle_of_a_long_video_and_all_of_a_short_one(videos):
    reader = made.reader(made.opened("features", videos), features_of(10.0), budget=1.0)
    rows = reader.whole(np.arange(4))
    assert rows["clip"].tolist() == [0, 1, 2]
    assert abs(rows["waveform_length"][0] - 24000) < 500 and rows["waveform_length"][1:].tolist() == [80000, 80000]
    # Rows of the second seconds that are heard: 10 to 20 of 30 s.
    assert rows["video"][2, 1] / rows["video"][2, 0] * 300 == pytest.approx(20, rel=0.01)


def test_stored_spectrograms_of_the_same_folder_can_be_read_instead(videos, tmp_path):
    with pytest.raises(errors.MissingInputError, match=r"none of the 4 films has a spectrogram, such as deep/0_spec\.npz"):
        made.opened("features", videos, data__sound="spectrogram")
    root = shutil.copytree(videos, tmp_path / "features")
    made.write_film(root, "deep/1", seconds=14)
    items = made.opened("features", root, data__sound="spectrogram")
    assert made.reader(items, budget=1.0).whole(np.arange(4))["spectrogram_length"].tolist() == [0, 1000, 0, 0]


@pytest.fixture(scope="module")
def captions(tmp_path_factory):
    """Three pictures, whose grey is their number, each with a tone that says it, too; one of 12 s."""
    root = tmp_path_factory.mktemp("spoken")
    (root / "images").mkdir()
    (root / "wavs").mkdir()
    for number in range(3):
        Image.fromarray(np.full((60, 90, 3), 40 + 60 * number, np.uint8)).save(root / "images" / f"{number}.png")
        media.tone_video(root / "wavs" / f"{number}.wav", video=False, tone_hz=300 + 250 * number, rate_hz=16000,
                         seconds=12.0 if number == 2 else 1.0)
    return root


def test_pictures_and_their_spoken_captions_come_together(captions):
    (captions / "SON-train.json").write_text(
        '{"image_base_path": "/old/machine/images", "audio_base_path": "", "data": ['
        + ",".join(f'{{"image": "{n}.png", "wav": "{n}.wav"}}' for n in range(3)) + "]}")
    items = made.opened("spoken_captions", captions)
    assert items.count_splits() == {"train": 3}
    reader = made.reader(items, WAVEFORM | IMAGE, pairs=1)
    for rows in (*(reader.train(visit) for visit in range(6)), reader.whole(np.arange(3))):
        for sound, length, image, clip in each(rows, "waveform", "waveform_length", "image", "clip"):
            assert tiny.sound_of(sound[:8000], 8000) == clip and length == (8000, 8000, 80000)[clip]
            assert (image == 40 + 60 * clip).all() and (sound[length:] == 0).all()
    assert {int(clip) for visit in range(6) for clip in reader.train(visit)["clip"]} == {0, 1, 2}


def test_training_cuts_pictures_at_random_and_evaluation_at_the_centre(tmp_path):
    ramp = np.tile(np.linspace(0, 250, 200).astype(np.uint8)[None, :, None], (100, 1, 3))
    Image.fromarray(ramp).save(tmp_path / "a.png")
    media.tone_video(tmp_path / "a.wav", video=False, rate_hz=8000)
    (tmp_path / "train.txt").write_text("a.png a.wav\n")
    reader = made.reader(made.opened("spoken_captions", tmp_path), IMAGE, pairs=32)
    rows = reader.train(0)["image"].astype(float)
    left, right = rows[:, :, 0].mean((1, 2)), rows[:, :, -1].mean((1, 2))
    widths = (right - left) / 250 * 200
    assert (left < right).all() and len(set(left.round())) > 10, "mirrored, or always the same"
    assert widths.min() < 60 and widths.max() > 90 and widths.max() <= 200 * 1.01
    centre = reader.whole(0)["image"][0].astype(float)
    assert centre.mean() == pytest.approx(125, abs=3)  # 75 of 200 columns, in the middle
    assert (centre[:, -1].mean() - centre[:, 0].mean()) / 250 * 200 == pytest.approx(75 * 23 / 24, abs=3)


def test_a_damaged_picture_or_recording_is_passed_over(captions, tmp_path):
    for name in ("images/0.png", "images/1.png", "wavs/0.wav", "wavs/1.wav", "images/2.png", "wavs/2.wav"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes((captions / name).read_bytes())
    (tmp_path / "images" / "1.png").write_bytes(b"no picture")
    (tmp_path / "wavs" / "2.wav").unlink()
    (tmp_path / "train.txt").write_text("".join(f"{n}.png {n}.wav\n" for n in range(3)))
    quarantine = Quarantine(tmp_path / "ledger.jsonl", 3, 1.0)
    reader = made.reader(made.opened("spoken_captions", tmp_path), WAVEFORM | IMAGE, pairs=1, quarantine=quarantine)
    assert {int(reader.train(visit)["clip"][0]) for visit in range(9)} == {0}
    assert set(quarantine.reasons) == {"wavs/1.wav", "wavs/2.wav"}


def test_selected_items_keep_their_tracks(items):
    some = dataclasses.replace(items, clips=items.clips[2:])
    assert made.reader(some).whole(0)["file"] == [2] and some.sha256() != items.sha256()
