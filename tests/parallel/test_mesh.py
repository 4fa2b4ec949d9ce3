"""Meshes and placements, and that training on them is the training of one device."""

import jax
import numpy as np
import pytest
import tiny
from jax.sharding import PartitionSpec

from avc_jax import config as configs
from avc_jax import errors, systems
from avc_jax.nn import vgg
from avc_jax.parallel import mesh as meshes
from avc_jax.parallel.plan.estimate import memory
from avc_jax.train import optimizer as optimizers
from avc_jax.train import state as states
from avc_jax.train.program import Program


def test_eight_devices_are_forced():
    assert len(jax.devices()) == 8


@pytest.mark.parametrize(("asked", "tensor", "shape"), [
    ((-1, 1), 1, (8, 1, 1)), ((-1, 4), 1, (2, 4, 1)), ((1, 8), 1, (1, 8, 1)), ((4, 2), 1, (4, 2, 1)), ((-1, 2), 2, (2, 2, 2))])
def test_data_axis_takes_what_is_left(asked, tensor, shape):
    mesh = meshes.make_mesh(*asked, tensor=tensor)
    assert mesh.devices.shape == shape
    assert mesh.axis_names == ("data", "fsdp", "tensor")
    assert {device.id for device in mesh.devices.reshape(-1)} == set(range(8))


@pytest.mark.parametrize("asked", [(-1, 3), (4, 1), (3, 3), (0, 8), (16, 1)])
def test_axes_that_do_not_multiply_to_the_devices_are_refused(asked):
    with pytest.raises(errors.ConfigError, match="number of devices, 8"):
        meshes.make_mesh(*asked)


class Chip:
    """As much of a device as a mesh asks for."""

    def __init__(self, slice_index, process_index, number):
        self.slice_index, self.process_index, self.id = slice_index, process_index, number


