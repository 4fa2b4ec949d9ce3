"""The picture of a rendered clip: its nuisance, its background, and the pen that the drawings are made with.

Shapes are signed distance functions: arrays of the distance to a shape's edge, negative inside. All frames of
a clip are drawn at once, so every array here is [T, H, W] float32 (T frames of H by W pixels) or broadcasts
to it. Nothing in this module knows the class of the clip or anything about its sound.
"""

from __future__ import annotations

import colorsys
import dataclasses
import math
from collections.abc import Callable, Iterable

import numpy as np

Array = np.ndarray
Number = float | np.ndarray  # one for all frames, or [T, 1, 1], or [T, H, W]
Colour = tuple[float, float, float]

TEXTURES = ("plain", "stripes", "checks", "dots", "clouds")
DISTRACTORS = ("none", "disc", "square", "triangle", "ring", "cross")


@dataclasses.dataclass(frozen=True)
class PictureNuisance:
    """All that varies between the pictures of one class. Lengths are in units of the frame's short side."""

    centre: tuple[float, float]
    radius: float  # the object fits in a disc of this radius
    tilt: float  # radians
    flip: bool
    tempo: float  # cycles of the motion per second
    phase: float  # cycles, where the motion starts
    shake: float  # amplitude of the camera's movement
    brightness: float
    body: Colour
    accent: Colour
    ink: Colour
    sky: Colour  # background, one end of its gradient
    earth: Colour  # the other end
    gradient_angle: float
    texture: str
    texture_strength: float
    texture_scale: float
    distractor: str
    distractor_centre: tuple[float, float]
    distractor_radius: float
    distractor_colour: Colour
    detail_seed: int  # where drops, bubbles and the like lie


def _hsv(hue: float, saturation: float, value: float) -> Colour:
    return colorsys.hsv_to_rgb(hue % 1.0, saturation, value)


def draw_picture_nuisance(rng: np.random.Generator) -> PictureNuisance:
    """Draws the nuisance of one picture; no argument tells the class, so none of it can."""
    u = rng.uniform
    dark = rng.random() < 0.5  # a dark ground with light ink, or the other way round
    hue, ground_hue = u(), u()
    ground_saturation = u(0.15, 0.6)
    low, high = (0.12, 0.40) if dark else (0.72, 0.97)
    return PictureNuisance(
        centre=(u(-0.07, 0.07), u(-0.07, 0.07)), radius=u(0.38, 0.48), tilt=u(-0.16, 0.16),
        flip=bool(rng.random() < 0.5), tempo=u(0.9, 1.9), phase=u(), shake=u(0.0, 0.012),
        brightness=u(0.85, 1.05),
        body=_hsv(hue, u(0.55, 0.9), u(0.8, 1.0)),
        accent=_hsv(hue + u(0.25, 0.75), u(0.35, 0.85), u(0.8, 1.0)),
        ink=_hsv(u(), 0.12, 0.97) if dark else _hsv(u(), 0.5, 0.18),
        sky=_hsv(ground_hue, ground_saturation, u(low, high)),
        earth=_hsv(ground_hue + u(-0.12, 0.12), ground_saturation, u(low, high)),
        gradient_angle=u(0.0, 2.0 * np.pi), texture=str(rng.choice(TEXTURES)), texture_strength=u(0.02, 0.09),
        texture_scale=u(0.12, 0.3), distractor=str(rng.choice(DISTRACTORS)),
        distractor_centre=(u(-0.45, 0.45), u(-0.45, 0.45)), distractor_radius=u(0.07, 0.14),
        distractor_colour=_hsv(u(), u(0.3, 0.9), u(0.3, 1.0)), detail_seed=int(rng.integers(2**31)))


def disc(x: Array, y: Array, cx: Number, cy: Number, radius: Number) -> Array:
    """Distance to a disc."""
    return np.sqrt(np.square(x - cx) + np.square(y - cy)) - radius


def oval(x: Array, y: Array, cx: Number, cy: Number, rx: Number, ry: Number) -> Array:
    """Distance to an axis-aligned ellipse, to first order near its edge."""
    u, v = (x - cx) / rx, (y - cy) / ry
    reach = np.sqrt(u * u + v * v)
    slope = np.sqrt(np.square(u / rx) + np.square(v / ry))
    return reach * (reach - 1.0) / (slope + np.float32(1e-6))


