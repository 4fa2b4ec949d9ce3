"""ResDAVEnet: the sizes of the published networks, initial values, jitter, and what padding reaches."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from avc_jax.nn import resdavenet
from avc_jax.nn.resdavenet import ResDAVEnet

SMALL = dict(widths=(8, 8, 12, 16, 16))


def shapes(frames: int = 64, mels: int = 40, **options):
    return jax.eval_shape(lambda: ResDAVEnet(**options).init(jax.random.key(0), jnp.zeros((1, mels, frames)), False))


def count(tree) -> int:
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


@pytest.mark.parametrize(("options", "parameters"), [
    ({}, 44_670_978), (dict(widths=(128, 256, 256, 512, 1024)), 46_490_882),
    (dict(widths=(128, 128, 256, 512, 1024, 2048, 4096), depths=(2, 2, 1, 1, 1, 1)), 314_710_018)])
def test_parameters_are_as_many_as_in_the_published_networks(options, parameters):
    assert count(shapes(**options)["params"]) == parameters


@pytest.mark.parametrize(("stage", "parameters"), [(1, 607_488), (2, 2_099_712), (3, 8_393_728), (4, 33_564_672)])
def test_stages_have_as_many_parameters_as_in_the_paper(stage, parameters):
    params = shapes()["params"]
    assert sum(count(leaf) for name, leaf in params.items() if name.startswith(f"stage{stage}")) == parameters
    assert count(params["conv1"]) == 5120
    assert count(params["norm1"]) == 256
    assert count(params["unused_norm"]) == 2


@pytest.mark.parametrize(("frames", "positions"), [(640, 40), (800, 50), (1000, 63), (1001, 63), (1024, 64), (3072, 192),
                                                   (5120, 320)])
def test_each_stage_halves_the_frames_and_rounds_up(frames, positions):
    net = ResDAVEnet(**SMALL)
    found = jax.eval_shape(lambda variables: net.apply(variables, jnp.zeros((2, 40, frames)), False), shapes(frames, **SMALL))
    assert found.shape == (2, positions, 16)


@pytest.fixture(scope="module")
def initial():
    return jax.jit(lambda: ResDAVEnet(widths=(32, 32, 48, 64, 64)).init(jax.random.key(0), jnp.zeros((1, 40, 32)), False))()


def test_kernels_start_normal_by_their_outputs_and_norms_neutral(initial):
    for path, leaf in jax.tree_util.tree_leaves_with_path(initial["params"]):
        name = path[-1].key
        if name == "kernel":
            # The first convolution has 40 x 1 elements in the paper, which are channels here.
            elements = 40 if path[0].key == "conv1" else leaf.shape[0]
            wanted = np.sqrt(2 / (elements * leaf.shape[-1]))
            assert np.asarray(leaf).std() == pytest.approx(wanted, rel=0.1), path
            assert abs(np.asarray(leaf).mean()) < 0.1 * wanted, path
        else:
            assert (np.asarray(leaf) == (name == "scale")).all(), path


@pytest.mark.parametrize(("form", "middle"), [("centred", 0), ("late", 1)])
def test_shifts_have_their_probabilities_and_the_published_ones_come_one_late(form, middle):
    drawn = np.asarray(resdavenet.draw_shifts(jax.random.key(0), 100_000, (0.12, 0.12), form))
    shares = [np.mean(drawn == middle + side) for side in (-1, 0, 1)]
    np.testing.assert_allclose(shares, [0.12, 0.76, 0.12], atol=0.005)
    assert drawn.mean() == pytest.approx(middle, abs=0.01)


def test_shifted_frames_stay_within_the_sound():
    x = jnp.arange(5.0).reshape(1, 5, 1)
    np.testing.assert_array_equal(resdavenet.shifted(x, jnp.array([-1, 1, 0, -1, 1]))[0, :, 0], [0, 2, 2, 2, 4])


@pytest.fixture(scope="module")
def jittered():
    """A network with much jitter, its variables, and a function of (x, train, key)."""
    net = ResDAVEnet(**SMALL, jitter=(0.3, 0.3))
    variables = jax.jit(lambda: net.init(jax.random.key(0), jnp.zeros((2, 40, 64)), False))()
    return variables, jax.jit(lambda x, train, key: net.apply(variables, x, train, rngs={"jitter": key}, mutable=["batch_stats"]),
                              static_argnums=1)


def test_jitter_moves_frames_in_training_only(jittered):
    _, apply = jittered
    x = np.random.default_rng(0).normal(size=(2, 40, 64)).astype(np.float32)
    trained = [apply(x, True, jax.random.key(k))[0] for k in (0, 0, 1)]
    np.testing.assert_array_equal(trained[0], trained[1])
    assert np.abs(trained[0] - trained[2]).max() > 0.01
    np.testing.assert_array_equal(apply(x, False, jax.random.key(0))[0], apply(x, False, jax.random.key(1))[0])


def test_frozen_statistics_stay_and_are_used(jittered):
    variables, _ = jittered
    x = np.random.default_rng(0).normal(size=(2, 40, 64)).astype(np.float32)
    net = ResDAVEnet(**SMALL, frozen=True)
    found, new = net.apply(variables, x, True, mutable=["batch_stats"])
    np.testing.assert_array_equal(found, net.apply(variables, x, False))
    jax.tree.map(np.testing.assert_array_equal, new["batch_stats"], variables["batch_stats"])
    _, moved = ResDAVEnet(**SMALL).apply(variables, x, True, mutable=["batch_stats"])
    assert np.abs(moved["batch_stats"]["norm1"]["mean"] - variables["batch_stats"]["norm1"]["mean"]).max() > 1e-3
    assert (moved["batch_stats"]["unused_norm"]["var"] == 1).all()


def test_padding_reaches_as_far_as_the_field_of_view_says(jittered):
    variables, _ = jittered
    x = np.random.default_rng(0).normal(size=(1, 40, 2048)).astype(np.float32)
    changed = x.copy()
    changed[:, :, 1024:] = 0
    apply = jax.jit(lambda x: ResDAVEnet(**SMALL).apply(variables, x, False))
    moved = np.abs(apply(x) - apply(changed)).max((0, 2)) > 0
    # Position p is centred on frame 16 p and sees 841 frames.
    reached = 16 * np.arange(128) + 420 >= 1024
    np.testing.assert_array_equal(moved, reached)
