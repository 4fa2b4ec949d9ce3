"""Files are ranked by their best window, and by nothing that was not asked for."""

import dataclasses

import media
import numpy as np
import pytest
from PIL import Image
from search import nets

from avc_jax import errors
from avc_jax.data import windows
from avc_jax.data.moments import Format
from avc_jax.search import ask
from avc_jax.search.ask import Question
from avc_jax.search.index import Entry, File, Store
from avc_jax.search.network import Network

DIRECTIONS = (("audio", "video"), ("video", "audio"))


def entry(place: int, **windows) -> Entry:
    """A file whose windows are a second apart; windows: modality -> rows."""
    made = {modality: (np.arange(float(len(rows))), np.array(rows, np.float32)) for modality, rows in windows.items()}
    return Entry(File(f"/{place}.mp4", 1, 1, str(place)), made)


def made_of(folder, entries, *, exact_rows: int = 1000, similarity: str = "dot"):
    with Store(str(folder)) as store:
        store.commit({"similarity": similarity}, entries)
        store.add_lists(exact_rows, {"audio": "video", "video": "audio"})
        return store.read()


def question(**vectors) -> Question:
    return Question("/q.wav", "sound", None, "q", {name: np.array(vector, np.float32) for name, vector in vectors.items()})


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    return made_of(tmp_path_factory.mktemp("small") / "i", [
        entry(0, audio=[[9, 0], [8, 0]], video=[[1, 0], [5, 0], [2, 0]]),
        entry(1, audio=[[7, 0]]),
        entry(2, video=[[6, 0]]),
        entry(3, audio=[[0, 0.5], [0, 3]], video=[[4, 0], [0, 9]]),
        entry(4)])


def told(answer):
    return [(hit.file, hit.score, hit.modality, hit.time_s) for hit in answer.hits]


def test_a_sound_asks_pictures_and_counts_the_best(small):
    found = ask.answer(small, question(audio=[1, 0]), DIRECTIONS)
    assert told(found) == [(2, 6, "video", 0), (0, 5, "video", 1), (3, 4, "video", 0)]
    assert found.ranked == 3 and found.recall == 1 and found.among == {"audio": ("video",)}
    assert told(ask.answer(small, question(audio=[1, 0]), DIRECTIONS, top=1)) == told(found)[:1]


def test_a_picture_asks_sounds(small):
    assert told(ask.answer(small, question(video=[1, 0]), DIRECTIONS)) == [
        (0, 9, "audio", 0), (1, 7, "audio", 0), (3, 0, "audio", 0)]


def test_both_halves_of_a_clip_count_by_their_mean(small):
    # 0: (5 + 0) / 2, 1: 0 (no picture), 2: 6 (no sound), 3: (4 + 3) / 2 by its better half.
    assert told(ask.answer(small, question(audio=[1, 0], video=[0, 1]), DIRECTIONS)) == [
        (2, 6, "video", 0), (3, 3.5, "video", 0), (0, 2.5, "video", 1), (1, 0, "audio", 0)]


def test_among_says_what_to_look_at(small):
    def files(among):
        return told(ask.answer(small, question(audio=[1, 0]), DIRECTIONS, among=among))

    assert files("sounds") == [(0, 9, "audio", 0), (1, 7, "audio", 0), (3, 0, "audio", 0)]
    assert files("both") == [(0, 9, "audio", 0), (1, 7, "audio", 0), (2, 6, "video", 0), (3, 4, "video", 0)]


def test_where_only_sounds_are_indexed_a_sound_asks_sounds(tmp_path):
    index = made_of(tmp_path / "i", [entry(0, audio=[[1, 0]]), entry(1, audio=[[2, 0]])])
    assert told(ask.answer(index, question(audio=[1, 0]), DIRECTIONS)) == [(1, 2, "audio", 0), (0, 1, "audio", 0)]
    with pytest.raises(errors.MissingInputError, match="--among=pictures: the index has windows of audio only"):
        ask.answer(index, question(audio=[1, 0]), DIRECTIONS, among="pictures")


def test_equal_files_stay_in_their_order(tmp_path):
    index = made_of(tmp_path / "i", [entry(place, video=[[1, 0]]) for place in range(20)])
    assert [hit.file for hit in ask.answer(index, question(audio=[1, 0]), DIRECTIONS).hits] == list(range(10))


