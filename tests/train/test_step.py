"""The step, on a system small enough to do by hand."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from avc_jax.nn.norm import BatchNorm
from avc_jax.parallel import mesh as meshes
from avc_jax.systems.base import Feature, System
from avc_jax.train import state as states
from avc_jax.train import step as steps

RATE = 0.1


def linear_system() -> System:
    """Least squares. The gradient of `extra` is not finite where `poison` is zero, though the loss is."""

    def init(rng, batch):
        return {"params": {"kernel": jnp.array([1.0, -2.0, 0.5]), "bias": jnp.array(0.25), "extra": jnp.array(1.0)},
                "stats": {"mean": jnp.zeros(3)}}

    def loss(variables, batch, rng):
        params = variables["params"]
        error = batch["x"] @ params["kernel"] + params["bias"] - batch["y"]
        total = jnp.sum(error**2)
        poison = jnp.sqrt(batch["poison"].mean() * params["extra"] ** 2)
        new = {"stats": {"mean": 0.9 * variables["stats"]["mean"] + 0.1 * batch["x"].mean(0)}}
        metrics = {"loss": (total, jnp.float32(len(error))), "noise": (jax.random.uniform(rng), jnp.ones(()))}
        return total / len(error) + poison, new, metrics

    features = {"x": Feature((3,), "float32"), "y": Feature((), "float32"), "poison": Feature((), "float32")}
    return System(features=features, init=init, loss=loss, embed=None, maps=None, transfer=None, score=None)


def batch_of(seed, rows=8):
    rng = np.random.default_rng(seed)
    return {"x": rng.normal(size=(rows, 3)).astype(np.float32), "y": rng.normal(size=rows).astype(np.float32),
            "poison": np.ones(rows, np.float32)}


def start(optimizer, ema=False):
    return states.init_state(linear_system(), optimizer, 0, ema)


def made(optimizer=None, **options):
    optimizer = optimizer or optax.sgd(RATE)
    step = steps.make_step(linear_system(), optimizer, seed=5, **options)
    return start(optimizer, options.get("ema_decay", 0) > 0), jax.jit(step)


def gradients(kernel, bias, batch):
    error = batch["x"] @ kernel + bias - batch["y"]
    return 2 * (batch["x"] * error[:, None]).mean(0), 2 * error.mean(), (error**2).sum()


def test_step_is_gradient_descent_with_metrics_as_sum_and_count():
    state, step = made()
    kernel, bias, mean = np.array([1.0, -2.0, 0.5]), 0.25, np.zeros(3)
    for number in range(3):
        batch = batch_of(number)
        of_kernel, of_bias, total = gradients(kernel, bias, batch)
        state, metrics = step(state, batch)
        np.testing.assert_allclose(metrics["loss"], (total, 8), rtol=1e-5)
        norm = np.sqrt((of_kernel**2).sum() + of_bias**2 + 1)  # `extra` has gradient 1
        np.testing.assert_allclose(metrics["gradient_norm"], (norm, 1), rtol=1e-5)
        kernel, bias, mean = kernel - RATE * of_kernel, bias - RATE * of_bias, 0.9 * mean + 0.1 * batch["x"].mean(0)
        np.testing.assert_allclose(state.params["kernel"], kernel, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(state.params["bias"], bias, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(state.collections["stats"]["mean"], mean, rtol=1e-5, atol=1e-6)
        assert int(state.step) == number + 1
    assert int(state.skipped) == 0


def test_randomness_is_that_of_seed_and_step_alone():
    state, step = made()
    noise = [float(step(state.replace(step=jnp.int32(number)), batch_of(0))[1]["noise"][0]) for number in (0, 1, 2, 1)]
    assert noise[1] == noise[3]
    assert len(set(noise)) == 3
    other = steps.make_step(linear_system(), optax.sgd(RATE), seed=6)
    assert float(other(state, batch_of(0))[1]["noise"][0]) != noise[0]


@pytest.mark.parametrize("pieces", [2, 4])
def test_accumulation_is_one_batch_for_a_loss_that_is_a_mean_over_rows(pieces):
    (state, whole), (_, split) = made(optax.adam(RATE)), made(optax.adam(RATE), accumulate=pieces)
    (one, one_metrics), (many, many_metrics) = whole(state, batch_of(0, 16)), split(state, batch_of(0, 16))
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-6), many.params, one.params)
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-6), many.opt_state, one.opt_state)
    for name in ("loss", "gradient_norm"):
        np.testing.assert_allclose(many_metrics[name], one_metrics[name], rtol=1e-5)
    assert int(many.step) == 1


def test_accumulation_passes_collections_from_piece_to_piece_and_draws_anew_for_each():
    state, step = made(accumulate=2)
    batch = batch_of(0)
    new, metrics = step(state, batch)
    mean = np.zeros(3)
    for piece in range(2):
        mean = 0.9 * mean + 0.1 * batch["x"][piece::2].mean(0)
    np.testing.assert_allclose(new.collections["stats"]["mean"], mean, rtol=1e-5)
    rng = jax.random.fold_in(jax.random.key(5), 0)
    wanted = sum(float(jax.random.uniform(jax.random.fold_in(rng, piece))) for piece in range(2))
    np.testing.assert_allclose(metrics["noise"], (wanted, 2), rtol=1e-6)


class Normalised(nn.Module):
    """A network whose rows meet in groups of four."""

    @nn.compact
    def __call__(self, x):
        x = BatchNorm(group_size=4, name="norm")(nn.Dense(5, name="dense")(x), True)
        return nn.Dense(1, name="last")(nn.relu(x))[:, 0]


def test_accumulation_is_one_batch_when_its_pieces_hold_whole_groups():
    net = Normalised()

    def loss(variables, batch, rng):
        found, new = net.apply(variables, batch["x"], mutable=["batch_stats"])
        total = jnp.sum((found - batch["y"]) ** 2)
        return total / len(found), new, {"loss": (total, jnp.float32(len(found)))}

    system = System(features={"x": Feature((3,), "float32"), "y": Feature((), "float32")},
                    init=lambda rng, batch: net.init(rng, batch["x"]), loss=loss, embed=None, maps=None, transfer=None,
                    score=None)
    optimizer = optax.sgd(RATE)
    state = states.init_state(system, optimizer, 0, False)
    rows = {name: value for name, value in batch_of(0, 16).items() if name != "poison"}
    # Piece p gets rows p, p + 2, ...: dealt out like this, each piece holds two of the four groups, in order.
    dealt = {name: np.stack([value[:8], value[8:]], axis=1).reshape(value.shape) for name, value in rows.items()}
    one, one_metrics = steps.make_step(system, optimizer, seed=0)(state, rows)
    two, two_metrics = steps.make_step(system, optimizer, seed=0, accumulate=2)(state, dealt)
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-6), two.params, one.params)
    np.testing.assert_allclose(two_metrics["loss"], one_metrics["loss"], rtol=1e-5)
    moved = jax.tree.map(lambda a, b: float(np.abs(a - b).max()), one.params, state.params)
    assert max(jax.tree.leaves(moved)) > 1e-3


def poisoned(kind):
    batch = batch_of(1)
    if kind == "loss":
        batch["x"][3, 1] = np.inf
    elif kind == "nan":
        batch["y"][0] = np.nan
    else:
        batch["poison"][:] = 0.0
    return batch


@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize("kind", ["loss", "nan", "gradient"])
def test_step_that_is_not_finite_changes_nothing_but_is_counted(kind, accumulate):
    state, step = made(optax.adam(RATE), ema_decay=0.5, accumulate=accumulate)
    state, _ = step(state, batch_of(0))
    after, metrics = step(state, poisoned(kind))
    for name in ("params", "collections", "opt_state", "ema"):
        jax.tree.map(np.testing.assert_array_equal, getattr(after, name), getattr(state, name))
    assert (int(after.step), int(after.skipped)) == (2, 1)
    for name, (total, count) in metrics.items():
        assert (float(total), float(count)) == (0.0, 0.0), name
    again, metrics = step(after, batch_of(2))
    assert (int(again.step), int(again.skipped)) == (3, 1)
    assert float(np.abs(again.params["kernel"] - after.params["kernel"]).max()) > 0
    assert float(metrics["loss"][1]) == 8


def test_moving_average_follows_its_formula():
    state, step = made(ema_decay=0.75)
    average = np.array(state.params["kernel"])
    np.testing.assert_array_equal(state.ema["kernel"], average)
    for number in range(3):
        state, _ = step(state, batch_of(number))
        average = 0.75 * average + 0.25 * np.asarray(state.params["kernel"])
        np.testing.assert_allclose(state.ema["kernel"], average, rtol=1e-6)
    assert np.abs(average - state.params["kernel"]).max() > 1e-3


def test_state_is_donated_and_stays_where_it_was():
    optimizer, mesh = optax.sgd(RATE), meshes.make_mesh(8, 1)
    state = start(optimizer)
    shardings = meshes.state_sharding(mesh, jax.eval_shape(lambda: state))
    state = jax.device_put(state, shardings)
    step = steps.jit_step(steps.make_step(linear_system(), optimizer, seed=0), mesh, shardings)
    new, _ = step(state, jax.device_put(batch_of(0), meshes.batch_sharding(mesh)))
    assert state.params["kernel"].is_deleted()
    assert jax.tree.map(lambda leaf: leaf.sharding, new) == shardings


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-5), ("bfloat16", 2e-2)])
@pytest.mark.parametrize("size", [(33, 26), (16, 17)])
def test_the_choice_of_kernels_on_a_cpu_changes_rounding_only_and_repeats_bit_for_bit(size, dtype, tolerance, stride):
    rng = np.random.default_rng(0)
    x, kernel = (jnp.asarray(rng.normal(size=shape), dtype) for shape in ((4, *size, 32), (3, 3, 32, 48)))

    def results(x, kernel):
        def loss(x, kernel):
            y = jax.lax.conv_general_dilated(x, kernel, (stride, stride), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))
            return (y.astype(jnp.float32) ** 2).mean((0, 1, 2)).sum(), y
        (_, y), grads = jax.value_and_grad(loss, (0, 1), has_aux=True)(x, kernel)
        return y, *grads

    ours = jax.jit(results, compiler_options=steps.CPU_OPTIONS)
    first, again, default = ours(x, kernel), ours(x, kernel), jax.jit(results)(x, kernel)
    for got, repeated, wanted in zip(first, again, default, strict=True):
        np.testing.assert_array_equal(got, repeated)
        wide = np.asarray(wanted, np.float32)
        # Rounding of sums over thousands of products, relative to the largest result.
        np.testing.assert_allclose(np.asarray(got, np.float32), wide, atol=tolerance * np.abs(wide).max())
