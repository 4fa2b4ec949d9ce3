"""The drawings of the classes: functions of a `Pen`, each a moving thing that any single frame shows whole.

A drawing may use the pen's coordinates, phase, colours and generator, nothing else.
"""

from __future__ import annotations

import numpy as np

from avc_jax.data.rendered.picture import (
    Pen,
    bar,
    box,
    disc,
    oval,
    turned,
    union_of,
    wedge,
)

TAU = np.float32(2.0 * np.pi)


def ball(pen: Pen) -> None:
    """A beach ball that bounces and turns above its shadow."""
    height = np.abs(np.sin(np.pi * pen.t))
    squash = 1.0 - 0.22 * np.clip(1.0 - 4.0 * height, 0.0, 1.0)
    pen.fill(oval(pen.x, pen.y, 0.0, -0.86, 0.62 - 0.2 * height, 0.11), pen.ink, line=False, opacity=0.5)
    x, y = pen.x, (pen.y + 0.28 - 0.58 * height) / squash
    outline = disc(x, y, 0.0, 0.0, 0.56)
    pen.fill(outline, pen.body)
    angle = np.arctan2(y, x) + 0.8 * TAU * pen.t
    stripes = np.sin(3.0 * angle) * np.sqrt(x * x + y * y) / 3.0
    pen.fill(np.maximum(stripes, outline), pen.accent, line=False)
    pen.fill(disc(x, y, 0.0, 0.0, 0.1), pen.pale)


def bell(pen: Pen) -> None:
    """A bell that swings about its top, with its clapper behind."""
    swing = 0.42 * np.sin(TAU * pen.t)
    x, y = turned(pen.x, pen.y, swing, 0.0, 0.8)
    cx, cy = turned(pen.x, pen.y, 1.35 * swing, 0.0, 0.8)
    pen.fill(disc(cx, cy, 0.0, -0.68, 0.17), pen.accent)
    pen.fill(disc(x, y, 0.0, 0.82, 0.13), pen.accent)
    depth = np.clip((0.74 - y) / 1.3, 0.0, 1.0)
    half = 0.40 * np.sqrt(np.clip(3.5 * depth, 0.0, 1.0)) + 0.36 * depth**3
    body = union_of([(np.abs(x) - half) * 0.85, y - 0.74, -0.56 - y], np.maximum)
    pen.fill(body, pen.body)
    pen.fill(np.maximum(body, np.abs(y + 0.38) - 0.07), pen.accent, line=False)


def siren(pen: Pen) -> None:
    """A beacon on its base with two opposite beams that go round."""
    angle = np.arctan2(pen.y + 0.05, pen.x) - 0.6 * TAU * pen.t
    beams = np.maximum((0.82 - np.abs(np.cos(angle))) * 0.8, disc(pen.x, pen.y, 0.0, -0.05, 0.98))
    pen.fill(beams, pen.accent)
    dome = union_of([disc(pen.x, pen.y, 0.0, 0.0, 0.4), box(pen.x, pen.y, 0.0, -0.25, 0.4, 0.28)])
    pen.fill(dome, pen.body)
    pen.fill(bar(pen.x, pen.y, -0.16, -0.2, -0.16, 0.05, 0.07), pen.pale, line=False)
    pen.fill(box(pen.x, pen.y, 0.0, -0.66, 0.6, 0.17, 0.05), pen.shade)


def bird(pen: Pen) -> None:
    """A bird in flight, seen from the side, its wing beating."""
    x, y = pen.x, pen.y - 0.08 * np.sin(TAU * pen.t)
    pen.fill(wedge(x, y, ((-0.95, 0.3), (-0.95, -0.2), (-0.3, -0.05), (-0.35, 0.12))), pen.shade)
    pen.fill(wedge(x, y, ((0.7, 0.08), (1.0, 0.2), (0.7, 0.36))), pen.accent)
    pen.fill(union_of([oval(x, y, 0.0, -0.05, 0.6, 0.34), disc(x, y, 0.54, 0.2, 0.27)]), pen.body)
    pen.fill(disc(x, y, 0.62, 0.27, 0.065), pen.ink, line=False)
    beat = 0.9 * np.sin(2.0 * TAU * pen.t) - 0.2
    wx, wy = turned(x, y, beat, 0.08, 0.08)
    wing = np.maximum(oval(wx, wy, -0.12, 0.45, 0.27, 0.55), -0.02 - wy)
    pen.fill(wing, pen.accent)


