"""The classes of the rendered clips: which drawing belongs with which sound. Their order fixes the labels."""

from __future__ import annotations

from collections.abc import Callable

from avc_jax.data.rendered import drawings, sounds

CLASSES: dict[str, tuple[Callable, Callable]] = {
    "ball": (drawings.ball, sounds.thuds),
    "bell": (drawings.bell, sounds.tolls),
    "siren": (drawings.siren, sounds.wail),
    "bird": (drawings.bird, sounds.chirps),
    "engine": (drawings.engine, sounds.rumble),
    "rain": (drawings.rain, sounds.downpour),
    "clock": (drawings.clock, sounds.ticks),
    "drum": (drawings.drum, sounds.beats),
    "flute": (drawings.flute, sounds.whistle),
    "guitar": (drawings.guitar, sounds.plucks),
    "bubbles": (drawings.bubbles, sounds.blips),
    "fire": (drawings.fire, sounds.crackle),
    "waves": (drawings.waves, sounds.surf),
    "telephone": (drawings.telephone, sounds.ring),
    "helicopter": (drawings.helicopter, sounds.chop),
    "maraca": (drawings.maraca, sounds.shakes),
}
NAMES = tuple(CLASSES)
