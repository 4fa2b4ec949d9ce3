"""Dimensions that stand for words: planted ones are found by hand-made rules, and noise or one sense alone makes none."""

import numpy as np
import pytest
import tiny
from evaluators import fakes

from avc_jax import systems
from avc_jax.data import sources
from avc_jax.data.sources import Clip, Source
from avc_jax.evaluators import dimensions

WORDS = np.array(["bell", "drum", "horn", "rain"])


def labelled(tmp_path, count: int = 80) -> Source:
    return Source(tmp_path, tuple(Clip(f"{n}.mp4", n, "test", WORDS[n % 4]) for n in range(count)))


def planted(name, clip):
    """Dimension 0: bells; 1: drums, low where they are; 2: horns by sound and rain by picture; the others are noise."""
    rng = np.random.default_rng([clip.file, name == "trained"])
    audio, video = rng.normal(size=(2, 40))
    if name == "trained":
        audio[0] += 9 * (clip.label == "bell")
        video[0] += 9 * (clip.label == "bell")
        audio[1] -= 9 * (clip.label == "drum")
        video[1] -= 9 * (clip.label == "drum")
        audio[2] += 9 * (clip.label == "horn")
        video[2] += 9 * (clip.label == "rain")
    return {"audio": audio, "video": video}


def evaluator(tmp_path, heldout, answer=planted, head="ave", **changes):
    config = tiny.config(system__head=head, **{"dimensions__shown": 0} | changes)
    return dimensions.make(fakes.setting(config, systems.make(config), heldout, heldout, tmp_path), fakes.Features(answer))


# Pure -----------------------------------------------------------------------------------------------------------------------


def test_name_is_the_word_with_the_best_f1():
    rng = np.random.default_rng(0)
    has = rng.random((60, 7)) < 0.3
    top = np.stack([rng.permutation(60)[:12] for _ in range(1100)])  # several blocks
    found = dimensions.describe(top, has)
    for row in (0, 511, 512, 1099):
        among = np.isin(np.arange(60), top[row])
        f1 = []
        for word in has.T:
            precision, recall = (among & word).sum() / 12, (among & word).sum() / word.sum()
            f1.append(2 * precision * recall / max(precision + recall, 1e-12))
        assert found.word[row] == np.argmax(f1) and found.f1[row] == pytest.approx(max(f1))


def test_clips_of_a_dimension_are_those_of_its_sign():
    audio = np.array([[-9, 9], [-8, 8], [1, -1], [0.5, 7], [0, 0]], np.float32)
    video = np.array([[-9, 9], [-8, 8], [9, 0], [0.5, 0], [0, 5]], np.float32)
    tops = dimensions.strongest(audio, video, 2, seed=0)
    assert tops.both.tolist() == [[0, 1], [0, 1]]
    assert tops.audio.tolist() == [[0, 1], [0, 1]]
    assert tops.video.tolist() == [[0, 1], [0, 1]]


def test_sound_and_picture_have_to_agree():
    has = np.repeat(np.eye(4, dtype=bool), 10, axis=0)
    mixed = np.array([[0, 1, 2, 3, 4], [0, 1, 2, 3, 4]])
    other = np.array([[5, 6, 7, 8, 9], [10, 11, 12, 13, 14]])
    found, names = dimensions.agree(dimensions.Tops(mixed, other, mixed), has, 0.3)
    assert found.tolist() == [True, False] and names.f1[0] == pytest.approx(2 * 5 / (5 + 10))
    assert not dimensions.agree(dimensions.Tops(mixed, other, mixed), has, 0.7)[0].any()


# The evaluator --------------------------------------------------------------------------------------------------------------


def test_planted_concepts_are_found_and_noise_makes_few(tmp_path):
    asked = evaluator(tmp_path, labelled(tmp_path), dimensions__f1=0.5)
    assert asked.missing() is None
    trained, untrained = asked(fakes.network("trained")), asked(fakes.network("untrained"))
    assert {(row["dimension"], row["word"]) for row in trained["found"]} == {(0, "bell"), (1, "drum")}
    assert trained["found"][0]["f1"] == pytest.approx(2 * 8 / (8 + 20))  # eight of the twenty clips, a tenth of all
    assert (trained["concepts"], trained["different"], untrained["concepts"]) == (2, 2, 0)
    assert trained["shuffled_concepts"] < 1
    rows = asked.rows(trained, untrained)
    assert [(row.trained, row.untrained) for row in rows] == [(2, 0), (2, 0)]
    assert rows[0].chance == trained["shuffled_concepts"]


def test_clips_that_lack_sound_or_picture_are_left_out(tmp_path):
    def answer(name, clip):
        found = planted(name, clip)
        return found | {"audio": found["audio"] * np.nan} if clip.file % 8 == 1 else found

    found = evaluator(tmp_path, labelled(tmp_path), answer, dimensions__f1=0.4)(fakes.network())
    assert found["clips"] == 70 and {row["dimension"] for row in found["found"]} == {0, 1}


def test_what_cannot_be_named_is_said_before(tmp_path):
    assert "no common space" in evaluator(tmp_path, labelled(tmp_path), head="l3").missing()
    unlabelled = Source(tmp_path, tuple(Clip(f"{n}.mp4", n, "test") for n in range(80)))
    assert "fewer than two words" in evaluator(tmp_path, unlabelled).missing()
    assert "fewer than two words" in evaluator(tmp_path, labelled(tmp_path, 16)).missing()  # four clips of each


def test_best_dimensions_are_left_for_the_page_with_their_media(videos, tmp_path):
    found = sources.open_folder(str(videos), "", (1.0, 0.0, 0.0))
    clips = tuple(Clip(found.clips[n % 6].path, n % 6, "test", "even" if n % 6 in (0, 2) else "odd" if n % 6 == 3 else "other")
                  for n in range(60))

    def answer(name, clip):
        row = np.random.default_rng(clip.file).normal(size=8)
        row[3] = 9 * (clip.label == "even") - clip.file
        return {"audio": row, "video": row}

    heldout = Source(found.root, clips)
    evaluator(tmp_path, heldout, answer, dimensions__shown=3)(fakes.network())
    page = np.load(tmp_path / "pictures/dimensions.npz")
    place = page["dimension"].tolist().index(3)
    assert page["word"][place] == "even" and page["has"][place].all()
    assert (np.diff(page["contribution"], axis=1) <= 0).all()
    media = np.load(tmp_path / "pictures/dimensions_media.npz")
    shown = [tiny.picture_of(frame) for frame in media["frame"][page["media"][place]]]
    assert shown == [int(name[:2]) for name in page["clip"][place]]


def test_pages_of_another_time_go(tmp_path):
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures/dimensions.npz").write_bytes(b"old")
    evaluator(tmp_path, labelled(tmp_path), dimensions__f1=1.0, dimensions__shown=3)(fakes.network())
    assert not (tmp_path / "pictures/dimensions.npz").exists()