def _gear(pen: Pen, cx: float, cy: float, radius: float, teeth: int, turn, colour) -> None:
    """A toothed wheel with four spokes at (cx, cy), turned by `turn` radians."""
    x, y = turned(pen.x - cx, pen.y - cy, turn)
    r = np.sqrt(x * x + y * y)
    # Teeth have steep flanks, where the plain difference of radii overstates the distance.
    rim = 0.6 * (r - radius - 0.085 * np.clip(2.0 * np.sin(teeth * np.arctan2(y, x)), -1.0, 1.0))
    pen.fill(rim, colour)
    spokes = np.minimum(np.abs(x), np.abs(y)) - 0.13 * radius
    hole = union_of([r - 0.68 * radius, 0.25 * radius - r, -spokes], np.maximum)
    pen.fill(hole, pen.ink, line=False)


def engine(pen: Pen) -> None:
    """Two toothed wheels that turn each other."""
    turn = 0.35 * TAU * pen.t
    _gear(pen, -0.27, -0.2, 0.56, 12, turn, pen.body)
    _gear(pen, 0.52, 0.47, 0.32, 7, -turn * (12.0 / 7.0), pen.accent)


def rain(pen: Pen) -> None:
    """A cloud with rain falling from it."""
    x = pen.x + 0.25 * pen.y
    column = np.floor(x / 0.34)
    offset = np.mod(np.sin(column * 12.9898 + pen.rng.uniform(0.0, 6.0)) * 43.7, 1.0)
    fall = np.mod(pen.y + 1.1 * pen.t + 0.6 * offset, 0.6) - 0.3
    drops = bar(x - (column + 0.5) * 0.34, fall, 0.0, -0.11, 0.0, 0.11, 0.06)
    drops = union_of([drops, pen.y - 0.1, -1.0 - pen.y, np.abs(pen.x) - 0.85], np.maximum)
    pen.fill(drops, pen.accent)
    drift = 0.05 * np.sin(TAU * 0.7 * pen.t)
    puffs = ((-0.55, 0.28, 0.3), (-0.15, 0.52, 0.38), (0.35, 0.45, 0.33), (0.66, 0.25, 0.25))
    discs = [disc(pen.x, pen.y, drift + cx, cy, r) for cx, cy, r in puffs]
    pen.fill(union_of([*discs, box(pen.x, pen.y, drift + 0.03, 0.12, 0.8, 0.13, 0.12)]), pen.body)


def clock(pen: Pen) -> None:
    """A wall clock with a pointed roof, its pendulum swinging below."""
    px, py = turned(pen.x, pen.y, 0.5 * np.sin(TAU * pen.t), 0.0, 0.1)
    pen.fill(bar(px, py, 0.0, 0.1, 0.0, -0.7, 0.035), pen.ink, line=False)
    pen.fill(disc(px, py, 0.0, -0.74, 0.19), pen.accent)
    pen.fill(box(pen.x, pen.y, 0.0, 0.14, 0.52, 0.47, 0.04), pen.body)
    pen.fill(wedge(pen.x, pen.y, ((-0.74, 0.52), (0.74, 0.52), (0.0, 1.0))), pen.shade)
    pen.fill(disc(pen.x, pen.y, 0.0, 0.12, 0.38), (0.97, 0.95, 0.9))
    dark = (0.1, 0.1, 0.14)
    for length, speed in ((0.3, 0.5), (0.2, 0.07)):
        hx, hy = turned(pen.x, pen.y, -speed * TAU * pen.t, 0.0, 0.12)
        pen.fill(bar(hx, hy, 0.0, 0.12, 0.0, 0.12 + length, 0.03), dark, line=False)


def drum(pen: Pen) -> None:
    """A drum with a zigzag band and two sticks that strike in turn."""
    x, y = pen.x, pen.y
    pen.fill(np.minimum(box(x, y, 0.0, -0.32, 0.72, 0.36), oval(x, y, 0.0, -0.66, 0.72, 0.2)), pen.body)
    zigzag = np.abs(np.mod(x / 0.48 + 0.5, 1.0) - 0.5) * 0.8 - 0.6
    band = np.maximum(np.abs(y + 0.1 - zigzag + 0.15 * np.sqrt(np.clip(1.0 - x * x, 0.0, 1.0))) - 0.06,
                      np.abs(x) - 0.68)
    pen.fill(band, pen.accent, line=False)
    pen.fill(oval(x, y, 0.0, 0.06, 0.72, 0.2), pen.pale)
    for side in (-1.0, 1.0):
        lift = 0.5 * np.clip(np.sin(TAU * pen.t) * side, 0.0, 1.0)
        sx, sy = turned(x, y, side * lift, 0.85 * side, 0.62)
        pen.fill(bar(sx, sy, 0.9 * side, 0.72, 0.25 * side, 0.16, 0.05), pen.accent)
        pen.fill(disc(sx, sy, 0.25 * side, 0.16, 0.09), pen.accent)


