"""What a narrated clip shows: the scenes, which of them are held out, and how they are drawn."""

from __future__ import annotations

import colorsys
import dataclasses
import functools
import hashlib
import itertools
from collections.abc import Callable

import numpy as np

from avc_jax.data.rendered.picture import (
    Array,
    Pen,
    PictureNuisance,
    box,
    disc,
    draw_picture_nuisance,
    render_picture,
    turned,
    union_of,
    wedge,
)

# Hue, saturation, value.
COLOURS = {
    "red": (0.0, 0.95, 0.9), "orange": (0.075, 1.0, 1.0), "yellow": (0.16, 0.95, 1.0), "green": (0.36, 0.9, 0.65),
    "blue": (0.62, 0.9, 0.95), "purple": (0.8, 0.75, 0.7), "white": (0.0, 0.0, 1.0), "black": (0.0, 0.0, 0.04),
}
SIZES = {"small": 0.34, "big": 0.62}  # the shape's radius in halves of the frame's short side
MOTIONS = ("left", "right", "up", "down", "blinking", "growing")
GROUNDS = ("plain", "stripes", "checks", "dots")
_TEST_SHARE = 6  # one scene of so many is held out


def _square(x: Array, y: Array) -> Array:
    return box(x, y, 0.0, 0.0, 0.85, 0.85)


def _triangle(x: Array, y: Array) -> Array:
    return wedge(x, y, ((-0.98, -0.75), (0.98, -0.75), (0.0, 1.0)))


def _star(x: Array, y: Array) -> Array:
    turns = np.mod(np.arctan2(x, y) * np.float32(5.0 / (2.0 * np.pi)) + 0.5, 1.0) - 0.5  # 0 where a point is
    return 0.6 * (np.sqrt(x * x + y * y) - (1.0 - 1.25 * np.abs(turns)))


def _ring(x: Array, y: Array) -> Array:
    return np.abs(disc(x, y, 0.0, 0.0, 0.76)) - 0.22


def _cross(x: Array, y: Array) -> Array:
    return np.minimum(box(x, y, 0.0, 0.0, 0.97, 0.28), box(x, y, 0.0, 0.0, 0.28, 0.97))


def _heart(x: Array, y: Array) -> Array:
    point = wedge(x, y, ((-0.87, 0.16), (0.0, -0.98), (0.87, 0.16)))
    return union_of([disc(x, y, -0.44, 0.36, 0.49), disc(x, y, 0.44, 0.36, 0.49), point])


def _moon(x: Array, y: Array) -> Array:
    return np.maximum(disc(x, y, 0.0, 0.0, 0.97), -disc(x, y, 0.48, 0.18, 0.76))


SHAPES: dict[str, Callable[[Array, Array], Array]] = {
    "circle": lambda x, y: disc(x, y, 0.0, 0.0, 0.95), "square": _square, "triangle": _triangle, "star": _star, "ring": _ring,
    "cross": _cross, "heart": _heart, "moon": _moon,
}


@dataclasses.dataclass(frozen=True)
class Scene:
    """What the voice speaks of: keys of COLOURS, SHAPES and SIZES, and one of MOTIONS and of GROUNDS."""

    colour: str
    shape: str
    size: str
    motion: str
    ground: str

    @property
    def label(self) -> str:
        """The class of a clip that shows it."""
        return f"{self.colour} {self.shape}"


def _is_held_out(scene: Scene) -> bool:
    """By a hash of the scene: neither seed nor language changes the split."""
    return hashlib.sha256(repr(dataclasses.astuple(scene)).encode()).digest()[0] % _TEST_SHARE == 0


SCENES = tuple(Scene(*choice) for choice in itertools.product(COLOURS, SHAPES, SIZES, MOTIONS, GROUNDS))
TEST_SCENES = tuple(scene for scene in SCENES if _is_held_out(scene))
TRAIN_SCENES = tuple(scene for scene in SCENES if not _is_held_out(scene))


def render_scene(scene: Scene, rng: np.random.Generator, *, size: tuple[int, int], num_frames: int, fps: float) -> np.ndarray:
    """Draws a scene; what it leaves open comes from `rng`.

    Returns:
      [T, H, W, 3] uint8, RGB.
    """
    nuisance = _draw_nuisance(scene, rng, num_frames / fps)
    draw = functools.partial(
        _draw, scene=scene, start=rng.uniform(0.4, 0.6), across=rng.uniform(-0.2, 0.2), jitter=rng.uniform(-0.2, 0.2, 2),
        radius=SIZES[scene.size] * rng.uniform(0.92, 1.08), blinks=rng.uniform(3.0, 5.0), tilt=rng.uniform(-0.12, 0.12))
    return render_picture(draw, nuisance, size=size, num_frames=num_frames, fps=fps)


def _draw_nuisance(scene: Scene, rng: np.random.Generator, seconds: float) -> PictureNuisance:
    """What varies between the pictures of a scene; one cycle of the pen is the whole clip."""
    hue, saturation, value = COLOURS[scene.colour]
    body = colorsys.hsv_to_rgb((hue + rng.uniform(-0.015, 0.015)) % 1.0, saturation * rng.uniform(0.95, 1.0),
                               min(1.0, value * rng.uniform(0.95, 1.05)))
    ground, tint = rng.uniform(0.46, 0.54), rng.uniform()
    return dataclasses.replace(
        draw_picture_nuisance(rng), centre=(0.0, 0.0), radius=0.5, tilt=0.0, flip=False, tempo=1.0 / seconds, phase=0.0,
        body=body, sky=colorsys.hsv_to_rgb(tint, 0.03, ground), earth=colorsys.hsv_to_rgb(tint, 0.03, ground - 0.03),
        texture=scene.ground, texture_strength=rng.uniform(0.13, 0.17), texture_scale=rng.uniform(0.18, 0.22), distractor="none")


def _draw(pen: Pen, *, scene: Scene, start: float, across: float, jitter: np.ndarray, radius: float, blinks: float,
          tilt: float) -> None:
    """Draws the shape on its way; positions are in halves of the frame's short side."""
    forward = start * (2.0 * pen.t - 1.0)
    ways = {"left": (-forward, across), "right": (forward, across), "up": (across, forward), "down": (across, -forward)}
    x, y = ways.get(scene.motion, tuple(jitter))
    if scene.motion == "growing":
        radius = radius * (0.45 + 1.1 * pen.t)
    own_x, own_y = turned((pen.x - x) / radius, (pen.y - y) / radius, tilt)
    distance = SHAPES[scene.shape](own_x, own_y) * radius
    if scene.motion == "blinking":
        distance = np.where(np.mod(blinks * pen.t, 1.0) < 0.55, distance, 9.0)
    pen.fill(distance, pen.body, line=False)
