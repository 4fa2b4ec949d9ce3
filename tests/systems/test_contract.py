"""The contract of base.System, for every system that is found."""

import jax
import jax.numpy as jnp
import pytest

from avc_jax import config as configs
from avc_jax import errors, systems
from avc_jax.systems import base

ROWS = 4


def test_systems_are_found_and_the_contract_is_not_one_of_them():
    assert "l3net" in systems.names()
    assert "base" not in systems.names()
    assert systems.names() == sorted(systems.names())


@pytest.fixture(scope="module", params=systems.names())
def made(request):
    """(system, shapes of variables, shapes of a batch) at its default size; nothing is computed."""
    system = systems.make(configs.default(request.param))
    batch = {name: jax.ShapeDtypeStruct((ROWS, *feature.shape), feature.dtype) for name, feature in system.features.items()}
    return system, jax.eval_shape(jax.jit(system.init), jax.random.key(0), batch), batch


def shapes(tree):
    return jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), tree)


def test_features_have_shape_dtype_and_unit(made):
    system, _, _ = made
    for name, feature in system.features.items():
        assert jnp.dtype(feature.dtype), name
        assert all(size > 0 for size in feature.shape), name


def test_init_gives_float32_parameters_whatever_the_batch(made):
    system, variables, batch = made
    assert {leaf.dtype for leaf in jax.tree.leaves(variables["params"])} == {jnp.dtype("float32")}
    one = {name: jax.ShapeDtypeStruct((1, *leaf.shape[1:]), leaf.dtype) for name, leaf in batch.items()}
    assert shapes(jax.eval_shape(system.init, jax.random.key(0), one)) == shapes(variables)


def test_loss_is_a_scalar_with_new_collections_and_metrics_as_sum_and_count(made):
    system, variables, batch = made
    loss, new, metrics = jax.eval_shape(jax.jit(system.loss), variables, batch, jax.random.key(0))
    assert (loss.shape, loss.dtype) == ((), jnp.float32)
    assert shapes(dict(new)) == shapes({name: value for name, value in variables.items() if name != "params"})
    assert "loss" in metrics
    for name, (total, count) in metrics.items():
        assert shapes((total, count)) == (((), jnp.float32),) * 2, name


def test_embed_gives_one_float32_row_per_example_and_modality(made):
    system, variables, batch = made
    embedded = jax.eval_shape(jax.jit(system.embed), variables, batch)
    assert {"video", "audio"} <= set(embedded)
    for leaf in embedded.values():
        assert leaf.ndim == 2
        assert leaf.shape[0] == ROWS
        assert leaf.dtype == jnp.float32


def test_score_is_one_float32_per_example(made):
    system, variables, batch = made
    if system.score is None:
        pytest.skip("does not say")
    score = jax.eval_shape(jax.jit(system.score), variables, batch)
    assert (score.shape, score.dtype) == ((ROWS,), jnp.float32)


def test_a_half_has_its_own_inputs_and_variables_and_embeds_alone(made):
    system, variables, batch = made
    modalities = {feature.modality for feature in system.features.values()} - {""}
    whole = {jax.tree_util.keystr(path) for path, _ in jax.tree_util.tree_leaves_with_path(dict(variables))}
    for modality in modalities:
        half = base.without(system, modalities - {modality})
        inputs = {name: batch[name] for name, feature in half.features.items() if feature.modality}
        own = base.shapes_of(half)
        for answer in (half.embed, half.transfer, half.maps):
            assert answer is None or set(jax.eval_shape(answer, own, inputs)) == {modality}
        paths = {jax.tree_util.keystr(path) for path, _ in jax.tree_util.tree_leaves_with_path(own)}
        assert paths < whole
        assert (half.score is None) == (system.score is None)
        for refused in filter(None, (half.score, half.loss)):
            with pytest.raises(errors.ConfigError, match="can be neither trained nor scored"):
                refused(own, batch, jax.random.key(0))


def test_a_system_without_nothing_is_itself(made):
    assert base.without(made[0], ()) is made[0]


def test_directions_are_between_what_it_embeds(made):
    system, variables, batch = made
    embedded = set(jax.eval_shape(system.embed, variables, batch))
    assert {name for direction in system.directions for name in direction} <= embedded
    assert all(query != item for query, item in system.directions)


def test_maps_have_a_cell_for_every_place_and_places_lie_in_the_space(made):
    system, variables, batch = made
    if system.maps is not None:
        for leaf in jax.eval_shape(system.maps, variables, batch).values():
            assert (leaf.ndim, leaf.shape[0], leaf.dtype) == (4, ROWS, jnp.float32)
    if system.places is not None:
        size = jax.eval_shape(system.embed, variables, batch)["audio"].shape[1]
        places = jax.eval_shape(system.places, variables, batch)
        assert (places.ndim, places.shape[0], places.shape[3]) == (4, ROWS, size)
