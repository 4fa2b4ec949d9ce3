"""Narrated clips: deterministic and resumable; what is said is what is shown; held-out scenes are new in every language."""

import csv
import dataclasses
import itertools
import subprocess
import sys
from collections import Counter
from pathlib import Path

import av
import numpy as np
import pytest

from avc_jax.data import narrated, sources
from avc_jax.data.narrated import speech
from avc_jax.data.narrated.scenes import COLOURS, GROUNDS, MOTIONS, SHAPES, SIZES
from avc_jax.errors import ConfigError, MissingInputError

RECIPE = narrated.Recipe(seed=3, size=(64, 64), seconds=3.2, fps=12.5, rate_hz=22_050, language="en", speech="tones")
FOLDER = dict(language="en", num_clips=6, seed=3, kind="tones", size=(64, 48), seconds=2.4, fps=5.0, workers=0)
FIELDS = ("colour", "shape", "size", "motion", "ground")


def rows_of(root: Path) -> list[dict[str, str]]:
    with open(root / "manifest.csv", newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def sound_of(path: Path) -> np.ndarray:
    with av.open(str(path)) as container:
        return np.concatenate([frame.to_ndarray()[0] for frame in container.decode(audio=0)])


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("narrated")
    narrated.narrate_folder(root, **FOLDER)
    return root


def test_a_folder_is_a_source_of_clips_with_captions(folder):
    rows = rows_of(folder)
    assert [row["split"] for row in rows] == ["train", "test", "train", "train", "train", "train"]
    source = sources.open_folder(str(folder), "manifest.csv", (1.0, 0.0, 0.0))
    assert [clip.label for clip in source.clips] == [row["label"] for row in rows]
    assert all(set(row["label"].split()) < set(row["caption"].split()) for row in rows)
    with av.open(str(folder / rows[0]["path"])) as container:
        video, audio = container.streams.video[0], container.streams.audio[0]
        assert (video.frames, video.width, video.height, audio.rate) == (12, 64, 48, 22_050)


def test_same_seed_same_clips_other_seed_others(folder, tmp_path):
    narrated.narrate_folder(tmp_path / "again", **FOLDER)
    narrated.narrate_folder(tmp_path / "other", **{**FOLDER, "seed": 4})
    assert rows_of(folder) == rows_of(tmp_path / "again") != rows_of(tmp_path / "other")
    for row in rows_of(folder)[:3]:
        assert (folder / row["path"]).read_bytes() == (tmp_path / "again" / row["path"]).read_bytes()
        assert np.abs(sound_of(folder / row["path"]) - sound_of(tmp_path / "other" / row["path"])).max() > 0.01


def test_what_is_there_stays_and_what_is_broken_is_made_anew(folder, tmp_path):
    narrated.narrate_folder(tmp_path, **FOLDER)
    whole, broken = tmp_path / "videos/000000.mp4", tmp_path / "videos/000003.mp4"
    before, content = whole.stat().st_mtime_ns, broken.read_bytes()
    broken.write_bytes(content[:100])
    narrated.narrate_folder(tmp_path, **{**FOLDER, "num_clips": 8})
    assert whole.stat().st_mtime_ns == before and broken.read_bytes() == content
    assert rows_of(tmp_path)[:6] == rows_of(folder) and len(rows_of(tmp_path)) == 8
    with pytest.raises(ConfigError, match="language is 'en' there and 'hi' here"):
        narrated.narrate_folder(tmp_path, **{**FOLDER, "language": "hi"})


def test_scenes_of_a_split_come_once_and_those_of_test_in_no_other_split():
    assert set(narrated.TEST_SCENES).isdisjoint(narrated.TRAIN_SCENES)
    assert set(narrated.TEST_SCENES) | set(narrated.TRAIN_SCENES) == set(narrated.SCENES) and len(narrated.SCENES) == 3072
    for seed, language in itertools.product((0, 1), ("en", "ja")):
        recipe = dataclasses.replace(RECIPE, seed=seed, language=language)
        shown = {"train": [], "test": []}
        for index in range(3060):
            shown[narrated.split_of(index)].append(narrated.scene_of(recipe, index))
        assert (len(shown["train"]), len(shown["test"])) == (2550, 510)
        for split, scenes in (("train", narrated.TRAIN_SCENES), ("test", narrated.TEST_SCENES)):
            assert set(shown[split]) <= set(scenes) and len(set(shown[split])) == len(shown[split])


def test_held_out_scenes_hold_every_word_about_as_often():
    for field in FIELDS:
        counts = Counter(getattr(scene, field) for scene in narrated.TEST_SCENES)
        share = len(narrated.TEST_SCENES) / len(counts)
        assert all(0.7 * share < count < 1.3 * share for count in counts.values()), counts


@pytest.mark.parametrize("language", narrated.LANGUAGES)
def test_scenes_are_told_apart_by_what_is_said(language):
    said = [narrated.sentence(scene, language) for scene in narrated.SCENES]
    assert len(set(said)) == len(said)


def test_scenes_are_told_apart_by_what_is_shown():
    """Each feature alone changes the picture: the same clip with another value of it is not the same."""
    from avc_jax.data.narrated.scenes import render_scene

    values = dict(colour=COLOURS, shape=SHAPES, size=SIZES, motion=MOTIONS, ground=GROUNDS)
    base = narrated.Scene("red", "star", "big", "left", "stripes")
    for field in FIELDS:
        pictures = [render_scene(dataclasses.replace(base, **{field: value}), np.random.default_rng(0), size=(48, 48),
                                 num_frames=8, fps=2.5).astype(int) for value in values[field]]
        for one, other in itertools.combinations(pictures, 2):
            assert np.abs(one - other).mean() > 1.0, field
        assert all(np.abs(np.diff(picture, axis=0)).max() > 30 for picture in pictures), "it moves"


def spectrum(sound: np.ndarray) -> np.ndarray:
    """f64[frames, 65] log-magnitudes."""
    return np.log(np.abs(np.fft.rfft(sound[:len(sound) // 128 * 128].reshape(-1, 128))) + 1e-3)


@pytest.mark.parametrize("kind", speech.KINDS)
def test_voices_differ_and_repeat_themselves(kind):
    if kind == "espeak-ng" and speech.available() != kind:
        pytest.skip("espeak-ng is not installed")
    low, high = speech.Voice("m1", 175, 40), speech.Voice("f3", 175, 60)
    one = speech.speak("a small red ring", "en", low, kind, 3.0)
    np.testing.assert_array_equal(one, speech.speak("a small red ring", "en", low, kind, 3.0))
    other = speech.speak("a small red ring", "en", high, kind, 3.0)
    count = min(len(one), len(other))
    assert np.corrcoef(one[:count], other[:count])[0, 1] < 0.5
    for language in ("ja", "hi"):
        assert len(speech.speak(narrated.sentence(narrated.SCENES[0], language), language, low, kind, 9.0)) > 22_050


@pytest.mark.parametrize("kind", speech.KINDS)
def test_long_sentences_are_spoken_faster_and_to_the_end(kind):
    if kind == "espeak-ng" and speech.available() != kind:
        pytest.skip("espeak-ng is not installed")
    slow = speech.Voice("m3", 165, 50)
    text = "a small purple triangle moves right on plain ground"
    whole, hurried = (speech.speak(text, "en", slow, kind, longest_s) for longest_s in (9.0, 2.2))
    assert len(whole) > 2.6 * speech.RATE_HZ and 1.7 * speech.RATE_HZ < len(hurried) <= 2.2 * speech.RATE_HZ
    # The last word is there: the end of both is alike in level, not cut in the middle of a vowel.
    assert np.abs(hurried[-100:]).max() < 0.5


def test_made_words_are_the_same_in_every_sentence_and_others_in_another_language():
    voice = speech.Voice("m3", 175, 50)

    def say(text, language="en"):
        return spectrum(speech.speak(text, language, voice, "tones", 9.0))[:60]

    red = say("red ring")
    assert np.abs(red - say("red moon")).mean() < 0.05
    assert np.abs(red - say("big ring")).mean() > 0.5 and np.abs(red - say("red ring", "hi")).mean() > 0.5


def test_every_clip_says_its_whole_sentence_between_silences():
    for index in range(4):
        _, sound = narrated.render_clip(RECIPE, index)
        assert sound.shape == (70_560,) and sound.dtype == np.float32 and 0.25 < np.abs(sound).max() < 1.0
        loud = np.flatnonzero(np.abs(sound) > 0.1 * np.abs(sound).max())
        assert loud[0] > 0.09 * 22_050 and loud[-1] < len(sound) - 0.09 * 22_050


def test_too_many_clips_and_wrong_recipes_are_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"num_clips is 3061; expected 6 to 3060"):
        narrated.narrate_folder(tmp_path, **{**FOLDER, "num_clips": 3061})
    for change, message in ((dict(language="la"), "language is 'la'"), (dict(kind="x"), "speech is 'x'"),
                            (dict(seconds=1.5), "sentences need")):
        with pytest.raises(ConfigError, match=message):
            narrated.narrate_folder(tmp_path, **{**FOLDER, **change})


def test_a_machine_without_espeak_falls_back_and_says_what_to_do_where_it_was_asked_for(monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    assert speech.available() == "tones"
    with pytest.raises(MissingInputError, match="espeak-ng is not installed: install it, or take --speech=tones"):
        speech.speak("a", "en", speech.Voice("m1", 175, 40), "espeak-ng", 3.0)


def test_the_command_renders_in_processes_and_says_what(tmp_path):
    done = subprocess.run([sys.executable, "-m", "avc_jax.data.narrated", f"--root={tmp_path}", "--language=hi", "--clips=20",
                           "--speech=tones"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "20 clips, narrated in hi by tones 1" in done.stdout and len(rows_of(tmp_path)) == 20
    assert all((tmp_path / row["path"]).is_file() for row in rows_of(tmp_path))
    wrong = subprocess.run([sys.executable, "-m", "avc_jax.data.narrated"], capture_output=True, text=True, check=False)
    assert wrong.returncode == 64 and "--root is missing" in wrong.stderr
