"""A run starts from a checkpoint as asked, to the bit, or not at all."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from avc_jax import config as configs
from avc_jax import errors, model, systems
from avc_jax.systems import base
from avc_jax.systems.base import Feature, Objective
from avc_jax.train import initial, patterns
from avc_jax.train import optimizer as optimizers
from avc_jax.train import state as states
from avc_jax.train import step as steps
from avc_jax.train.checkpoint import Checkpoints

RATE = 1e-3
STEP = 40


def state_of(config, seed, step=0):
    """A random state of a config's network, with moments that are not zero."""
    variables = tiny.variables(systems.make(config), seed)
    params = variables.pop("params")
    opt_state = jax.tree.map(lambda leaf: np.full_like(leaf, seed if leaf.dtype == np.float32 else step),
                             optimizers.make_optimizer(config).init(params))
    ema = jax.tree.map(lambda leaf: 2 * leaf, params) if config.train.ema_decay else None
    return states.State(jnp.int32(step), params, variables, opt_state, ema, jnp.int32(0))


def write_run(folder, config, seed=1):
    """A work directory with a checkpoint of a random network at step 40; returns its state."""
    state = jax.tree.map(jnp.asarray, state_of(config, seed, STEP))
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(configs.to_dict(config)))
    checkpoints = Checkpoints(folder)
    checkpoints.finish(state)
    checkpoints.close()
    return state


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """(folder, state) of a run with averaged parameters."""
    folder = tmp_path_factory.mktemp("source") / "run"
    return folder, write_run(folder, tiny.config(train__ema_decay=0.9))


def started(folder, seed=2, **changes):
    """(config, state, facts) of a run that starts from a folder."""
    config = tiny.config(train__init_from=str(folder), optimizer__lr=RATE, optimizer__weight_decay=0.0, **changes)
    return config, *initial.start(config, state_of(config, seed))


def by_name(tree):
    return {patterns.name_of(path): np.asarray(leaf) for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}


def assert_same(found, wanted):
    found, wanted = by_name(found), by_name(wanted)
    assert found.keys() == wanted.keys()
    for name in wanted:
        np.testing.assert_array_equal(found[name], wanted[name], err_msg=name)


# Whole --------------------------------------------------------------------------------------------------------------------


def test_without_a_step_the_embeddings_are_those_of_the_checkpoint(source):
    folder, _ = source
    net = model.load(folder)
    config, state, facts = started(folder)
    batch = tiny.batch(net.system, 4)
    embed = jax.jit(systems.make(config).embed)
    wanted, found = embed(net.variables, batch), embed(states.inference_variables(state), batch)
    assert sorted(found) == ["audio", "video"]
    for modality in found:
        assert np.abs(found[modality]).max() > 0
        np.testing.assert_array_equal(found[modality], wanted[modality])
    assert (facts["checkpoint"], facts["step"], facts["new"]) == (str(folder), STEP, [])
    assert facts["params_sha256"] == states.params_sha256(net.variables["params"])


def test_a_fresh_start_takes_what_evaluation_uses_and_nothing_of_the_optimizer(source):
    folder, then = source
    config, state, _ = started(folder, train__ema_decay=0.5)
    assert_same(state.params, then.ema)
    assert_same(state.ema, then.ema)
    assert_same(state.collections, then.collections)
    assert_same(state.opt_state, state_of(config, 2).opt_state)
    assert int(state.step) == 0


def test_kept_moments_are_those_of_the_last_parameters_and_the_schedule_starts_anew(source):
    folder, then = source
    _, state, _ = started(folder, init__optimizer="kept", init__reinit="fusion/*", optimizer__clip_norm=1.0)
    before, after = by_name(then.params), by_name(state.params)
    rule = next(part for part in state.opt_state if hasattr(part, "mu"))
    assert int(rule.count) == STEP
    for name, value in by_name(rule.mu).items():
        assert (value == (2 if name.startswith("fusion/") else 1)).all(), name
        if not name.startswith("fusion/"):
            np.testing.assert_array_equal(after[name], before[name])
    assert int(state.opt_state[-1].count) == 0


