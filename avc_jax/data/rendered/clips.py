"""One rendered clip: what is in it, its pixels and samples, and its mp4 file.

A clip is a function of (recipe, index). Its picture and its sound draw from two independent generators, so
that the class is all that they have in common.
"""

from __future__ import annotations

import dataclasses
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from avc_jax.data.rendered.classes import CLASSES, NAMES
from avc_jax.data.rendered.picture import (
    PictureNuisance,
    draw_picture_nuisance,
    render_picture,
)
from avc_jax.data.rendered.sounds import (
    SoundNuisance,
    draw_sound_nuisance,
    render_sound,
)
from avc_jax.errors import ConfigError

# Raise it whenever the clips of a recipe change: old folders are then refused, not mixed with new clips.
VERSION = 1
# One of this many rounds of all classes is held out: a test share of 12.5 %.
TEST_EVERY = 8
_ORDER, _PICTURE, _SOUND = 0, 1, 2  # the streams of a seed


@dataclasses.dataclass(frozen=True)
class Recipe:
    """What fixes every clip of a folder, up to how many there are.

    Attributes:
      seed: not negative.
      size: (width, height) in pixels, both even and at least 32.
      seconds: length of picture and sound.
      fps: frames per second.
      rate_hz: samples per second of the mono sound, one of those AAC knows.
    """

    seed: int
    size: tuple[int, int]
    seconds: float
    fps: float
    rate_hz: int

    def check(self) -> None:
        """Raises ConfigError where a clip could not be made from this."""
        if self.seed < 0:
            raise ConfigError(f"seed is {self.seed}; rendered clips need a seed of 0 or more")
        if min(self.size) < 32 or any(side % 2 for side in self.size):
            raise ConfigError(f"size is {self.size}; they need an even width and height of at least 32")
        if self.rate_hz not in (16_000, 22_050, 24_000, 32_000, 44_100, 48_000):
            raise ConfigError(f"rate_hz is {self.rate_hz}; use 16000, 22050, 24000, 32000, 44100 or 48000")
        if self.seconds < 1.0 or self.fps < 1.0:
            raise ConfigError(f"seconds is {self.seconds} and fps {self.fps}; both must be at least 1")


def label_of(recipe: Recipe, index: int) -> str:
    """The class of a clip. Each round of `len(NAMES)` clips has every class once, shuffled."""
    around, place = divmod(index, len(NAMES))
    order = np.random.default_rng([recipe.seed, _ORDER, around]).permutation(len(NAMES))
    return NAMES[order[place]]


def split_of(index: int) -> str:
    """The split of a clip: whole rounds of all classes are train or test."""
    return "test" if (index // len(NAMES)) % TEST_EVERY == 1 else "train"


def nuisance_of(recipe: Recipe, index: int) -> tuple[PictureNuisance, SoundNuisance]:
    """What varies in a clip besides its class."""
    return (draw_picture_nuisance(np.random.default_rng([recipe.seed, _PICTURE, index])),
            draw_sound_nuisance(np.random.default_rng([recipe.seed, _SOUND, index])))


def render_clip(recipe: Recipe, index: int) -> tuple[np.ndarray, np.ndarray]:
    """Renders one clip.

    Returns:
      frames [T, H, W, 3] uint8 RGB with T = seconds * fps, and sound [N] float32 with N = seconds * rate_hz.
    """
    draw, synthesise = CLASSES[label_of(recipe, index)]
    picture, sound = nuisance_of(recipe, index)
    frames = render_picture(draw, picture, size=recipe.size, num_frames=round(recipe.seconds * recipe.fps),
                            fps=recipe.fps)
    return frames, render_sound(synthesise, sound, num_samples=round(recipe.seconds * recipe.rate_hz),
                                rate=recipe.rate_hz)


def write_clip(path: Path, frames: np.ndarray, sound: np.ndarray, recipe: Recipe) -> None:
    """Encodes a clip as H.264 and AAC in an mp4 file."""
    with av.open(str(path), "w", format="mp4") as container:
        video = container.add_stream("libx264", rate=Fraction(recipe.fps).limit_denominator(1001))
        video.width, video.height = recipe.size
        video.pix_fmt = "yuv420p"
        video.thread_count = 1  # the pool of processes already fills the cores
        # Short groups of pictures keep it cheap to start decoding anywhere.
        video.options = {"preset": "ultrafast", "crf": "20", "g": "12"}
        audio = container.add_stream("aac", rate=recipe.rate_hz, layout="mono")
        audio.bit_rate = 64_000
        audio.options = {"aac_coder": "fast"}  # the default one takes longer than all the rest of a clip
        for image in frames:
            container.mux(video.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(video.encode())
        block = av.AudioFrame.from_ndarray(sound[None], format="fltp", layout="mono")
        block.sample_rate, block.pts = recipe.rate_hz, 0
        container.mux(audio.encode(block))
        container.mux(audio.encode())


def is_whole(path: Path, recipe: Recipe) -> bool:
    """Whether a file opens as a clip of this recipe; reads the header only."""
    try:
        with av.open(str(path)) as container:
            if not (container.streams.video and container.streams.audio):
                return False
            video, audio = container.streams.video[0], container.streams.audio[0]
            return (video.frames == round(recipe.seconds * recipe.fps) and audio.rate == recipe.rate_hz
                    and (video.width, video.height) == tuple(recipe.size))
    except (av.FFmpegError, OSError):
        return False