@pytest.mark.parametrize("among", [None, "both"])
@pytest.mark.parametrize("halves", [("audio",), ("audio", "video")])
def test_lists_find_what_comparing_all_finds(tmp_path, among, halves):
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(60, 8))
    entries = [entry(place, **{modality: centres[place % 60] + 0.3 * rng.normal(size=(rng.integers(1, 40), 8))
                               for modality in ("audio", "video")}) for place in range(240)]
    index = made_of(tmp_path / "i", entries)
    assert all(rows.lists for rows in index.rows.values())
    agreed = []
    for _ in range(20):
        asked = question(**{half: rng.normal(size=8) for half in halves})
        exact, lists = (ask.answer(index, asked, DIRECTIONS, among=among, exact=exact) for exact in (True, False))
        assert exact.recall == 1 and 0.9 < lists.recall <= 1 and len(lists.hits) == 10
        scores = dict(zip((hit.file for hit in exact.hits), exact.hits, strict=True))
        agreed += [hit.file in scores for hit in lists.hits]
        if len(halves) == 1:  # candidates by one half may miss the best by both
            assert all(scores[hit.file][2:] == hit[2:] for hit in lists.hits if hit.file in scores)
    assert np.mean(agreed) > (0.95 if len(halves) == 1 else 0.6)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_file_full_of_near_windows_does_not_hide_the_others(tmp_path):
    rng = np.random.default_rng(0)
    greedy = entry(0, video=np.tile([9.0, 0.0], (3000, 1)) + 0.01 * rng.normal(size=(3000, 2)))
    index = made_of(tmp_path / "i", [greedy, *(entry(place, video=[[8 - place / 100, 0]]) for place in range(1, 30))])
    found = ask.answer(index, question(audio=[1, 0]), DIRECTIONS)
    assert index.rows["video"].lists and [hit.file for hit in found.hits] == list(range(10))


# Questions --------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    return Network(str(nets.save(tmp_path_factory.mktemp("net") / "model")), 0.0, 8)


def asked_with(network, path, kind=None, at_s=None):
    return ask.question(network, str(path), kind, at_s, lambda: None)


def test_a_file_asks_with_what_it_holds(network, videos, tmp_path):
    sound = media.tone_video(tmp_path / "a.wav", video=False, seconds=1.2, rate_hz=16000)
    silent = media.quarters_video(tmp_path / "b.mp4")
    Image.fromarray(media.numbered(3)).save(tmp_path / "c.png")
    for path, kind, halves in ((videos / "00.mp4", "clip", ["audio", "video"]), (sound, "sound", ["audio"]),
                               (silent, "picture", ["video"]), (tmp_path / "c.png", "picture", ["video"])):
        found = asked_with(network, path)
        assert (found.kind, sorted(found.vectors)) == (kind, halves)
        for vector in found.vectors.values():
            assert np.linalg.norm(vector) == pytest.approx(1, abs=1e-5)


def test_a_moment_asks_with_its_window_and_all_of_a_file_with_the_mean(network, videos):
    rows = {modality: network.embed_files(modality, [str(videos / "02.mp4")], lambda: None, lambda *_: None)[0][0]
            for modality in ("audio", "video")}
    for kind, modality in (("sound", "audio"), ("picture", "video")):
        time_s, vectors = rows[modality]
        found = asked_with(network, videos / "02.mp4", kind, float(time_s[1])).vectors[modality]
        np.testing.assert_allclose(found, vectors[1], atol=1e-4)
        mean = vectors.mean(0)
        whole = asked_with(network, videos / "02.mp4", kind).vectors[modality]
        np.testing.assert_allclose(whole, mean / np.linalg.norm(mean), atol=1e-5)


def test_what_cannot_be_asked_with_is_told(network, videos, tmp_path):
    with pytest.raises(errors.MissingInputError, match="--ask=/nowhere: expected a sound"):
        asked_with(network, "/nowhere")
    with pytest.raises(errors.DataError, match="cannot be read"):
        asked_with(network, media.text_file(tmp_path / "a.mp4"))
    with pytest.raises(errors.DataError, match="cannot be asked with as audio"):
        asked_with(network, media.quarters_video(tmp_path / "b.mp4"), "sound")
    with pytest.raises(errors.DataError, match="cannot be asked with as video"):
        asked_with(network, videos / "00.mp4", "picture", 77.0)


def test_a_tail_of_milliseconds_is_no_window_of_a_question(tmp_path):
    path = media.tone_video(tmp_path / "a.mp4", seconds=2.02)
    steps = windows.Steps("audio", Format(short_side=48, size=32, window_s=1.0, rate_hz=8000), 1.0)
    times_s = np.array([0.0, 1.0, 2.0])
    weights = ask._filled(str(path), times_s, steps)
    np.testing.assert_allclose(weights[:2], 1.0)
    assert 0 < weights[2] < 0.1
    np.testing.assert_array_equal(ask._filled(str(path), times_s, dataclasses.replace(steps, modality="video")), 1.0)