def flute(pen: Pen) -> None:
    """A slanted flute that sways, with two notes rising from it."""
    x, y = turned(pen.x, pen.y, 0.5 + 0.1 * np.sin(TAU * pen.t))
    tube = bar(x, y, -0.9, -0.3, 0.9, -0.3, 0.15)
    pen.fill(tube, pen.body)
    pen.fill(np.maximum(tube, np.abs(x + 0.62) - 0.08), pen.accent, line=False)
    holes = np.where(np.abs(x - 0.2) < 0.625, np.mod(x + 0.425, 0.25) - 0.125, 1.0)
    pen.fill(disc(holes, y, 0.0, -0.3, 0.065), pen.ink, line=False)
    for k, cx in enumerate((-0.45, 0.2)):
        rise = np.mod(0.4 * pen.t + 0.5 * k, 1.0)
        nx, ny = pen.x - cx, pen.y - 0.12 - 0.3 * rise
        note = union_of([oval(nx, ny, -0.09, 0.0, 0.15, 0.11), bar(nx, ny, 0.03, 0.02, 0.03, 0.42, 0.035),
                         bar(nx, ny, 0.03, 0.42, 0.2, 0.28, 0.04)])
        pen.fill(note, pen.accent)


def guitar(pen: Pen) -> None:
    """A guitar, its strings vibrating."""
    x, y = turned(pen.x, pen.y, 0.7)
    pen.fill(box(x, y, 0.4, 0.0, 0.52, 0.085), pen.shade)
    pen.fill(box(x, y, 0.9, 0.0, 0.13, 0.15, 0.03), pen.accent)
    body = union_of([disc(x, y, -0.5, 0.0, 0.48), disc(x, y, 0.02, 0.0, 0.34),
                     box(x, y, -0.2, 0.0, 0.2, 0.31)])
    pen.fill(body, pen.body)
    pen.fill(disc(x, y, -0.12, 0.0, 0.17), pen.ink, line=False)
    pen.fill(box(x, y, -0.68, 0.0, 0.06, 0.2), pen.shade)
    wave = np.cos(np.float32(np.pi / 1.55) * (x - 0.1)) * np.sin(2.3 * TAU * pen.t)
    for k in (-1.0, 0.0, 1.0):
        gap = np.maximum(np.abs(y - 0.06 * k - 0.035 * wave * (-1.0) ** k), np.abs(x - 0.1) - 0.76)
        pen.fill(gap - 0.012, pen.pale, line=False)


def bubbles(pen: Pen) -> None:
    """A swarm of round bubbles of many sizes, rising in columns."""
    seed = pen.rng.uniform(0.0, 6.0)
    column = np.floor(pen.x / 0.48 + 0.5)
    height = pen.y - 0.5 * pen.t + 0.31 * column * column + 0.13 * column
    row = np.floor(height / 0.6)
    size = np.mod(np.sin(column * 12.9 + row * 78.2 + seed) * 43.7, 1.0)
    radius = 0.13 + 0.08 * size
    x, y = pen.x - 0.48 * column - 0.08 * (0.5 - size), height - 0.6 * (row + 0.5)
    swarm = disc(x, y, 0.0, 0.0, radius)
    # Only whole bubbles within the swarm: those of cells too far from the centre are left out.
    far = np.hypot(pen.x - x, pen.y - y) > 1.0
    swarm[far] = 1.0
    pen.fill(swarm, pen.pale, line=False, opacity=0.4)
    pen.stroke(swarm, 0.08, pen.body)
    glint = disc(x, y, -0.35 * radius, 0.35 * radius, 0.3 * radius)
    pen.fill(np.maximum(glint, swarm), pen.accent, line=False)


def _flame(pen: Pen, width: float, height: float, beat: float):
    """Distance to one tongue of fire that stands on y = -0.55, the tip swaying."""
    up = np.clip((pen.y + 0.62) / height, 0.0, 1.0)
    sway = 0.22 * up * up * np.sin(TAU * (beat * pen.t - 0.8 * up))
    half = width * np.sqrt(np.clip(5.0 * up, 0.0, 1.0)) * (1.0 - up) ** 0.8
    sides = (np.abs(pen.x - sway) - half) * 0.75
    return np.maximum(sides, np.abs(pen.y + 0.62 - 0.5 * height) - 0.5 * height)