def chips(slices=2, processes=2, each=4):
    """Numbered as a TPU does it, row by row across the hosts of a slice, whose chips lie in two rows."""
    return [Chip(place, place * processes + number % (each // 2 * processes) // (each // 2), number + place * processes * each)
            for place in range(slices) for number in range(processes * each)]


def test_rows_of_a_process_are_one_stretch_of_the_batch_and_slices_are_whole():
    found = meshes.make_mesh(-1, 2, chips(), tensor=2).devices
    assert found.shape == (4, 2, 2)
    assert [chip.process_index for chip in chips()[:8]] == [0, 0, 1, 1, 0, 0, 1, 1]
    assert [[chip.process_index for chip in row.flat] for row in found] == [[process] * 4 for process in range(4)]
    assert [{chip.slice_index for chip in row.flat} for row in found] == [{0}, {0}, {1}, {1}]


def test_a_tensor_axis_across_processes_is_refused():
    with pytest.raises(errors.ConfigError, match=r"config.mesh.tensor: found 8, expected a divisor of the 4 devices"):
        meshes.make_mesh(2, 1, chips(), tensor=8)


def test_large_leaves_are_split_along_their_largest_axis_that_divides_and_small_ones_are_whole():
    mesh = meshes.make_mesh(2, 4)
    tree = {name: jax.ShapeDtypeStruct(shape, "float32") for name, shape in {
        "kernel": (3, 3, 64, 128), "wide": (512, 64), "odd": (3, 5, 1001), "other": (4096, 1001), "bias": (128,), "scalar": (),
        "small": (4, 1000), "just": (4, 1024)}.items()}
    specs = {name: sharding.spec for name, sharding in meshes.state_sharding(mesh, tree).items()}
    assert specs["kernel"] == PartitionSpec(None, None, None, "fsdp")
    assert specs["wide"] == PartitionSpec("fsdp", None)
    assert specs["other"] == PartitionSpec("fsdp", None)
    assert specs["just"] == PartitionSpec(None, "fsdp")
    for name in ("odd", "bias", "scalar", "small"):
        assert specs[name] == PartitionSpec(), name


def test_nothing_is_split_without_the_fsdp_axis():
    tree = {"kernel": jax.ShapeDtypeStruct((512, 512), "float32")}
    assert meshes.state_sharding(meshes.make_mesh(8, 1), tree)["kernel"].spec == PartitionSpec()


def test_tensor_splits_the_outputs_of_large_kernels_and_fsdp_what_is_left():
    mesh = meshes.make_mesh(2, 2, tensor=2)
    tree = {name: jax.ShapeDtypeStruct(shape, "float32") for name, shape in {
        "kernel": (3, 3, 64, 128), "wide": (4096, 2), "odd": (4096, 1001), "bias": (8192,), "small": (64, 32)}.items()}
    specs = {name: sharding.spec for name, sharding in meshes.state_sharding(mesh, tree).items()}
    assert specs["kernel"] == PartitionSpec(None, None, "fsdp", "tensor")
    assert specs["wide"] == PartitionSpec("fsdp", "tensor")
    assert specs["odd"] == PartitionSpec("fsdp", None)
    assert specs["bias"] == PartitionSpec("fsdp")
    assert specs["small"] == PartitionSpec()


# Rules --------------------------------------------------------------------------------------------------------------------


def ruled(text, **shapes):
    tree = {"params": {name: jax.ShapeDtypeStruct(shape, "float32") for name, shape in shapes.items()}, "count": np.int32(0)}
    placed = meshes.state_sharding(meshes.make_mesh(2, 2, tensor=2), {"opt": tree, **tree}, meshes.parse_rules(text))
    assert placed["opt"]["params"] == placed["params"], "moments lie as their variables"
    assert placed["count"].spec == PartitionSpec()
    return {name: sharding.spec for name, sharding in placed["params"].items()}


def test_the_first_rule_that_means_a_variable_places_it():
    specs = ruled(" a*=-,tensor ; ab=fsdp,- ; c = fsdp+tensor", a=(64, 128), ab=(64, 128), b=(64, 128), c=(3, 64))
    assert specs["a"] == PartitionSpec(None, "tensor")
    assert specs["ab"] == PartitionSpec(None, "tensor")
    assert specs["b"] == PartitionSpec("fsdp", "tensor"), "as without rules"
    assert specs["c"] == PartitionSpec(None, ("fsdp", "tensor"))


def test_a_rule_speaks_of_the_last_axes_and_also_of_small_arrays():
    specs = ruled("*=fsdp,tensor", kernel=(3, 3, 4, 8), bias=(8,))
    assert specs["kernel"] == PartitionSpec(None, None, "fsdp", "tensor")
    assert specs["bias"] == PartitionSpec("tensor")
    assert ruled("*=-", kernel=(512, 512))["kernel"] == PartitionSpec(None, None)


@pytest.mark.parametrize("text", [
    "kernel", "=tensor", "kernel=", "kernel=data", "kernel=tensor,tensor", "a=-;b=wide", "a=fsdp+fsdp"])
def test_a_rule_that_is_none_is_named(text):
    with pytest.raises(errors.ConfigError, match=r"config.mesh.rules: found .* expected PATTERN=PLACEMENT"):
        meshes.parse_rules(text)


def test_an_axis_that_does_not_divide_is_named():
    with pytest.raises(errors.ConfigError, match=r"splits an axis of 7 of .*params/a, whose shape is \(64, 7\), into 2 parts"):
        ruled("a=-,tensor", a=(64, 7))


def test_a_rule_that_means_nothing_is_named():
    with pytest.raises(errors.ConfigError, match=r"config.mesh.rules: found 'audoi/\*'.*audio/\*"):
        meshes.check_rules(meshes.parse_rules("audoi/*=-"), ["audio/kernel", "vision/kernel"])


def test_fsdp_divides_the_memory_of_the_full_network():
    config = configs.default("l3net")
    system = systems.make(config)
    shapes = jax.eval_shape(lambda: states.init_state(system, optimizers.make_optimizer(config), 0, False))
    shardings = meshes.state_sharding(meshes.make_mesh(1, 8), shapes)
    sizes = [(leaf.size, np.prod(sharding.shard_shape(leaf.shape)))
             for leaf, sharding in zip(jax.tree.leaves(shapes), jax.tree.leaves(shardings), strict=True)]
    whole, own = (sum(column) for column in zip(*sizes, strict=True))
    assert whole > 3 * 9_504_898  # parameters and two moments
    assert own < whole / 7.5


@pytest.mark.parametrize(("batch_size", "pieces", "fits"), [
    (8, 1, True), (16, 2, True), (12, 1, False), (24, 2, False), (4, 1, False)])
def test_batch_has_to_divide_over_devices_and_pieces(batch_size, pieces, fits):
    mesh = meshes.make_mesh(2, 4)
    if fits:
        meshes.check_batch_size("config.train.batch_size", batch_size, pieces, mesh)
        return
    with pytest.raises(errors.ConfigError, match=rf"batch_size: found {batch_size}, expected a multiple of {8 * pieces}"):
        meshes.check_batch_size("config.train.batch_size", batch_size, pieces, mesh)


# Training -----------------------------------------------------------------------------------------------------------------

KINDS = {
    "independent, groups": dict(data__pairing="independent", system__batch_norm_group=4),
    "shared, global": dict(data__pairing="shared", system__batch_norm_group=0),
}
RATE = 0.1  # more, and the second step makes much of how the first was rounded


@pytest.fixture(scope="module")
def trained():
    """A function: (kind, data, fsdp, tensor, rules) -> states and metrics of two steps of plain gradient descent, as NumPy, the
    last state, and the plan of its memory.

    The trunks have two blocks instead of four: it is the placement that is tried, and compiling takes half the time.
    """
    done = {}

    def train(kind, *placed):
        if (kind, *placed) not in done:
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(vgg, "BLOCKS", (128, 1024))
                done[kind, *placed] = _two_steps(KINDS[kind], *placed)
        return done[kind, *placed]

    return train


def _two_steps(kind, data, fsdp, tensor=1, rules=""):
    config = tiny.config(**kind, train__batch_size=16, optimizer__name="sgd", optimizer__momentum=0.0, optimizer__lr=RATE,
                         optimizer__weight_decay=0.0, mesh__rules=rules)
    mesh = meshes.make_mesh(data, fsdp, jax.devices()[: data * fsdp * tensor], tensor)
    program = Program(config, mesh)
    variables = tiny.variables(program.system)
    state = states.State(step=np.int32(0), params=variables["params"], collections={"batch_stats": variables["batch_stats"]},
                         opt_state=program.optimizer.init(variables["params"]), ema=None, skipped=np.int32(0))
    state = jax.device_put(state, program.shardings)
    step = program.lower().compile()
    history = []
    for number in range(2):
        batch = jax.device_put(tiny.batch(program.system, 16, seed=number), meshes.batch_sharding(mesh))
        state, metrics = step(state, batch)
        history.append(jax.device_get((state.params, state.collections, metrics)))
    return history, state, memory(program, step)


@pytest.mark.parametrize(("kind", "placed"), [
    ("independent, groups", (8, 1)), ("independent, groups", (2, 4)), ("independent, groups", (2, 2, 2)),
    ("independent, groups", (1, 1, 8, "fusion/*=-; */kernel=-,tensor")), ("shared, global", (8, 1)), ("shared, global", (1, 8)),
    ("shared, global", (4, 1, 2))])
def test_any_mesh_gives_the_loss_gradients_and_parameters_of_one_device(trained, kind, placed):
    (one, *_), (many, *_) = trained(kind, 1, 1), trained(kind, *placed)
    for (params, collections, metrics), (wanted_params, wanted_collections, wanted_metrics) in zip(many, one, strict=True):
        for name, (total, count) in wanted_metrics.items():
            np.testing.assert_allclose(metrics[name][0], total, rtol=1e-5, err_msg=name)
            assert metrics[name][1] == count
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5), collections, wanted_collections)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5 * max(1, np.abs(b).max())), params, wanted_params)
    moved = jax.tree.map(lambda a, b: np.abs(a - b).max(), one[0][0], one[1][0])
    assert min(jax.tree.leaves(moved)) > 1e-6, "a parameter that does not move proves nothing"


