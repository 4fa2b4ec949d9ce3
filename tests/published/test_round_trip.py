"""Published -> ours -> published, bit by bit, for every kind of checkpoint that is known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict
from published.test_tables import KINDS, shapes_of

from avc_jax.nn.resnet import ResNet
from avc_jax.nn.resnext3d import ResNeXt3D
from avc_jax.published import make, resnets, translate
from avc_jax.published.table import TORCH_COUNTERS, torch_counters

# Tables that belong to no system: (checkpoint, network, a batch).
SHARED = {**{f"resnet{depth}": (resnets.torchvision(depth), ResNet(depth), (1, 32, 32, 3)) for depth in (18, 34, 50, 101, 152)},
          "resnext101": (resnets.kinetics(), ResNeXt3D(), (1, 16, 32, 32, 3))}


def table(name: str):
    """(checkpoint, our path -> shape)."""
    if name in SHARED:
        checkpoint, network, batch = SHARED[name]
        shapes = jax.eval_shape(lambda: network.init(jax.random.key(0), jnp.zeros(batch), False))
        return checkpoint, flatten_dict(dict(shapes), sep="/")
    system, kind = name.split(":")
    return make.kinds_of(system)[kind], shapes_of(system, kind)


@pytest.fixture(scope="module", params=[*(f"{system}:{kind}" for system, kind in KINDS), *SHARED])
def published(request):
    """(checkpoint, our path -> shape, arrays by their published names with all that such a file may hold besides)."""
    checkpoint, shapes = table(request.param)
    rng = np.random.default_rng(1)
    ours = {path: rng.random(leaf.shape, np.float32) for path, leaf in shapes.items()}
    besides = {name: (3, 2) if shape is None else shape for name, shape in checkpoint.beside.items() if "*" not in name}
    arrays = translate.to_theirs(ours, checkpoint)
    arrays |= {name: rng.random(shape, np.float32) for name, shape in besides.items()}
    arrays |= {name: np.array(place + 1) for place, name in enumerate(torch_counters(checkpoint))}
    return checkpoint, shapes, arrays


def test_a_published_file_comes_back_bit_by_bit_with_all_that_it_holds_besides(published):
    checkpoint, shapes, theirs = published
    initial = {path: np.zeros(shapes[path].shape, np.float32) for path in translate.initial_paths(checkpoint, shapes)}
    ours = translate.to_ours(theirs, checkpoint, shapes, initial)
    again = translate.kept_aside(theirs, checkpoint) | translate.to_theirs(ours, checkpoint)
    assert set(again) == set(theirs)
    for name, wanted in theirs.items():
        assert (again[name].dtype, again[name].shape) == (wanted.dtype, wanted.shape), name
        np.testing.assert_array_equal(again[name], wanted, err_msg=name)


def test_counters_that_are_made_have_a_place_in_the_published_file(published):
    checkpoint, _, theirs = published
    made = translate.counters(checkpoint, 3)
    assert not translate.strangers(theirs | made, checkpoint)
    statistics = sum(entry.theirs.endswith(".running_mean") for entry in checkpoint.entries)
    assert len(made) == (statistics if TORCH_COUNTERS in checkpoint.beside else 0)
    assert all(array.dtype == np.int64 and array == 3 for array in made.values())
