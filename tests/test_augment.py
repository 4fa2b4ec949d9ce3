"""Augmentation: pure in its key, within its ranges, and it changes what it says and nothing else."""

import colorsys
import functools

import jax
import numpy as np
import pytest

from avc_jax import augment

FRAMES = np.random.default_rng(0).uniform(0, 1, (64, 5, 4, 3)).astype(np.float32)
AUGMENTATIONS = {
    "flip": lambda rng: augment.flip(rng, FRAMES),
    "colour": lambda rng: augment.colour(rng, FRAMES, brightness=0.1, saturation=(0.5, 1.5)),
    "gain": lambda rng: augment.gain(rng, FRAMES.reshape(64, -1), 0.9, 1.1),
}


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_augmentation_is_pure_in_its_key_and_differs_between_keys(name):
    once, again, other = (np.asarray(AUGMENTATIONS[name](jax.random.key(seed))) for seed in (1, 1, 2))
    np.testing.assert_array_equal(once, again)
    assert (once != other).any()


def test_flip_mirrors_about_half_and_leaves_the_others_alone():
    frames = np.random.default_rng(1).uniform(size=(2000, 2, 3, 1)).astype(np.float32)
    flipped = np.asarray(augment.flip(jax.random.key(0), frames))
    mirrored = (flipped == frames[:, :, ::-1]).all((1, 2, 3))
    same = (flipped == frames).all((1, 2, 3))
    assert (mirrored ^ same).all()
    assert abs(mirrored.mean() - 0.5) < 5 * 0.5 / np.sqrt(2000)


def test_gain_is_one_factor_per_sound_within_its_range():
    sound = np.random.default_rng(2).uniform(0.1, 1, (3000, 7)).astype(np.float32)
    ratio = np.asarray(augment.gain(jax.random.key(0), sound, 0.9, 1.1)) / sound
    np.testing.assert_allclose(ratio, np.broadcast_to(ratio[:, :1], ratio.shape), rtol=1e-6)
    assert ratio.min() >= 0.9 - 1e-6
    assert ratio.max() <= 1.1 + 1e-6
    # Uniform: mean 1 and standard deviation 0.2 / sqrt(12), within five standard errors.
    assert ratio[:, 0].mean() == pytest.approx(1.0, abs=5 * 0.0577 / np.sqrt(3000))
    assert ratio[:, 0].std() == pytest.approx(0.2 / np.sqrt(12), rel=0.05)


def test_brightness_is_one_offset_per_frame_within_its_range_clipped_to_what_a_pixel_can_be():
    middle = np.full((2000, 2, 2, 3), 0.5, np.float32)
    shifted = np.asarray(augment.colour(jax.random.key(0), middle, brightness=0.125, saturation=(1.0, 1.0)))
    offset = shifted - 0.5
    np.testing.assert_allclose(offset, np.broadcast_to(offset[:, :1, :1, :1], offset.shape), atol=1e-6)
    assert -0.125 <= offset.min() < -0.12
    assert 0.12 < offset.max() <= 0.125
    assert offset.mean() == pytest.approx(0, abs=5 * 0.125 / np.sqrt(3 * 2000))
    edges = np.stack([np.zeros((500, 2, 2, 3)), np.ones((500, 2, 2, 3))]).reshape(1000, 2, 2, 3).astype(np.float32)
    clipped = np.asarray(augment.colour(jax.random.key(0), edges, brightness=0.3, saturation=(0.5, 1.5)))
    assert clipped.min() == 0.0
    assert clipped.max() == 1.0


def test_saturation_keeps_hue_and_value_and_scales_saturation_by_one_factor_per_frame():
    changed = np.asarray(augment.colour(jax.random.key(0), FRAMES, brightness=0.0, saturation=(0.5, 1.5)))
    factors = []
    for before, after in zip(FRAMES.reshape(64, -1, 3), changed.reshape(64, -1, 3), strict=True):
        old, new = (np.array([colorsys.rgb_to_hsv(*map(float, pixel)) for pixel in frame]) for frame in (before, after))
        turn = np.abs(new[:, 0] - old[:, 0])
        turn = np.minimum(turn, 1 - turn)  # hue is a circle
        assert turn[new[:, 1] > 0.05].max() < 1e-4
        np.testing.assert_allclose(new[:, 2], old[:, 2], atol=1e-6)
        free = new[:, 1] < 0.999  # saturation cannot pass 1
        ratio = new[free, 1] / old[free, 1]
        np.testing.assert_allclose(ratio, ratio[0], rtol=1e-3)
        np.testing.assert_allclose(new[~free, 1], 1.0, atol=1e-3)
        factors.append(ratio[0])
    assert 0.5 - 1e-3 <= min(factors) < 0.7
    assert 1.3 < max(factors) <= 1.5 + 1e-3


def test_grey_and_black_have_no_saturation_to_change():
    grey = np.repeat(np.linspace(0, 1, 11, dtype=np.float32), 3).reshape(1, 11, 1, 3)
    changed = augment.colour(jax.random.key(0), grey, brightness=0.0, saturation=(3.0, 3.0))
    np.testing.assert_allclose(changed, grey, atol=1e-6)


def test_order_of_brightness_and_saturation_is_drawn_per_frame():
    # A colour for which the orders differ: clipped by brightness first, not clipped after saturation.
    frame = np.broadcast_to(np.array([0.98, 0.5, 0.3], np.float32), (400, 1, 1, 3))
    made = np.asarray(augment.colour(jax.random.key(3), frame, brightness=0.4, saturation=(0.5, 0.5)))[:, 0, 0]

    def brighter(x, delta):
        return np.clip(x + delta, 0, 1)

    def paler(x):
        return x.max() - (x.max() - x) * 0.5

    first = 0
    own = np.array([0.98, 0.5, 0.3])
    deltas = np.linspace(-0.4, 0.4, 8001)
    can = {"brightness": np.array([paler(brighter(own, d)) for d in deltas]),
           "saturation": np.array([brighter(paler(own), d) for d in deltas])}
    clipped = [row for row in made if row[0] > 0.99]
    assert len(clipped) > 50
    for row in clipped:
        off = {order: np.abs(rows - row).max(1).min() for order, rows in can.items()}
        assert min(off.values()) < 2e-4
        first += off["brightness"] < off["saturation"]
    assert 0.25 < first / len(clipped) < 0.75


def test_no_strength_changes_nothing():
    same = functools.partial(np.testing.assert_allclose, atol=1e-6)
    same(augment.colour(jax.random.key(0), FRAMES, brightness=0.0, saturation=(1.0, 1.0)), FRAMES)
    same(augment.gain(jax.random.key(0), FRAMES.reshape(64, -1), 1.0, 1.0), FRAMES.reshape(64, -1))