def box(x: Array, y: Array, cx: Number, cy: Number, half_w: Number, half_h: Number,
        corner: float = 0.0) -> Array:
    """Distance to a box with rounded corners (inside: the Chebyshev distance)."""
    dx = np.abs(x - cx) - (half_w - corner)
    dy = np.abs(y - cy) - (half_h - corner)
    outside = np.sqrt(np.square(np.maximum(dx, 0.0)) + np.square(np.maximum(dy, 0.0)))
    return outside + np.minimum(np.maximum(dx, dy), 0.0) - corner


def bar(x: Array, y: Array, ax: Number, ay: Number, bx: Number, by: Number, radius: Number) -> Array:
    """Distance to a rod with round ends from (ax, ay) to (bx, by)."""
    px, py, qx, qy = x - ax, y - ay, bx - ax, by - ay
    along = np.clip((px * qx + py * qy) / (qx * qx + qy * qy), 0.0, 1.0)
    return np.sqrt(np.square(px - qx * along) + np.square(py - qy * along)) - radius


def wedge(x: Array, y: Array, points: tuple[tuple[float, float], ...]) -> Array:
    """Distance to a convex polygon (its lines' largest distance); points run anticlockwise, y up."""
    edges = []
    for (ax, ay), (bx, by) in zip(points, points[1:] + points[:1], strict=True):
        length = math.hypot(bx - ax, by - ay)
        edges.append(((x - ax) * (by - ay) - (y - ay) * (bx - ax)) / length)
    return union_of(edges, np.maximum)


def union_of(distances: Iterable[Array], merge: np.ufunc = np.minimum) -> Array:
    """Merges the distances of several shapes (their union; with `merge=np.maximum` their intersection)."""
    distances = list(distances)
    merged = distances[0]
    for distance in distances[1:]:
        merged = merge(merged, distance)
    return merged


def turned(x: Array, y: Array, angle: Number, cx: Number = 0.0, cy: Number = 0.0) -> tuple[Array, Array]:
    """Coordinates in a frame turned anticlockwise by `angle` radians about (cx, cy), the origin kept."""
    c, s = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    if np.ndim(angle):
        c, s = np.cos(angle, dtype=np.float32), np.sin(angle, dtype=np.float32)
    dx, dy = x - cx, y - cy
    return c * dx + s * dy + cx, c * dy - s * dx + cy


class Pen:
    """Draws shapes on all frames of a clip in the object's own coordinates.

    Attributes:
      x, y: [T, H, W], the object's coordinates, x right and y up; the object fits in the unit disc.
      t: [T, 1, 1], the phase of the motion in cycles.
      rng: generator for the details of this clip (where drops lie), of the picture's own stream.
      body, accent, ink: colours; `pale` and `shade` are the body's lighter and darker tones.
    """

    def __init__(self, planes: list[Array], x: Array, y: Array, t: Array, pixel: float,
                 nuisance: PictureNuisance):
        self.planes, self.x, self.y, self.t = planes, x, y, t
        self._pixel = pixel  # one pixel in the object's units
        self.rng = np.random.default_rng(nuisance.detail_seed)
        self.body, self.accent, self.ink = nuisance.body, nuisance.accent, nuisance.ink
        red, green, blue = self.body
        self.pale = (0.45 * red + 0.55, 0.45 * green + 0.55, 0.45 * blue + 0.55)
        self.shade = (0.6 * red, 0.6 * green, 0.6 * blue)

    def fill(self, distance: Array, colour: Colour, *, line: bool = True, opacity: float = 1.0) -> None:
        """Fills a shape, with an ink line of about 1.5 pixels around it unless `line` is false."""
        scaled = distance * np.float32(1.0 / self._pixel)
        inner = np.clip(0.5 - scaled, 0.0, 1.0)
        if not line:
            inner *= np.float32(opacity)
            for plane, level in zip(self.planes, colour, strict=True):
                plane += inner * (np.float32(level) - plane)
            return
        outer = np.clip(2.0 - scaled, 0.0, 1.0)
        for plane, level, ink in zip(self.planes, colour, self.ink, strict=True):
            target = inner * np.float32(level - ink)
            target += np.float32(ink)
            target -= plane
            target *= outer
            plane += target

    def stroke(self, distance: Array, width: float, colour: Colour) -> None:
        """Draws the edge of a shape as a line of `width` object units."""
        self.fill(np.abs(distance) - 0.5 * width, colour, line=False)


