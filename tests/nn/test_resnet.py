"""Residual networks over pictures and over clips: what every array does, seen without a deep-learning library."""

import math
from itertools import product

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from avc_jax.nn.resnet import ResNet
from avc_jax.nn.resnext3d import ResNeXt3D
from avc_jax.published import resnets, translate


def shapes_of(network, *sides: int):
    return jax.eval_shape(lambda: network.init_with_output(jax.random.key(0), jnp.zeros((1, *sides, 3)), False))


@pytest.mark.parametrize(("network", "sides", "parameters", "last"), [
    (ResNet(18), (224, 224), 11_176_512, (1, 7, 7, 512)), (ResNet(34), (224, 224), 21_284_672, (1, 7, 7, 512)),
    (ResNet(50), (224, 298), 23_508_032, (1, 7, 10, 2048)), (ResNet(152), (398, 224), 58_143_808, (1, 13, 7, 2048)),
    (ResNet(50, dilated=True), (224, 224), 23_508_032, (1, 14, 14, 2048)),
    (ResNeXt3D(), (16, 112, 112), 47_521_216, (1, 1, 4, 4, 2048))])
def test_published_sizes(network, sides, parameters, last):
    found, variables = shapes_of(network, *sides)
    assert sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(variables["params"])) == parameters
    assert found.shape == last


# Against NumPy -----------------------------------------------------------------------------------------------------------