def test_a_model_folder_will_do_and_has_no_moments(source, tmp_path):
    net = model.load(source[0])
    model.save(tmp_path / "folder", net)
    _, state, facts = started(tmp_path / "folder")
    assert_same(state.params, net.variables["params"])
    assert facts["step"] == STEP
    with pytest.raises(errors.ConfigError, match=r"'kept', but .* is not the workdir of a run"):
        started(tmp_path / "folder", init__optimizer="kept")


def test_moments_of_another_rule_are_refused(source):
    with pytest.raises(errors.ConfigError, match=r"trained with config.optimizer.name=adam, this run with sgd"):
        started(source[0], init__optimizer="kept", optimizer__name="sgd")


def test_nothing_there_is_missing_input(tmp_path):
    with pytest.raises(errors.MissingInputError, match=r"--config.train.init_from=.*nowhere"):
        started(tmp_path / "nowhere")


# Parts --------------------------------------------------------------------------------------------------------------------


def test_patterns_say_what_is_loaded_and_what_starts_anew(source):
    folder, then = source
    config, state, facts = started(folder, init__load="audio/*, vision/*", init__reinit="*/block4/*")
    own, loaded = state_of(config, 2), 0
    for now, anew, old in ((state.params, own.params, then.ema), (state.collections, own.collections, then.collections)):
        now, anew, old = by_name(now), by_name(anew), by_name(old)
        for name, value in now.items():
            taken = "fusion/" not in name and "/block4/" not in name
            loaded += taken
            np.testing.assert_array_equal(value, (old if taken else anew)[name], err_msg=name)
    assert facts["loaded"] == loaded and facts["missing"] == facts["unexpected"] == facts["other_shape"] == []
    assert {name.split("/")[0] for name in facts["new"]} == {"audio", "vision", "fusion"}


def test_what_does_not_fit_is_refused_with_its_names_and_what_differs(source):
    folder, then = source
    with pytest.raises(errors.ConfigError) as caught:
        started(folder, system__head="ave")
    message = str(caught.value)
    assert "config.system.head: checkpoint 'l3', here 'ave'" in message
    assert "missing in the checkpoint: fusion/" in message and "config.init.allow_partial" in message
    _, state, facts = started(folder, system__head="ave", init__allow_partial=True)
    found, wanted = by_name(state.params), by_name(then.ema)
    np.testing.assert_array_equal(found["audio/block1/conv1/kernel"], wanted["audio/block1/conv1/kernel"])
    assert facts["missing"] and all(name.startswith("fusion/") for name in facts["missing"])
    assert not set(facts["missing"]) & wanted.keys()
    assert set(facts["unexpected"]) == wanted.keys() - found.keys()


def test_other_shapes_are_named_with_both(source):
    folder, _ = source
    with pytest.raises(errors.ConfigError, match=r"of another shape: .*\(checkpoint \[\d+, \d+\], here \[\d+, 64\]\)"):
        started(folder, system__embedding=64, init__load="fusion/*")
    _, _, facts = started(folder, system__embedding=64, init__reinit="fusion/*")
    assert facts["other_shape"] == []


