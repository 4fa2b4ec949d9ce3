"""Update rules and schedules against their closed forms."""

import jax
import numpy as np
import optax
import pytest
import tiny

from avc_jax.train import optimizer as optimizers

PARAMS = {"conv": {"kernel": np.array([[1.0, -2.0]], np.float32), "bias": np.array([3.0], np.float32)},
          "norm": {"scale": np.array([4.0], np.float32)}}
GRADS = jax.tree.map(lambda leaf: 0.1 * np.ones_like(leaf) * np.sign(leaf), PARAMS)


def config(**own):
    return tiny.config(**{f"optimizer__{name}": value for name, value in own.items()}, train__steps=100)


def updated(grads=GRADS, steps=1, **own):
    """Parameters after some steps with the same gradients."""
    optimizer, params = optimizers.make_optimizer(config(**own)), PARAMS
    state = optimizer.init(params)
    for _ in range(steps):
        updates, state = optimizer.update(grads, state, params)
        params = optax.apply_updates(params, updates)
    return params


def assert_close(found, wanted, rtol=1e-5):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=rtol), found, wanted)


def test_sgd_with_momentum():
    first = jax.tree.map(lambda p, g: p - 0.5 * g, PARAMS, GRADS)
    second = jax.tree.map(lambda p, g: p - 0.5 * 1.9 * g, first, GRADS)
    assert_close(updated(steps=2, name="sgd", lr=0.5, momentum=0.9, weight_decay=0.0), second)


def test_adam_starts_with_steps_of_the_learning_rate():
    wanted = jax.tree.map(lambda p, g: p - 2 * 0.01 * np.sign(g), PARAMS, GRADS)
    assert_close(updated(steps=2, name="adam", lr=0.01, weight_decay=0.0), wanted)


def test_l2_decay_adds_the_gradient_of_the_decayed_sum_of_squares_to_kernels_alone():
    decay, rate = 0.01, 0.5

    def penalised(params):
        return decay * (params["conv"]["kernel"] ** 2).sum()

    total = jax.tree.map(lambda g, penalty: g + penalty, GRADS, jax.grad(penalised)(PARAMS))
    wanted = jax.tree.map(lambda p, g: p - rate * g, PARAMS, total)
    assert_close(updated(name="sgd", lr=rate, momentum=0.0, weight_decay=decay, weight_decay_form="l2"), wanted)


def test_l2_decay_is_rescaled_by_adam_and_decoupled_decay_is_not():
    none = updated(grads=jax.tree.map(np.zeros_like, GRADS), lr=0.01, weight_decay=1e-3, weight_decay_form="l2")
    # Adam turns any constant gradient into a step of the learning rate.
    kernel = PARAMS["conv"]["kernel"]
    np.testing.assert_allclose(none["conv"]["kernel"], kernel - 0.01 * np.sign(kernel), rtol=1e-3)
    decoupled = updated(grads=jax.tree.map(np.zeros_like, GRADS), lr=0.01, weight_decay=0.1, weight_decay_form="decoupled")
    np.testing.assert_allclose(decoupled["conv"]["kernel"], PARAMS["conv"]["kernel"] * (1 - 0.01 * 0.1), rtol=1e-6)
    for params in (none, decoupled):
        np.testing.assert_array_equal(params["conv"]["bias"], PARAMS["conv"]["bias"])
        np.testing.assert_array_equal(params["norm"]["scale"], PARAMS["norm"]["scale"])


@pytest.mark.parametrize(("norm", "factor"), [(0.1, 0.1 / 0.2), (0.2, 1.0), (5.0, 1.0), (0.0, 1.0)])
def test_gradients_are_clipped_to_the_global_norm(norm, factor):
    # Four gradients of 0.1: norm 0.2.
    wanted = jax.tree.map(lambda p, g: p - factor * g, PARAMS, GRADS)
    assert_close(updated(name="sgd", lr=1.0, momentum=0.0, weight_decay=0.0, clip_norm=norm), wanted)


def test_weight_decay_is_not_clipped():
    found = updated(name="sgd", lr=1.0, momentum=0.0, weight_decay=0.5, clip_norm=1e-6)
    np.testing.assert_allclose(found["conv"]["kernel"], 0.0, atol=1e-5)  # W - 2 * 0.5 * W


def rates(**own):
    schedule = optimizers.make_schedule(config(**own))
    return lambda step: float(schedule(step))


def test_constant_schedule():
    rate = rates(lr=0.3)
    assert [rate(step) for step in (0, 1, 10**6)] == pytest.approx([0.3] * 3)


def test_cosine_schedule_ends_at_zero_at_the_last_step():
    rate = rates(lr=0.4, schedule="cosine")
    assert [rate(step) for step in (0, 25, 50, 100)] == pytest.approx([0.4, 0.2 * (1 + np.cos(np.pi / 4)), 0.2, 0.0], abs=1e-7)


def test_exponential_schedule_is_a_staircase():
    rate = rates(lr=1.0, schedule="exponential", decay_rate=0.94, decay_steps=16)
    assert [rate(step) for step in (0, 15, 16, 31, 32)] == pytest.approx([1, 1, 0.94, 0.94, 0.94**2], rel=1e-5)


def test_exponential_schedule_of_code_that_counts_epochs_from_1_begins_to_fall_an_epoch_early():
    rate = rates(lr=1.0, schedule="exponential", decay_rate=0.95, decay_steps=30, decay_early=10)
    assert [rate(step) for step in (0, 19, 20, 49, 50)] == pytest.approx([1, 1, 0.95, 0.95, 0.95**2], rel=1e-5)


@pytest.mark.parametrize("kind", ["constant", "cosine", "exponential"])
def test_warm_up_is_linear_from_zero_and_then_the_schedule_begins(kind):
    rate = rates(lr=0.4, schedule=kind, warmup_steps=20, decay_steps=10)
    assert [rate(step) for step in (0, 5, 10, 20)] == pytest.approx([0.0, 0.1, 0.2, 0.4])
    assert rate(100) == pytest.approx({"constant": 0.4, "cosine": 0.0, "exponential": 0.4 * 0.94**8}[kind], abs=1e-7)


def test_optimizer_follows_its_schedule():
    found = updated(steps=2, name="sgd", lr=1.0, momentum=0.0, weight_decay=0.0, warmup_steps=4)
    assert_close(found, jax.tree.map(lambda p, g: p - (0.0 + 0.25) * g, PARAMS, GRADS))