def fire(pen: Pen) -> None:
    """A flame on two crossed logs."""
    pen.fill(_flame(pen, 0.72, 1.56, 1.3), pen.body)
    pen.fill(_flame(pen, 0.4, 1.0, 1.7), pen.accent, line=False)
    pen.fill(_flame(pen, 0.2, 0.55, 2.1), pen.pale, line=False)
    for side in (-1.0, 1.0):
        pen.fill(bar(pen.x, pen.y, -0.75 * side, -0.84, 0.75 * side, -0.56, 0.11), pen.shade)


def waves(pen: Pen) -> None:
    """Three rows of crested waves that roll past each other."""
    for k, (base, colour) in enumerate(((0.3, pen.pale), (-0.12, pen.accent), (-0.54, pen.body))):
        along = pen.x * (1.15 + 0.1 * k) + (-1.0) ** k * 0.35 * pen.t + 0.4 * k
        crest = base + 0.34 * (1.0 - np.abs(np.sin(np.pi * along))) - 0.1
        pen.fill((pen.y - crest) * 0.75, colour)


def telephone(pen: Pen) -> None:
    """A telephone with a dial, its receiver jumping."""
    x, y = pen.x, pen.y
    pen.fill(wedge(x, y, ((-0.85, -0.75), (0.85, -0.75), (0.48, 0.22), (-0.48, 0.22))), pen.body)
    pen.fill(disc(x, y, 0.0, -0.3, 0.36), pen.pale)
    dx, dy = turned(x, y, 0.25 * np.sin(TAU * pen.t), 0.0, -0.3)
    spoke = np.arctan2(dy + 0.3, dx)
    r = np.sqrt(dx * dx + np.square(dy + 0.3))
    around = r * (np.mod(spoke, TAU / 8.0) - TAU / 16.0)
    pen.fill(np.sqrt(np.square(r - 0.23) + np.square(around)) - 0.065, pen.ink, line=False)
    hop = 0.07 * np.abs(np.sin(2.0 * TAU * pen.t))
    hx, hy = turned(x, y - hop, 0.16 * np.sin(2.0 * TAU * pen.t), 0.0, 0.5)
    receiver = union_of([bar(hx, hy, -0.6, 0.52, 0.6, 0.52, 0.15), box(hx, hy, -0.7, 0.4, 0.22, 0.25, 0.1),
                         box(hx, hy, 0.7, 0.4, 0.22, 0.25, 0.1)])
    pen.fill(receiver, pen.accent)


def helicopter(pen: Pen) -> None:
    """A helicopter, both of its rotors turning."""
    x, y = pen.x, pen.y - 0.05 * np.sin(TAU * pen.t)
    pen.fill(bar(x, y, 0.0, 0.0, -0.85, 0.12, 0.075), pen.shade)
    tx, ty = turned(x, y, 1.3 * TAU * pen.t, -0.86, 0.16)
    blades = [bar(tx, ty, -0.86, -0.08, -0.86, 0.4, 0.045), bar(tx, ty, -1.1, 0.16, -0.62, 0.16, 0.045)]
    pen.fill(union_of(blades), pen.accent, line=False)
    pen.fill(bar(x, y, 0.22, 0.2, 0.22, 0.56, 0.05), pen.ink, line=False)
    skids = [bar(x, y, -0.25, -0.68, 0.75, -0.68, 0.045), bar(x, y, 0.02, -0.68, 0.08, -0.2, 0.035),
             bar(x, y, 0.46, -0.68, 0.4, -0.2, 0.035)]
    pen.fill(union_of(skids), pen.ink, line=False)
    cabin = oval(x, y, 0.25, -0.12, 0.56, 0.38)
    pen.fill(cabin, pen.body)
    pen.fill(np.maximum(cabin + 0.05, 0.34 - x), pen.pale)
    reach = 0.35 + 0.5 * np.abs(np.cos(1.7 * TAU * pen.t))
    pen.fill(box(x, y, 0.22, 0.6, reach, 0.075, 0.05), pen.accent)


def maraca(pen: Pen) -> None:
    """A maraca that is shaken."""
    x, y = turned(pen.x, pen.y, -0.75 + 0.3 * np.sin(1.5 * TAU * pen.t), 0.0, -0.4)
    pen.fill(bar(x, y, 0.0, -0.95, 0.0, 0.1, 0.105), pen.accent)
    head = oval(x, y, 0.0, 0.38, 0.46, 0.56)
    pen.fill(head, pen.body)
    for cy in (0.14, 0.6):
        pen.fill(np.maximum(head + 0.01, np.abs(y - cy) - 0.075), pen.accent, line=False)
    dots = np.sqrt(np.square(np.mod(x + 0.12, 0.24) - 0.12) + np.square(y - 0.37)) - 0.07
    pen.fill(np.maximum(head + 0.03, dots), pen.ink, line=False)
