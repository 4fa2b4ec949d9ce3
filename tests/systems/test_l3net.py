"""L3-Net against the numbers of the papers, and its loss against the explicit batch of pairs."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from avc_jax import audio, errors, systems
from avc_jax import config as configs
from avc_jax.nn import vgg
from avc_jax.systems import l3net

PLAIN = dict(augment__flip=False, augment__brightness=0.0, augment__saturation=(1.0, 1.0), augment__gain=(1.0, 1.0))


def full(**own):
    """The default config, of full size, with keys of its system section changed."""
    config = configs.default("l3net")
    config.system.update(own)
    return config


def shapes_of(config):
    """Shapes of all variables of a config at full size."""
    system = systems.make(config)
    return jax.eval_shape(system.init, jax.random.key(0), tiny.zeros(system, 1))


def count(tree) -> int:
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


# Sizes, section 3 of the specification ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("bias", "vision", "sound", "total"), [
    (False, 4_687_296, 4_686_144, 9_504_898), (True, 4_689_216, 4_688_064, 9_508_738)])
def test_parameters_are_as_many_as_in_the_paper(bias, vision, sound, total):
    params = shapes_of(full(conv_bias=bias))["params"]
    assert count(params["vision"]) == vision
    assert count(params["audio"]) == sound
    assert count(params["fusion"]) == 131_458
    assert count(params) == total


def test_running_statistics_are_as_many_as_in_the_paper():
    stats = shapes_of(full())["batch_stats"]
    assert count(stats["vision"]) == count(stats["audio"]) == 3840


def test_ave_head_has_as_many_parameters_as_in_the_paper():
    params = shapes_of(full(head="ave"))["params"]
    assert count(params["fusion"]) == 2 * 82_176 + 4 == 164_356
    assert count(params) == 9_504_898 - 131_458 + 164_356


def test_weights_of_every_convolution_are_those_of_the_paper():
    params = shapes_of(full())["params"]
    own = [params[tower][f"block{block}"][f"conv{conv}"]["kernel"].size for tower in ("vision", "audio")
           for block in (1, 2, 3, 4) for conv in (1, 2)]
    rest = [36_864, 73_728, 147_456, 294_912, 589_824, 1_179_648, 2_359_296]
    assert own == [1_728, *rest, 576, *rest]


STRIDE_1 = {
    "vision": {"input": (224, 224, 3), "block1": (224, 224, 64), "pool1": (112, 112, 64), "block2": (112, 112, 128),
               "pool2": (56, 56, 128), "block3": (56, 56, 256), "pool3": (28, 28, 256), "block4": (28, 28, 512)},
    "audio": {"input": (257, 199, 1), "block1": (257, 199, 64), "pool1": (128, 99, 64), "block2": (128, 99, 128),
              "pool2": (64, 49, 128), "block3": (64, 49, 256), "pool3": (32, 24, 256), "block4": (32, 24, 512)},
}
STRIDE_2 = {
    "vision": {"input": (224, 224, 3), "block1": (112, 112, 64), "pool1": (56, 56, 64), "block2": (56, 56, 128),
               "pool2": (28, 28, 128), "block3": (28, 28, 256), "pool3": (14, 14, 256), "block4": (14, 14, 512)},
    "audio": {"input": (257, 199, 1), "block1": (129, 100, 64), "pool1": (64, 50, 64), "block2": (64, 50, 128),
              "pool2": (32, 25, 128), "block3": (32, 25, 256), "pool3": (16, 12, 256), "block4": (16, 12, 512)},
}


@pytest.mark.parametrize(("stride", "table"), [(1, STRIDE_1), (2, STRIDE_2)])
def test_shapes_are_those_of_the_papers_tables(stride, table):
    seen: dict[str, dict[str, tuple[int, ...]]] = {"vision": {}, "audio": {}}

    def watch(call, args, kwargs, context):
        result = call(*args, **kwargs)
        if context.method_name == "__call__" and isinstance(context.module, vgg.Block):
            tower, block = context.module.path
            before = {"block1": "input"}.get(block, f"pool{int(block[-1]) - 1}")
            seen[tower] |= {before: args[0].shape[1:], block: result.shape[1:]}
        if context.method_name == "__call__" and isinstance(context.module, nn.Conv):
            tower, block, conv = context.module.path
            assert result.shape[1:] == table[tower][block], f"{tower} {block} {conv}"
        return result

    with nn.intercept_methods(watch):
        shapes_of(full(conv1_stride=stride))
    assert seen == table


@pytest.mark.parametrize(("head", "stride", "units"), [("l3", 1, 512), ("l3", 2, 512), ("ave", 2, 128)])
def test_embeddings_are_pool4_or_the_common_space(head, stride, units):
    config = full(head=head, conv1_stride=stride)
    system = systems.make(config)
    embedded = jax.eval_shape(system.embed, shapes_of(config), tiny.zeros(system, 3))
    assert embedded["video"].shape == embedded["audio"].shape == (3, units)


def test_features_follow_the_config():
    system = systems.make(full())
    assert {name: (feature.shape, feature.dtype) for name, feature in system.features.items()} == {
        "frame": ((224, 224, 3), "uint8"), "waveform": ((48000,), "int16"), "label": ((), "int32"), "file": ((), "int32")}


def test_the_variant_of_openl3_has_as_many_parameters_as_its_networks():
    assert count(shapes_of(full(variant="openl3", input_norm=True, conv_bias=True))["params"]) == 9_508_746


# Initial values -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def initial():
    system = systems.make(tiny.config(system__head="ave"))
    return jax.jit(system.init)(jax.random.key(0), tiny.zeros(system, 2))


def test_kernels_start_he_normal_and_the_rest_neutral(initial):
    for path, leaf in jax.tree_util.tree_leaves_with_path(initial["params"]):
        keys, leaf = [key.key for key in path], np.asarray(leaf)
        if keys[-2] == "fc3":
            continue
        if keys[-1] == "kernel" and leaf.size >= 500:
            wanted = np.sqrt(2 / np.prod(leaf.shape[:-1]))
            assert leaf.std() == pytest.approx(wanted, rel=0.15), keys
        elif keys[-1] == "bias":
            assert (leaf == 0).all(), keys
        elif keys[-1] == "scale":
            assert (leaf == 1).all(), keys


def test_ave_starts_with_small_distance_says_corresponds(initial):
    net = l3net.network(tiny.config(system__head="ave"))
    vision = np.zeros((2, 128), np.float32)
    vision[:, 0] = 1.0
    sound = np.stack([vision[0], -vision[0]])  # the same, and the opposite
    logits = np.asarray(net.apply(initial, vision, sound, method=net.fuse))
    assert logits[0, 1] > logits[0, 0]
    assert logits[1, 1] < logits[1, 0]


@pytest.mark.parametrize(("angle", "distance"), [(0.0, 0.0), (np.pi / 2, np.sqrt(2)), (np.pi, 2.0)])
def test_ave_distance_of_unit_vectors_and_its_gradient(initial, angle, distance):
    net = l3net.network(tiny.config(system__head="ave"))
    vision, sound = np.zeros((1, 128), np.float32), np.zeros((1, 128), np.float32)
    vision[0, 0], sound[0, :2] = 1.0, (np.cos(angle), np.sin(angle))

    def logits(vision, sound):
        return net.apply(initial, vision, sound, method=net.fuse)

    # The initial fc3 is [d - 1, 1 - d].
    np.testing.assert_allclose(logits(vision, sound), [[distance - 1, 1 - distance]], atol=2e-6)
    grads = jax.grad(lambda *pair: logits(*pair)[0, 1], (0, 1))(jnp.asarray(vision), jnp.asarray(sound))
    assert all(np.isfinite(grad).all() for grad in grads)


def test_ave_embeddings_are_unit_vectors_and_a_zero_vector_stays_finite(initial):
    net = l3net.network(tiny.config(system__head="ave"))
    pooled = np.random.default_rng(0).normal(size=(5, 32)).astype(np.float32)
    project = lambda x: net.apply(initial, x, x, method=lambda net, *pair: net.fusion.project(*pair))  # noqa: E731
    for rows in project(pooled):
        np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1.0, rtol=1e-5)
    grad = jax.grad(lambda x: project(x)[0].sum())(jnp.zeros((1, 32)))
    assert np.isfinite(grad).all()


# What evaluations ask for --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("stride", "vision", "sound"), [(1, (28, 28), (32, 24)), (2, (14, 14), (16, 12))])
def test_maps_and_transfer_features_have_the_shapes_of_the_paper(stride, vision, sound):
    config = full(conv1_stride=stride)
    system, variables = systems.make(config), shapes_of(config)
    batch = {name: tiny.zeros(system, 2)[name] for name in ("frame", "waveform")}
    maps = jax.eval_shape(system.maps, variables, batch)
    assert (maps["video"].shape, maps["audio"].shape) == ((2, *vision, 512), (2, *sound, 512))
    features = jax.eval_shape(system.transfer, variables, batch)
    assert (features["video"].shape, features["audio"].shape) == ((2, 8192), (2, 6144))


@pytest.fixture(scope="module", params=["l3", "ave"])
def answers(request):
    """(system, variables, batch, what it answers to a batch of both halves, and to each half alone)."""
    system = systems.make(tiny.config(system__head=request.param))
    variables, batch = tiny.variables(system), {name: tiny.batch(system, 3)[name] for name in ("frame", "waveform")}
    ask = jax.jit(lambda batch: {name: getattr(system, name)(variables, batch) for name in ("embed", "maps", "transfer")})
    return system, variables, batch, ask(batch), {name: ask({name: batch[name]}) for name in batch}


def test_a_half_alone_is_answered_as_in_company(answers):
    *_, both, alone = answers
    for name, (modality, half) in ((name, pair) for name in both for pair in (("video", "frame"), ("audio", "waveform"))):
        assert set(alone[half][name]) == {modality}
        np.testing.assert_allclose(alone[half][name][modality], both[name][modality], rtol=1e-5, atol=1e-5)
        assert both[name][modality].dtype == np.float32


def test_transfer_features_are_the_pooled_activations(answers):
    _, variables, _, both, _ = answers
    vision = np.asarray(both["maps"]["video"])
    rows, columns = (max(1, side // 4) for side in vision.shape[1:3])
    cell = vision[:, :rows, :columns].max((1, 2))
    np.testing.assert_allclose(both["transfer"]["video"].reshape(3, -1, vision.shape[-1])[:, 0], cell, rtol=1e-5)
    # Sounds are read off before normalisation: normalised and rectified, the largest of a cell is that of the map.
    scale = jax.tree.map(np.asarray, variables["params"]["audio"]["block4"]["norm2"])
    stats = variables["batch_stats"]["audio"]["block4"]["norm2"]
    raw = np.asarray(both["transfer"]["audio"]).reshape(3, -1, len(stats["mean"]))[:, 0]
    normal = (raw - stats["mean"]) / np.sqrt(stats["var"] + 1e-3) * scale["scale"] + scale["bias"]
    sound = np.asarray(both["maps"]["audio"])
    rows, columns = max(1, sound.shape[1] // 4), max(1, sound.shape[2] // 3)
    np.testing.assert_allclose(np.maximum(normal, 0), sound[:, :rows, :columns].max((1, 2)), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("head", ["l3", "ave"])
def test_embeddings_of_the_variant_of_openl3_are_pools_of_the_raw_convolution(head):
    system = systems.make(tiny.config(system__variant="openl3", system__input_norm=True, system__head=head))
    variables, batch = tiny.variables(system), {name: tiny.batch(system, 3)[name] for name in ("frame", "waveform")}
    ask = jax.jit(lambda batch: {name: getattr(system, name)(variables, batch) for name in ("embed", "maps", "transfer")})
    found = ask(batch)
    for modality, tower in (("video", "vision"), ("audio", "audio")):
        norm, stats = variables["params"][tower]["block4"]["norm2"], variables["batch_stats"][tower]["block4"]["norm2"]
        raw = np.asarray(found["transfer"][modality]).reshape(3, -1, len(stats["mean"]))
        normal = (raw - stats["mean"]) / np.sqrt(stats["var"] + 1e-3) * norm["scale"] + norm["bias"]
        assert (norm["scale"] > 0).all(), "where the factor is negative, the largest becomes the smallest"
        # Where no rows are left over, the largest of all cells is that of the map.
        np.testing.assert_allclose(np.maximum(normal, 0).max(1), found["maps"][modality].max((1, 2)), rtol=1e-4, atol=1e-4)
        if head == "l3":
            np.testing.assert_allclose(found["embed"][modality], raw.max(1), rtol=1e-5)
        else:
            np.testing.assert_allclose(np.linalg.norm(found["embed"][modality], axis=1), 1.0, rtol=1e-5)


# Gradients -----------------------------------------------------------------------------------------------------------------


class Gradients:
    """Loss, gradients, and what the pooled vectors say that the gradients have to be, from one compiled program."""

    def __init__(self, **changes):
        config = tiny.config(**PLAIN, **changes)
        self.system = systems.make(config)
        self.variables, batch = tiny.variables(self.system), tiny.batch(self.system, 8)
        channels = self.variables["params"]["vision"]["block4"]["conv2"]["kernel"].shape[-1]
        zeros = (np.zeros((8, channels), np.float32),) * 2

        def loss(params, zeros):
            def add(call, args, kwargs, context):  # a zero on each pooled vector, whose gradient is that of the vector
                if context.method_name == "project":
                    args = tuple(x + zero.astype(x.dtype) for x, zero in zip(args, zeros, strict=True))
                    pooled.append(args)
                return call(*args, **kwargs)

            pooled: list = []
            with nn.intercept_methods(add):
                value, _, _ = self.system.loss({**self.variables, "params": params}, batch, jax.random.key(0))
            return value, pooled[0]

        (self.loss, self.pooled), (self.params, self.of_pooled) = jax.jit(jax.value_and_grad(loss, (0, 1), has_aux=True))(
            self.variables["params"], zeros)


@pytest.fixture(scope="module")
def plain():
    return Gradients()


@pytest.fixture(scope="module")
def recomputed():
    return Gradients(train__remat=True)


@pytest.fixture(scope="module")
def other_kind():
    return Gradients(train__precision="bfloat16", system__head="ave")


@pytest.mark.parametrize("kind", ["plain", "recomputed", "other_kind"])
def test_every_kernel_gets_a_gradient(kind, request):
    made = request.getfixturevalue(kind)
    kernels = [(path, leaf) for path, leaf in jax.tree_util.tree_leaves_with_path(made.params) if path[-1].key == "kernel"]
    assert len(kernels) == 16 + (5 if kind == "other_kind" else 2)
    for path, leaf in kernels:
        assert np.isfinite(leaf).all(), path
        assert float(np.abs(leaf).max()) > 0, path
        assert leaf.dtype == jnp.float32, path


@pytest.mark.parametrize("kind", ["plain", "recomputed", "other_kind"])
def test_gradient_of_the_pooled_vector_reaches_the_map_whole(kind, request):
    """A fused program may compute an activation twice; where the two differ in a bit, the maximum finds no equal."""
    made = request.getfixturevalue(kind)
    for tower, pooled, grad in zip(("vision", "audio"), made.pooled, made.of_pooled, strict=True):
        wanted = (np.asarray(grad, np.float32) * (np.asarray(pooled) > 0)).sum(0)
        found = made.params[tower]["block4"]["norm2"]["bias"]
        tolerance = 2e-2 if kind == "other_kind" else 1e-5
        np.testing.assert_allclose(found, wanted, atol=tolerance * np.abs(wanted).max())


def test_remat_gives_the_same_loss_and_gradients(plain, recomputed):
    assert float(recomputed.loss) == pytest.approx(float(plain.loss), rel=1e-6)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5 * np.abs(b).max() + 1e-7),
                 recomputed.params, plain.params)


# Pairs ---------------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def shared_and_explicit():
    """A function: batch -> loss and metrics of shared pairing, logits f32[2B, 2] of the explicit 2B pairs, statistics of both."""
    config = tiny.config(**PLAIN, data__pairing="shared")
    system, net = systems.make(config), l3net.network(config)
    variables = tiny.variables(system)
    loss_of = jax.jit(lambda batch: system.loss(variables, batch, jax.random.key(0)))

    @jax.jit
    def apply(frame, waveform):
        spectrogram = audio.log_spectrogram(waveform / 32768.0, window=80, hop=40, fft_length=128)
        return net.apply(variables, frame / 127.5 - 1, spectrogram, train=True, mutable=["batch_stats"])

    def both(batch):
        loss, new, metrics = loss_of(batch)
        sound = np.concatenate([batch["waveform"], np.roll(batch["waveform"], 1, axis=0)])
        logits, explicit = apply(np.concatenate([batch["frame"]] * 2), sound)
        return float(loss), metrics, np.asarray(logits, np.float64), new["batch_stats"], explicit["batch_stats"]

    return both


def cross_entropy(logits, label):
    return np.log(np.exp(logits).sum(1)) - logits[np.arange(len(label)), label]


def shared_batch():
    batch = tiny.batch(systems.make(tiny.config()), 6)
    return batch | {"label": np.ones(6, np.int32)}


def test_shared_pairing_is_the_explicit_batch_of_twice_as_many_pairs(shared_and_explicit):
    loss, metrics, logits, stats, explicit_stats = shared_and_explicit(shared_batch())
    label = np.repeat([1, 0], 6)
    nats = cross_entropy(logits, label)
    assert loss == pytest.approx(nats.mean(), rel=1e-4)
    assert float(metrics["loss"][0]) == pytest.approx(nats.sum(), rel=1e-4)
    assert float(metrics["loss"][1]) == 12
    assert [float(x) for x in metrics["accuracy"]] == [(logits.argmax(1) == label).sum(), 12]
    # Every row is there twice, so the statistics of normalisation are the same as well.
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5), stats, explicit_stats)


def test_rows_whose_neighbour_is_of_the_same_file_make_no_false_pair(shared_and_explicit):
    batch = shared_batch() | {"file": np.array([3, 3, 5, 6, 6, 3], np.int32)}
    loss, metrics, logits, _, _ = shared_and_explicit(batch)
    # Row i meets the sound of row i - 1: rows 0 (neighbour 5), 1 and 4 meet their own file.
    weight = np.array([1] * 6 + [0, 0, 1, 1, 0, 1])
    nats = cross_entropy(logits, np.repeat([1, 0], 6))
    assert loss == pytest.approx((nats * weight).sum() / 9, rel=1e-4)
    assert float(metrics["loss"][1]) == float(metrics["accuracy"][1]) == 9


def test_score_is_the_probability_of_belonging_together_and_independent_of_the_other_rows(plain):
    config = tiny.config()
    net, batch = l3net.network(config), tiny.batch(plain.system, 4)
    score = jax.jit(plain.system.score)
    found = np.asarray(score(plain.variables, batch))
    embedded = jax.jit(plain.system.embed)(plain.variables, batch)
    logits = np.asarray(net.apply(plain.variables, embedded["video"], embedded["audio"], method=net.fuse), np.float64)
    np.testing.assert_allclose(found, np.exp(logits[:, 1]) / np.exp(logits).sum(1), rtol=1e-4)
    others = {name: np.concatenate([value[:2], value[:2][::-1]]) for name, value in batch.items()}
    np.testing.assert_allclose(np.asarray(score(plain.variables, others))[:2], found[:2], rtol=1e-5)


def test_groups_that_do_not_divide_the_batch_are_a_config_error():
    with pytest.raises(errors.ConfigError, match="batch_norm_group"):
        systems.make(tiny.config(system__batch_norm_group=3))
    systems.make(tiny.config(system__batch_norm_group=16))  # larger than the batch: one group
    systems.make(tiny.config(system__batch_norm_group=4, train__accumulate=2))