@pytest.mark.parametrize(("kind", "placed", "least"), [
    ("shared, global", (8, 1), 1), ("shared, global", (1, 8), 6), ("independent, groups", (2, 2, 2), 3.5),
    ("independent, groups", (1, 1, 8, "fusion/*=-; */kernel=-,tensor"), 3)])
def test_memory_per_device_is_what_the_plan_says(trained, kind, placed, least):
    """To the byte, on every device."""
    _, state, plan = trained(kind, *placed)
    for device in jax.devices():
        for name, tree in {"parameters": state.params, "optimiser": state.opt_state, "statistics": state.collections}.items():
            assert plan[name] == sum(shard.data.nbytes for leaf in jax.tree.leaves(tree) for shard in leaf.addressable_shards
                                     if shard.device == device), name
    assert sum(leaf.nbytes for leaf in jax.tree.leaves(state.params)) / plan["parameters"] >= least
    assert "padding" not in plan, "XLA's own account of the arguments is the same sum"


def test_fsdp_really_splits_large_parameters_over_devices(trained):
    _, state, _ = trained("shared, global", 1, 8)
    split = {True: 0, False: 0}
    for leaf in jax.tree.leaves(state.params):
        own = leaf.addressable_shards[0].data.size
        assert own == (leaf.size // 8 if leaf.size >= meshes.MIN_SHARDED_SIZE else leaf.size)
        split[own < leaf.size] += 1
    assert split[True] >= 4
    assert split[False] >= 4


def test_pairing_and_groups_matter(trained):
    """Else the comparisons above would compare the same thing."""
    losses = [float(trained(kind, 1, 1)[0][0][2]["loss"][0]) for kind in KINDS]
    assert abs(losses[0] - losses[1]) > 1e-3