@pytest.mark.parametrize(("growth", "then"), [(1.0, 1.5), (1.5, 1.0), (1.5, 1.5)])
def test_a_schedule_starts_anew_whether_or_not_the_checkpoint_had_one(growth, then):
    def stage(growth, value):
        config = tiny.changed(configs.default("avlnet"), dict(system__trunk_width=1 / 64, system__embedding=4,
                                                              system__video_width=4, system__margin_growth=growth))
        shapes = base.shapes_of(systems.make(config))
        assert ("schedule" in shapes) == (growth > 1)
        return config, jax.tree.map(lambda leaf: np.full(leaf.shape, value, leaf.dtype), shapes)

    (config, variables), (before, learned) = stage(growth, 0), stage(then, 7)
    found, result = initial.fit(config, variables, initial.Origin("before", before, STEP, learned))
    assert found.keys() == variables.keys()
    for collection, tree in found.items():
        assert {float(leaf.max()) for leaf in jax.tree.leaves(tree)} == {0.0 if collection == "schedule" else 7.0}
    assert (result.new, result.missing, result.unexpected) == ([], [], [])


def test_a_checkpoint_of_another_variant_or_system_is_named(source, monkeypatch, tmp_path):
    write_run(tmp_path / "variant", tiny.config(system__variant="openl3", system__conv_bias=True))
    with pytest.raises(errors.ConfigError, match=r"network:\n  config.system.variant: checkpoint 'openl3', here 'paper'"):
        started(tmp_path / "variant")
    origin = initial.read_origin(tiny.config(train__init_from=str(source[0])))
    origin.config.system.name = "another"
    monkeypatch.setattr(initial, "read_origin", lambda config: origin)
    with pytest.raises(errors.ConfigError, match=r"config.system.name: checkpoint 'another', here 'l3net'"):
        started(source[0])
    assert started(source[0], init__load="audio/*")[2]["system"] == "another"


def test_what_a_checkpoint_of_one_half_lacks_starts_anew_unless_it_is_named(source, tmp_path):
    net = model.load(source[0])
    half = dataclasses.replace(net, system=base.without(net.system, ("audio",)), missing_modalities=("audio",),
                               variables={name: {"vision": tree["vision"]} for name, tree in net.variables.items()})
    model.save(tmp_path / "half", half)
    config, state, facts = started(tmp_path / "half")
    own, found = by_name(state_of(config, 2).params), by_name(state.params)
    taken = {name for name in found if name.startswith("vision/")}
    for name, value in found.items():
        wanted = by_name(net.variables["params"]) if name in taken else own
        np.testing.assert_array_equal(value, wanted[name], err_msg=name)
    assert set(found) - taken <= set(facts["new"]) and not taken & set(facts["new"]) and facts["missing"] == []
    assert "  it has no audio half, which starts anew" in initial.in_words(facts)
    with pytest.raises(errors.ConfigError, match=r"(?s)missing in the checkpoint: audio/.*the checkpoint has no audio half"):
        started(tmp_path / "half", init__load="audio/*,vision/*")
    assert started(tmp_path / "half", init__load="vision/*")[2]["loaded"] == facts["loaded"]


def test_a_start_from_nothing_is_an_error_even_where_parts_will_do(source):
    with pytest.raises(errors.ConfigError, match="none of its variables fits"):
        started(source[0], system__embedding=64, init__load="fusion/fc1/*", init__allow_partial=True)


@pytest.mark.parametrize(("key", "pattern", "hint"), [
    ("freeze", "audoi/*", r"Did you mean audio/\*\?"),
    ("load", "audio/*,vision/blok4/*", r"Did you mean vision/block4/\*\?"),
    ("reinit", "xyz", r"Its parts are audio/\*, fusion/\*, vision/\*"),
])
def test_a_pattern_that_means_nothing_names_the_nearest(key, pattern, hint):
    config = tiny.config(**{f"init__{key}": pattern, "train__init_from": "somewhere"})
    with pytest.raises(errors.ConfigError, match=rf"config.init.{key}: found .*{hint}"):
        initial.check_patterns(config, tiny.variables(systems.make(config)))


# Training -----------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def trained(source):
    """(config, state before, state after one step) with the sound's half frozen."""
    config, before, _ = started(source[0], init__freeze="audio/*", train__ema_decay=0.9)
    before = before.replace(opt_state=optimizers.make_optimizer(config).init(before.params))
    system, optimizer = systems.make(config), optimizers.make_optimizer(config)
    step = jax.jit(steps.make_step(optimizers.freeze(system, config), optimizer, seed=0, ema_decay=0.9))
    after, _ = step(jax.tree.map(jnp.asarray, before), tiny.batch(system, 8))
    return config, before, after


