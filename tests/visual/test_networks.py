"""The networks' inputs, outputs and weights."""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torchfile
from flax.traverse_util import flatten_dict
from visual.small import small_stream

from avc_jax import errors
from avc_jax.published import translate
from avc_jax.visual import networks


class Same(nn.Module):
    """Hands on what it is given."""

    def __call__(self, x, train):
        assert not train
        return x


@pytest.mark.parametrize(("name", "shape", "normalised"), [
    ("2d", (1, 5, 7), lambda colour: (colour / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]),
    ("3d", (1, 16, 4, 4), lambda colour: colour - [110.6, 103.2, 96.3])])
def test_rows_are_unit_means_of_pictures_normalised_as_the_weights_expect(name, shape, normalised):
    stream = small_stream(name)
    stream = dataclasses.replace(stream, network=Same())
    rng = np.random.default_rng(0)
    pictures = rng.integers(0, 256, (*shape, 3)).astype(np.uint8)
    wanted = normalised(pictures[0].reshape(-1, 3).mean(0))
    found = np.asarray(stream.apply({}, pictures))
    assert found.dtype == np.float16 and found.shape == (1, 3)
    np.testing.assert_allclose(found[0], wanted / np.linalg.norm(wanted), atol=1e-3)


def test_black_pictures_at_the_end_of_a_chunk_count_as_they_do_in_the_published_extractor():
    # Padded before the mean is subtracted: minus the mean, not zero.
    assert np.asarray(networks._normalise_3d(jnp.zeros((1, 3), jnp.uint8))).tolist() == [[-x for x in np.float32((110.6, 103.2,
                                                                                                               96.3))]]


@pytest.mark.parametrize("name", ["2d", "3d"])
@pytest.mark.parametrize("write", [torchfile.write, torchfile.write_before_1_6])
def test_weights_come_from_a_state_dict(tmp_path, name, write):
    stream = small_stream(name)
    variables = jax.device_get(stream.initial(3))
    arrays = translate.to_theirs(flatten_dict(dict(variables), sep="/"), stream.kind)
    arrays["fc.weight"], arrays["bn1.num_batches_tracked"] = np.zeros((7, stream.width), np.float32), np.array(9)
    path = write(tmp_path / "net.pth", {"state_dict": {f"module.{key}": array for key, array in arrays.items()}, "epoch": 3})
    found, facts = networks.load(stream, str(path), None)
    jax.tree.map(np.testing.assert_array_equal, found, dict(variables))
    assert facts["weights"] == "net.pth" and len(facts["weights_sha256"]) == 64
    del arrays["layer2.0.conv1.weight"]
    arrays["conv1.weight"] = np.zeros((1, 2, 3), np.float32)
    with pytest.raises(errors.ConfigError, match=rf"--weights_{name}=.*is no Res") as caught:
        networks.load(stream, str(write(tmp_path / "net.pth", arrays)), None)
    assert "missing: layer2.0.conv1.weight" in str(caught.value) and "misshapen: conv1.weight" in str(caught.value)


def test_weights_of_another_depth_are_refused_in_a_few_lines(tmp_path):
    stream = small_stream("2d")
    path = torchfile.write(tmp_path / "net.pth", {f"layer{n}.weight": np.zeros(3, np.float32) for n in range(100)})
    with pytest.raises(errors.ConfigError, match="ResNet-18") as caught:
        networks.load(stream, str(path), None)
    assert len(str(caught.value).splitlines()) < 12 and "more" in str(caught.value)


def test_random_weights_repeat_and_say_that_they_are_random():
    stream = small_stream("2d")
    one, facts = networks.load(stream, "", 5)
    other, again = networks.load(stream, "", 5)
    jax.tree.map(np.testing.assert_array_equal, one, other)
    assert facts == again and "RANDOM (seed 5)" in facts["weights"]
    assert networks.load(stream, "", 6)[1]["weights_sha256"] != facts["weights_sha256"]


def test_bfloat16_gives_nearly_the_same_rows():
    pictures = np.random.default_rng(0).integers(0, 256, (2, 40, 40, 3)).astype(np.uint8)
    stream = small_stream("2d")
    variables = stream.initial(0)
    fast = networks.make_stream("2d", 18, 1 / 8, "bfloat16")
    exact, coarse = (np.float32(jax.jit(one.apply)(variables, pictures)) for one in (stream, fast))
    assert (exact * coarse).sum(1).min() > 0.999 and np.abs(exact - coarse).max() > 0