def _texture(x: Array, y: Array, nuisance: PictureNuisance) -> Array:
    """The texture of the background, values within [-1, 1]."""
    k = np.float32(2.0 * np.pi / nuisance.texture_scale)
    u, v = turned(x, y, nuisance.gradient_angle + 0.6)
    if nuisance.texture == "stripes":
        return np.sin(k * u)
    if nuisance.texture == "checks":
        return np.clip(4.0 * np.sin(k * u) * np.sin(k * v), -1.0, 1.0)
    if nuisance.texture == "dots":
        return np.clip(5.0 * (np.cos(k * u) + np.cos(k * v) - 1.0), -1.0, 1.0)
    if nuisance.texture == "clouds":
        return (np.sin(0.7 * k * u + np.sin(0.4 * k * v)) + np.sin(0.5 * k * v + np.sin(0.8 * k * u))) * 0.5
    return np.zeros_like(u)


def _distractor(x: Array, y: Array, nuisance: PictureNuisance) -> Array | None:
    """The shape that belongs to no class, in the units of the frame."""
    (cx, cy), r = nuisance.distractor_centre, nuisance.distractor_radius
    x, y = turned(x - cx, y - cy, nuisance.gradient_angle)
    if nuisance.distractor == "disc":
        return disc(x, y, 0.0, 0.0, r)
    if nuisance.distractor == "square":
        return box(x, y, 0.0, 0.0, r, r)
    if nuisance.distractor == "triangle":
        return wedge(x, y, ((-r, -0.8 * r), (r, -0.8 * r), (0.0, r)))
    if nuisance.distractor == "ring":
        return np.abs(disc(x, y, 0.0, 0.0, 0.8 * r)) - 0.2 * r
    if nuisance.distractor == "cross":
        return np.minimum(box(x, y, 0.0, 0.0, r, 0.3 * r), box(x, y, 0.0, 0.0, 0.3 * r, r))
    return None


def render_picture(draw: Callable[[Pen], None], nuisance: PictureNuisance, *, size: tuple[int, int],
                   num_frames: int, fps: float) -> Array:
    """Draws all frames of a clip.

    Args:
      draw: a function of a `Pen`, one of those in `drawings`.
      nuisance: what varies within the class.
      size: (width, height) in pixels.
      num_frames: T.
      fps: frames per second.

    Returns:
      [T, H, W, 3] uint8, RGB.
    """
    width, height = size
    short = min(size)
    seconds = (np.arange(num_frames, dtype=np.float32) / np.float32(fps))[:, None, None]
    wobble = 2.0 * np.pi * (nuisance.phase + seconds * np.array([0.7, 0.9], np.float32)[:, None, None, None])
    shake = (nuisance.shake * np.sin(wobble)).astype(np.float32)
    x = ((np.arange(width, dtype=np.float32) + 0.5 - 0.5 * width) / short)[None, None, :] + shake[0]
    y = ((0.5 * height - np.arange(height, dtype=np.float32) - 0.5) / short)[None, :, None] + shake[1]
    x, y = np.broadcast_to(x, (num_frames, height, width)), np.broadcast_to(y, (num_frames, height, width))

    # The background is drawn once for all frames: the camera's shake shows in the object, and time is saved.
    ramp = np.clip(turned(x[0], y[0], nuisance.gradient_angle)[0] + 0.5, 0.0, 1.0)
    grain = nuisance.texture_strength * _texture(x[0], y[0], nuisance)
    odd = _distractor(x[0], y[0], nuisance)
    cover = 0.0 if odd is None else 0.8 * np.clip(0.5 - odd * short, 0.0, 1.0)
    planes = []
    for sky, earth, level in zip(nuisance.sky, nuisance.earth, nuisance.distractor_colour, strict=True):
        ground = sky + ramp * (earth - sky) + grain
        ground = ground + cover * (level - ground)
        planes.append(np.repeat(ground[None].astype(np.float32), num_frames, axis=0))

    scale = np.float32(1.0 / nuisance.radius)
    own_x = (x - nuisance.centre[0]) * (-scale if nuisance.flip else scale)
    own_y = (y - nuisance.centre[1]) * scale
    own_x, own_y = turned(own_x, own_y, nuisance.tilt)
    pen = Pen(planes, own_x, own_y, nuisance.phase + seconds * np.float32(nuisance.tempo),
              float(scale) / short, nuisance)
    draw(pen)

    frames = np.empty((num_frames, height, width, 3), np.uint8)
    for channel, plane in enumerate(planes):
        frames[..., channel] = np.clip(plane * np.float32(255.0 * nuisance.brightness), 0.0, 255.0)
    return frames