def test_the_first_step_of_a_fresh_adam_is_the_learning_rate(trained):
    _, before, after = trained
    moved = np.concatenate([np.abs(now - then).ravel() for now, then in
                            zip(jax.tree.leaves(after.params["vision"]), jax.tree.leaves(before.params["vision"]), strict=True)])
    assert 0.9 * RATE < np.median(moved) < 1.1 * RATE
    assert moved.max() < 1.1 * RATE


def test_what_is_frozen_stays_to_the_bit_and_has_no_moments(trained):
    _, before, after = trained
    for name in ("params", "collections", "ema"):
        now, then = by_name(getattr(after, name)), by_name(getattr(before, name))
        held = [key for key in now if "audio/" in key]
        assert held
        for key in held:
            np.testing.assert_array_equal(now[key], then[key], err_msg=key)
        assert any((now[key] != then[key]).any() for key in now if "vision/" in key)
    moments = [key for key in by_name(after.opt_state) if "/mu/" in key or "/nu/" in key]
    assert not any("/audio/" in key for key in moments) and any("/vision/" in key for key in moments)


def linear(variables, batch, rng):
    """Least squares with a statistic for each of two parts."""
    total = sum((variables["params"][part]["kernel"] * batch["x"]).sum() for part in "ab")
    return total, {"stats": {part: {"mean": leaf["mean"] + 1} for part, leaf in variables["stats"].items()}}, {}


@pytest.mark.parametrize("statistics", [True, False])
def test_statistics_of_frozen_parts_stay_if_the_config_says_so(statistics):
    config = tiny.config(init__freeze="a/*", init__freeze_statistics=statistics)
    objective = optimizers.freeze(Objective({"x": Feature((3,), "float32")}, None, linear), config)
    variables = {name: {part: {leaf: jnp.full(3, value)} for part in "ab"}
                 for name, leaf, value in (("params", "kernel", 1.0), ("stats", "mean", 0.0))}

    def loss(params):
        return objective.loss({**variables, "params": params}, {"x": jnp.arange(6.0).reshape(2, 3)}, None)[0]

    gradients = jax.grad(loss)(variables["params"])
    assert gradients["a"]["kernel"].tolist() == [0, 0, 0] and gradients["b"]["kernel"].tolist() == [3, 5, 7]
    _, new, _ = objective.loss(variables, {"x": jnp.ones((2, 3))}, None)
    assert new["stats"]["a"]["mean"].tolist() == [0.0 if statistics else 1.0] * 3
    assert new["stats"]["b"]["mean"].tolist() == [1, 1, 1]


@pytest.mark.parametrize("form", ["l2", "decoupled"])
def test_decay_leaves_the_frozen_alone_whatever_their_gradients(form):
    config = tiny.config(init__freeze="a/*", optimizer__weight_decay=0.1, optimizer__weight_decay_form=form,
                         optimizer__clip_norm=1.0)
    params = {part: {"kernel": jnp.ones(3)} for part in "ab"}
    optimizer = optimizers.make_optimizer(config)
    updates, _ = optimizer.update(jax.tree.map(lambda leaf: 9 * leaf, params), optimizer.init(params), params)
    assert updates["a"]["kernel"].tolist() == [0, 0, 0] and (updates["b"]["kernel"] < 0).all()


def test_frozen_networks_are_saved_and_restored(trained, tmp_path):
    _, _, after = trained
    checkpoints = Checkpoints(tmp_path)
    checkpoints.finish(after)
    device = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    template = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=device), after)
    assert_same(checkpoints.restore_newest_valid(template), after)
    checkpoints.close()
