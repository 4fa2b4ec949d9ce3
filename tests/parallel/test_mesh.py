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
from avc_jax.train import optimizer as optimizers
from avc_jax.train import state as states
from avc_jax.train import step as steps


def test_eight_devices_are_forced():
    assert len(jax.devices()) == 8


@pytest.mark.parametrize(("asked", "shape"), [((-1, 1), (8, 1)), ((-1, 4), (2, 4)), ((1, 8), (1, 8)), ((4, 2), (4, 2))])
def test_data_axis_takes_what_is_left(asked, shape):
    mesh = meshes.make_mesh(*asked)
    assert mesh.devices.shape == shape
    assert mesh.axis_names == ("data", "fsdp")
    assert {device.id for device in mesh.devices.reshape(-1)} == set(range(8))


@pytest.mark.parametrize("asked", [(-1, 3), (4, 1), (3, 3), (0, 8), (16, 1)])
def test_axes_that_do_not_multiply_to_the_devices_are_refused(asked):
    with pytest.raises(errors.ConfigError, match="number of devices, 8"):
        meshes.make_mesh(*asked)


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
    """A function: (kind, data, fsdp) -> states and metrics of two steps of plain gradient descent, as NumPy, and the last state.

    The trunks have two blocks instead of four: it is the placement that is tried, and compiling takes half the time.
    """
    done = {}

    def train(kind, data, fsdp):
        if (kind, data, fsdp) not in done:
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(vgg, "BLOCKS", (128, 1024))
                done[kind, data, fsdp] = _two_steps(KINDS[kind], meshes.make_mesh(data, fsdp, jax.devices()[: data * fsdp]))
        return done[kind, data, fsdp]

    return train


def _two_steps(kind, mesh):
    config = tiny.config(**kind, train__batch_size=16, optimizer__name="sgd", optimizer__momentum=0.0, optimizer__lr=RATE,
                         optimizer__weight_decay=0.0)
    system, optimizer = systems.make(config), optimizers.make_optimizer(config)
    variables = tiny.variables(system)
    state = states.State(step=np.int32(0), params=variables["params"], collections={"batch_stats": variables["batch_stats"]},
                         opt_state=optimizer.init(variables["params"]), ema=None, skipped=np.int32(0))
    shardings = meshes.state_sharding(mesh, jax.eval_shape(lambda: state))
    state = jax.device_put(state, shardings)
    step = steps.jit_step(steps.make_step(system, optimizer, seed=3), mesh, shardings)
    history = []
    for number in range(2):
        batch = jax.device_put(tiny.batch(system, 16, seed=number), meshes.batch_sharding(mesh))
        state, metrics = step(state, batch)
        history.append(jax.device_get((state.params, state.collections, metrics)))
    return history, state


@pytest.mark.parametrize(("kind", "data", "fsdp"), [
    ("independent, groups", 8, 1), ("independent, groups", 2, 4), ("shared, global", 8, 1), ("shared, global", 1, 8)])
def test_any_mesh_gives_the_loss_gradients_and_parameters_of_one_device(trained, kind, data, fsdp):
    (one, _), (many, _) = trained(kind, 1, 1), trained(kind, data, fsdp)
    for (params, collections, metrics), (wanted_params, wanted_collections, wanted_metrics) in zip(many, one, strict=True):
        for name, (total, count) in wanted_metrics.items():
            np.testing.assert_allclose(metrics[name][0], total, rtol=1e-5, err_msg=name)
            assert metrics[name][1] == count
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5), collections, wanted_collections)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5 * max(1, np.abs(b).max())), params, wanted_params)
    moved = jax.tree.map(lambda a, b: np.abs(a - b).max(), one[0][0], one[1][0])
    assert min(jax.tree.leaves(moved)) > 1e-6, "a parameter that does not move proves nothing"


def test_fsdp_really_splits_large_parameters_over_devices(trained):
    _, state = trained("shared, global", 1, 8)
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
