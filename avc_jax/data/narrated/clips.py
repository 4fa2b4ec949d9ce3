"""One narrated clip, and folders of them. A clip is a function of (recipe, index)."""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path

import numpy as np

from avc_jax.data.narrated import speech
from avc_jax.data.narrated.languages import LANGUAGES, sentence
from avc_jax.data.narrated.scenes import TEST_SCENES, TRAIN_SCENES, Scene, render_scene
from avc_jax.data.rendered import clips as rendered
from avc_jax.data.rendered.folder import clip_path, fill_folder
from avc_jax.errors import ConfigError

# Raise it whenever the clips of a recipe change: old folders are then refused, not mixed with new clips.
VERSION = 1
TEST_EVERY = 6  # one clip of so many is of a scene that is held out
_ORDER, _PICTURE, _VOICE = 0, 1, 2  # the streams of a seed
_MARGIN_S = 0.1  # of silence before and after the sentence, at least


@dataclasses.dataclass(frozen=True)
class Recipe(rendered.Recipe):
    """What fixes every clip of a folder, up to how many there are.

    Attributes:
      language: a key of LANGUAGES.
      speech: espeak-ng or tones.
    """

    language: str
    speech: str

    def check(self) -> None:
        """Raises ConfigError where a clip could not be made from this."""
        super().check()
        if self.language not in LANGUAGES:
            raise ConfigError(f"language is {self.language!r}; use one of {', '.join(LANGUAGES)}")
        if self.speech not in speech.KINDS:
            raise ConfigError(f"speech is {self.speech!r}; use one of {', '.join(speech.KINDS)}")
        if self.seconds < 2.0:
            raise ConfigError(f"seconds is {self.seconds}; the sentences need at least 2")
        if self.rate_hz != speech.RATE_HZ:
            raise ConfigError(f"rate_hz is {self.rate_hz}; voices speak at {speech.RATE_HZ}")


def split_of(index: int) -> str:
    """The split of a clip."""
    return "test" if index % TEST_EVERY == 1 else "train"


def scene_of(recipe: Recipe, index: int) -> Scene:
    """What a clip shows: scenes of its split in a random order, all of them before any comes again."""
    scenes = TEST_SCENES if split_of(index) == "test" else TRAIN_SCENES
    tests = (index + TEST_EVERY - 2) // TEST_EVERY  # clips of test before this one
    around, place = divmod(tests if split_of(index) == "test" else index - tests, len(scenes))
    return scenes[_order(recipe.seed, split_of(index), around, len(scenes))[place]]


@functools.lru_cache(maxsize=16)
def _order(seed: int, split: str, around: int, count: int) -> np.ndarray:
    return np.random.default_rng([seed, _ORDER, around, split == "test"]).permutation(count)


def render_clip(recipe: Recipe, index: int) -> tuple[np.ndarray, np.ndarray]:
    """Renders one clip.

    Returns:
      frames [T, H, W, 3] uint8 RGB with T = seconds * fps, and sound [N] float32 with N = seconds * rate_hz.
    """
    scene = scene_of(recipe, index)
    frames = render_scene(scene, np.random.default_rng([recipe.seed, _PICTURE, index]), size=recipe.size,
                          num_frames=round(recipe.seconds * recipe.fps), fps=recipe.fps)
    return frames, _narrate(recipe, sentence(scene, recipe.language), np.random.default_rng([recipe.seed, _VOICE, index]))


def _narrate(recipe: Recipe, text: str, rng: np.random.Generator) -> np.ndarray:
    """f32[N]: the sentence, somewhere in the clip, over faint noise."""
    spoken = speech.speak(text, recipe.language, speech.draw_voice(rng), recipe.speech, recipe.seconds - 2 * _MARGIN_S)
    count, margin = round(recipe.seconds * recipe.rate_hz), int(_MARGIN_S * recipe.rate_hz)
    sound = rng.standard_normal(count) * 10.0 ** (rng.uniform(-60.0, -40.0) / 20.0)
    start = int(rng.integers(margin, count - margin - len(spoken) + 1))
    sound[start:start + len(spoken)] += spoken
    return (sound * rng.uniform(0.3, 0.9)).astype(np.float32)


def narrate_folder(root: str | Path, *, language: str, num_clips: int, seed: int = 0, kind: str = "",
                   size: tuple[int, int] = (64, 64), seconds: float = 3.2, fps: float = 12.5,
                   workers: int | None = None) -> Recipe:
    """Renders `num_clips` clips and their `manifest.csv` (path,split,label,caption) into `root`.

    Whole files of the same recipe are kept, so the call is idempotent, resumes after an interruption, and extends a folder when
    `num_clips` grows. One call at a time per folder.

    Args:
      root: folder, made where it does not exist.
      language: a key of LANGUAGES.
      num_clips: at most one for each scene of a split, so that no two captions of a split are the same.
      seed: with the clip's index fixes everything in a clip.
      kind: of speech, espeak-ng or tones; empty: the first of them that this machine has.
      size: (width, height) in pixels, even.
      seconds: length of each clip.
      fps: frames per second.
      workers: processes; all cores that this process may use if None; 0 renders in this process.

    Raises:
      ConfigError: bad arguments, or a folder that holds clips of another recipe.
      MissingInputError: kind is espeak-ng, which is not installed.
      CannotWriteError: the folder cannot be written.
    """
    recipe = Recipe(seed=int(seed), size=(int(size[0]), int(size[1])), seconds=float(seconds), fps=float(fps),
                    rate_hz=speech.RATE_HZ, language=language, speech=kind or speech.available())
    recipe.check()
    most = min(len(TEST_SCENES), len(TRAIN_SCENES) // (TEST_EVERY - 1)) * TEST_EVERY
    if not TEST_EVERY <= num_clips <= most:
        raise ConfigError(f"num_clips is {num_clips}; expected {TEST_EVERY} to {most}, so that no scene comes twice")
    scenes = [scene_of(recipe, i) for i in range(num_clips)]
    rows = [(clip_path(i), split_of(i), scene.label, sentence(scene, language)) for i, scene in enumerate(scenes)]
    fill_folder(Path(root), recipe, render_clip, {"version": VERSION, "speech_version": speech.version(recipe.speech)},
                [("path", "split", "label", "caption"), *rows], workers)
    return recipe
