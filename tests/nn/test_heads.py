"""Linear layers, gated units, bags of words and pooling over time, against closed forms."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from avc_jax.nn import pool
from avc_jax.nn.gated import GatedFusion, GatedUnit
from avc_jax.nn.linear import Linear
from avc_jax.nn.words import WordPool


def count(tree) -> int:
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


def test_linear_layers_start_uniform_within_the_root_of_their_inputs():
    params = Linear(400).init(jax.random.key(0), jnp.zeros((1, 64)))["params"]
    for leaf in params.values():
        assert np.abs(leaf).max() == pytest.approx(1 / 8, rel=0.02)
        assert np.asarray(leaf).std() == pytest.approx(1 / 8 / np.sqrt(3), rel=0.06)


@pytest.mark.parametrize(("gate", "x", "wanted"), [(0.0, 3.0, 1.5), (1.0, 2.0, 1.7615942)])
def test_a_gated_unit_has_the_closed_forms_of_the_specification(gate, x, wanted):
    eye = np.eye(3, dtype=np.float32)
    params = {"linear": {"kernel": eye, "bias": np.zeros(3)}, "gate": {"kernel": gate * eye, "bias": np.zeros(3)}}
    found = GatedUnit(3).apply({"params": params}, np.full((1, 3), x, np.float32))
    np.testing.assert_allclose(found, wanted, rtol=1e-6)


@pytest.mark.parametrize(("features", "inputs", "parameters"), [
    (4096, 4096, 33_562_624), (6144, 4096, 62_926_848), (1024, 1024, 2_099_200), (6144, 6144, 75_509_760)])
def test_gated_units_have_as_many_parameters_as_in_the_paper(features, inputs, parameters):
    shapes = jax.eval_shape(lambda: GatedUnit(features).init(jax.random.key(0), jnp.zeros((1, inputs))))
    assert count(shapes) == parameters


def test_fusion_adds_two_layers_and_gates_the_sum():
    shapes = jax.eval_shape(lambda: GatedFusion(4096).init(jax.random.key(0), jnp.zeros((1, 2048)), jnp.zeros((1, 2048))))
    assert count(shapes) == 2 * 8_392_704 + 16_781_312
    rng = np.random.default_rng(0)
    params = {name: {"kernel": rng.normal(size=(inputs, 4)), "bias": rng.normal(size=4)}
              for name, inputs in (("first", 3), ("second", 2), ("gate", 4))}
    x, y = rng.normal(size=(5, 3)), rng.normal(size=(5, 2))
    z = (x @ params["first"]["kernel"] + params["first"]["bias"] + y @ params["second"]["kernel"] + params["second"]["bias"])
    wanted = z / (1 + np.exp(-(z @ params["gate"]["kernel"] + params["gate"]["bias"])))
    found = GatedFusion(4).apply({"params": jax.tree.map(jnp.float32, params)}, jnp.float32(x), jnp.float32(y))
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)


@pytest.fixture(scope="module")
def words():
    """Parameters, f32[3, 4, 5] with zeros behind 4, 2 and 0 words, and how many these are."""
    rng = np.random.default_rng(1)
    kernel, bias = rng.normal(size=(5, 6)).astype(np.float32), rng.normal(size=6).astype(np.float32)
    number = np.array([4, 2, 0])
    x = rng.normal(size=(3, 4, 5)).astype(np.float32) * (np.arange(4)[:, None] < number[:, None, None])
    return {"params": {"linear": {"kernel": kernel, "bias": bias}}}, x, number


def test_a_sentence_is_the_largest_of_each_unit_over_its_words(words):
    variables, x, number = words
    units = np.maximum(x @ variables["params"]["linear"]["kernel"] + variables["params"]["linear"]["bias"], 0)
    masked, counted = WordPool(6).apply(variables, x, number), WordPool(6).apply(variables, x)
    np.testing.assert_allclose(counted, units.max(1), rtol=1e-5)
    np.testing.assert_allclose(masked[0], units[0].max(0), rtol=1e-5)
    np.testing.assert_allclose(masked[1], units[1, :2].max(0), rtol=1e-5)
    np.testing.assert_array_equal(masked[2], 0)
    # What the published code does: the bias competes with the words.
    np.testing.assert_allclose(counted[2], np.maximum(variables["params"]["linear"]["bias"], 0), rtol=1e-6)
    assert np.abs(np.asarray(masked - counted)[1]).max() > 0.01


def test_every_unit_of_a_sentence_has_its_gradient_at_one_word(words):
    variables, x, number = words
    grad = jax.grad(lambda x: WordPool(6).apply(variables, x, number)[1].sum())(jnp.asarray(x))
    assert (np.asarray(grad)[[0, 2]] == 0).all()
    assert (np.asarray(grad)[1, 2:] == 0).all()
    assert (np.asarray(grad)[1, :2] != 0).any()


def test_positions_are_those_without_padding_and_at_least_one():
    np.testing.assert_array_equal(pool.valid_positions(jnp.array([640, 401, 160, 9, 0]), 640, 40), [40, 25, 10, 1, 1])
    assert pool.valid_positions(jnp.array([1000]), 1000, 63)[0] == 62


def test_means_over_time_are_over_what_is_there():
    x = np.random.default_rng(2).normal(size=(2, 6, 3)).astype(np.float32)
    found = pool.mean_over_time(x, jnp.array([2, 6]))
    np.testing.assert_allclose(found, [x[0, :2].mean(0), x[1].mean(0)], rtol=1e-5)
    np.testing.assert_allclose(pool.mean_over_time(x), x.mean(1), rtol=1e-5)