def conv(x: np.ndarray, kernel: np.ndarray, stride: int | tuple[int, ...], pad: int, groups: int = 1) -> np.ndarray:
    """What PyTorch's documentation says of a convolution of f[C, ...] by f[O, C / groups, ...]: sums over shifted pictures."""
    axes = kernel.ndim - 2
    strides = (stride,) * axes if isinstance(stride, int) else stride
    padded = np.pad(x, [(0, 0)] + [(pad, pad)] * axes)
    sides = [(size - reach) // step + 1 for size, reach, step in zip(padded.shape[1:], kernel.shape[2:], strides, strict=True)]
    out = np.zeros((len(kernel), *sides))
    inputs, outputs = len(x) // groups, len(kernel) // groups
    for shift in product(*map(range, kernel.shape[2:])):
        window = padded[:, *(slice(first, first + step * (side - 1) + 1, step)
                             for first, side, step in zip(shift, sides, strides, strict=True))]
        for group in range(groups):
            rows = slice(group * outputs, (group + 1) * outputs)
            out[rows] += np.tensordot(kernel[rows, :, *shift], window[group * inputs : (group + 1) * inputs], 1)
    return out


def pool(x: np.ndarray) -> np.ndarray:
    """The largest of each window of 3 with stride 2, one axis after the other; nothing outside wins."""
    for axis in range(1, x.ndim):
        padded = np.pad(x, [(1, 1) if place == axis else (0, 0) for place in range(x.ndim)], constant_values=-np.inf)
        count = (x.shape[axis] + 2 - 3) // 2 + 1
        x = np.max([padded.take(range(shift, shift + 2 * count - 1, 2), axis) for shift in range(3)], axis=0)
    return x


def forward(arrays: dict[str, np.ndarray], x: np.ndarray, strides: tuple[int, ...], groups: int) -> np.ndarray:
    """f64[C, ...] -> f64[C', ...]: a residual network told from its state dict, in inference."""
    def norm(x, name):
        parts = (arrays[f"{name}.{part}"].reshape(-1, *[1] * (x.ndim - 1)) for part in ("weight", "bias", "running_mean",
                                                                                          "running_var"))
        weight, bias, mean, var = parts
        return (x - mean) / np.sqrt(var + 1e-5) * weight + bias

    def block(x, name, stride):
        if f"{name}.conv3.weight" in arrays:
            y = np.maximum(norm(conv(x, arrays[f"{name}.conv1.weight"], 1, 0), f"{name}.bn1"), 0)
            y = np.maximum(norm(conv(y, arrays[f"{name}.conv2.weight"], stride, 1, groups), f"{name}.bn2"), 0)
            y = norm(conv(y, arrays[f"{name}.conv3.weight"], 1, 0), f"{name}.bn3")
        else:
            y = np.maximum(norm(conv(x, arrays[f"{name}.conv1.weight"], stride, 1), f"{name}.bn1"), 0)
            y = norm(conv(y, arrays[f"{name}.conv2.weight"], 1, 1), f"{name}.bn2")
        if f"{name}.downsample.0.weight" in arrays:
            x = norm(conv(x, arrays[f"{name}.downsample.0.weight"], stride, 0), f"{name}.downsample.1")
        return np.maximum(x + y, 0)

    x = pool(np.maximum(norm(conv(x, arrays["conv1.weight"], strides, 3), "bn1"), 0))
    for stage in range(1, 5):
        for index in range(sum(name.startswith(f"layer{stage}.") and name.endswith("bn1.weight") for name in arrays)):
            x = block(x, f"layer{stage}.{index}", 2 if stage > 1 and index == 0 else 1)
    return x


@pytest.mark.parametrize(("network", "kind", "sides", "groups"), [
    (ResNet(18, width=1 / 16), resnets.torchvision(18), (45, 70), 1),
    (ResNet(50, width=1 / 16), resnets.torchvision(50), (45, 70), 1),
    (ResNeXt3D(width=1 / 8, blocks=(1, 2, 1, 1)), resnets.kinetics((1, 2, 1, 1)), (16, 45, 38), 4)])
def test_arrays_of_a_state_dict_do_what_pytorch_documents(network, kind, sides, groups):
    rng = np.random.default_rng(0)
    _, shapes = shapes_of(network, *sides)
    flat = flatten_dict(dict(shapes), sep="/")
    ours = {path: rng.normal(size=leaf.shape) * (2 / max(1, math.prod(leaf.shape[:-1]))) ** 0.5 if path.endswith("kernel")
            else 1 + 0.1 * np.abs(rng.normal(size=leaf.shape)) if path.endswith(("var", "scale"))
            else 0.3 * rng.normal(size=leaf.shape) for path, leaf in flat.items()}
    theirs = translate.to_theirs(ours, kind)
    variables = jax.tree.unflatten(jax.tree.structure(shapes), [np.float32(ours["/".join(key.key for key in path)])
                                                                for path, _ in jax.tree.leaves_with_path(shapes)])
    x = rng.normal(size=(*sides, 3))
    found = jax.jit(lambda x: network.apply(variables, x, False))(np.float32(x)[None])[0]
    wanted = forward(theirs, np.moveaxis(x, -1, 0), (1, 2, 2) if len(sides) == 3 else (2, 2), groups)
    assert np.abs(wanted).max() > 0.1
    np.testing.assert_allclose(np.moveaxis(np.asarray(found), -1, 0), wanted, atol=1e-4 * np.abs(wanted).max())


# Normalisation -------------------------------------------------------------------------------------------------------------


def test_frozen_statistics_stay_and_scales_still_get_a_gradient():
    frozen, free = ResNet(18, width=1 / 16, frozen=True), ResNet(18, width=1 / 16)
    x = np.random.default_rng(1).normal(size=(2, 32, 32, 3)).astype(np.float32)
    variables = jax.jit(lambda: free.init(jax.random.key(0), x, False))()

    def ask(network, train):
        def total(params):
            found, new = network.apply({**variables, "params": params}, x, train, mutable=["batch_stats"])
            return found.sum(), (found, new)

        (_, (found, new)), grads = jax.jit(jax.value_and_grad(total, has_aux=True))(variables["params"])
        return found, new["batch_stats"], grads

    found, statistics, grads = ask(frozen, True)
    np.testing.assert_array_equal(found, ask(free, False)[0])
    jax.tree.map(np.testing.assert_array_equal, dict(statistics), dict(variables["batch_stats"]))
    assert all(np.abs(leaf).max() > 0 for path, leaf in flatten_dict(grads).items() if path[0] == "norm1")
    moved = ask(free, True)[1]
    assert np.abs(moved["norm1"]["mean"] - variables["batch_stats"]["norm1"]["mean"]).max() > 0


def test_the_weight_of_new_statistics_is_a_tenth_and_their_variance_unbiased():
    network = ResNet(18, width=1 / 16)
    x = np.random.default_rng(2).normal(size=(2, 8, 8, 3)).astype(np.float32)
    variables = jax.jit(lambda: network.init(jax.random.key(0), x, False))()
    _, new = jax.jit(lambda: network.apply(variables, x, True, mutable=["batch_stats"]))()
    kernel = np.asarray(variables["params"]["conv1"]["kernel"]).transpose(3, 2, 0, 1)
    first = np.stack([conv(row.transpose(2, 0, 1), kernel, 2, 3) for row in x]).swapaxes(0, 1).reshape(4, -1)
    np.testing.assert_allclose(new["batch_stats"]["norm1"]["mean"], 0.1 * first.mean(1), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(new["batch_stats"]["norm1"]["var"], 0.9 + 0.1 * first.var(1, ddof=1), rtol=1e-5)
