"""AVLnet's networks with the vectors' weights: embeddings, losses, gradients and statistics are those of the release."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny
from flax.traverse_util import flatten_dict, unflatten_dict
from parity.vectors import Vectors

from avc_jax import config as configs
from avc_jax import losses, systems
from avc_jax.nn.gated import GatedUnit
from avc_jax.nn.resdavenet import ResDAVEnet
from avc_jax.nn.words import WordPool
from avc_jax.published import make, translate
from avc_jax.published.resdavenet import resdavenet
from avc_jax.published.table import Checkpoint
from avc_jax.systems import base

# As the release computes: zeros behind sounds and words count.
AS_PUBLISHED = {"data.sound": "spectrogram", "system.padding": "loudest", "system.word_padding": "counted"}
IN_EVAL = {"system.batch_norm": "running", "system.pool": "masked"}
IN_TRAINING = {"system.batch_norm": "batch", "system.pool": "all"}


class Published:
    """A network of a file of vectors, with their weights.

    Attributes:
      vectors: the file.
      kind: its table.
      variables: ours.
      batch: the file's inputs as fields.
    """

    def __init__(self, folder, name: str, kind: str):
        self.vectors = Vectors(folder / f"{name}.npz")
        about = self.vectors.meta["models"]["Net"]
        self.kind = make.kinds_of("avlnet")[kind]
        self._config = {**self.kind.config, **AS_PUBLISHED, "system.embedding": about["args"]["embd_dim"]}
        shapes = flatten_dict(base.shapes_of(self.system()), sep="/")
        self.variables = unflatten_dict(translate.to_ours(self.vectors.weights("Net"), self.kind, shapes, {}), sep="/")
        self.batch = {"spectrogram": self.vectors.input("audio"), "spectrogram_length": self.vectors.input("nframes"),
                      "video": self.vectors.input("video"), "file": np.arange(len(self.vectors.input("video")))}
        if "text" in self.vectors.meta["inputs"]:
            self.batch["words"] = self.vectors.input("text")

    def system(self, **changes) -> base.System:
        """The system, with keys changed."""
        return systems.make(tiny.changed(configs.default("avlnet"), {**self._config, **changes}))

    def train(self, system: base.System):
        """Loss, metrics, and gradients and new statistics by their published names."""
        def loss(params):
            value, new, metrics = system.loss({**self.variables, "params": params}, self.batch, jax.random.key(0))
            return value, (new, metrics)

        (value, (new, metrics)), grads = jax.jit(jax.value_and_grad(loss, has_aux=True))(self.variables["params"])
        found = flatten_dict(jax.device_get({"params": grads, **new}), sep="/")
        return value, metrics, translate.to_theirs(found, self.kind)


def check_gradients(net: Published, theirs) -> None:
    """A unit of a ReLU that rounding flips moves the norms of what lies below it by up to 2.2e-3 here, in the trunk's first
    convolutions; heads and the last stage are met to some 1e-5."""
    net.vectors.check_gradients("Net", theirs, elements=0.03, norms=4e-3,
                                steady=lambda name: not name.startswith("DAVEnet.") or name.startswith("DAVEnet.layer4"))


def parameters(variables) -> int:
    return sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))


@pytest.mark.slow
def test_inference_of_avlnet_and_its_gradients_are_those_of_the_release(shared):
    net = Published(shared / "vectors" / "avlnet", "net_av_eval", "avlnet")
    assert parameters(net.variables) == net.vectors.meta["models"]["Net"]["parameters"]
    found = jax.jit(net.system().embed)(net.variables, net.batch)
    for name in ("audio", "video"):
        net.vectors.check(name, found[name])
    scores = found["audio"] @ found["video"].T
    net.vectors.check("S", scores)
    for margin in (0.0, 0.1, 1.0):
        total, count = losses.mms(scores, margin)
        net.vectors.check(f"loss_margin{margin}", total / count)
    value, _, theirs = net.train(net.system(**IN_EVAL))
    net.vectors.check("loss", value)
    check_gradients(net, theirs)


@pytest.mark.slow
def test_a_training_step_of_avlnet_is_that_of_the_release(shared):
    net = Published(shared / "vectors" / "avlnet", "net_av_train", "avlnet")
    value, metrics, theirs = net.train(net.system(**IN_TRAINING))
    net.vectors.check("loss", value)
    np.testing.assert_allclose(metrics["loss"][0] / metrics["loss"][1], value, rtol=1e-6)
    hits = (net.vectors["out/S"].argmax(1) == np.arange(4)).mean()
    assert float(metrics["recall_audio_to_video"][0] / metrics["recall_audio_to_video"][1]) == pytest.approx(hits)
    check_gradients(net, theirs)
    net.vectors.check_statistics("Net", theirs)


@pytest.mark.slow
def test_inference_of_the_tri_variant_is_that_of_the_release(shared):
    net = Published(shared / "vectors" / "avlnet", "net_tri", "avlnet_text_tri")
    assert parameters(net.variables) == net.vectors.meta["models"]["Net"]["parameters"]
    check_tri(net, jax.jit(net.system().embed)(net.variables, net.batch))


def check_tri(net: Published, found) -> None:
    for name in ("audio", "video", "text"):
        net.vectors.check(name, found[name])
    net.vectors.check("S_t_av", found["text"] @ found["audio+video"].T)
    pairs = [losses.mms(found[a] @ found[b].T, 0.001) for a, b in (("audio", "video"), ("audio", "text"), ("text", "video"))]
    net.vectors.check("loss_pairs_av_at_tv", np.array([total / count for total, count in pairs]))


@pytest.mark.slow
def test_a_training_step_of_the_tri_variant_is_that_of_the_release(shared):
    net = Published(shared / "vectors" / "avlnet", "net_tri_grad", "avlnet_text_tri")
    value, _, theirs = net.train(net.system(**IN_TRAINING))
    net.vectors.check("loss", value)
    check_gradients(net, theirs)
    net.vectors.check_statistics("Net", theirs)
    added = jax.jit(net.system(**IN_TRAINING, **{"system.tri_loss": "text_to_sum"}).loss)(net.variables, net.batch,
                                                                                          jax.random.key(0))
    net.vectors.check("loss_additive", added[0])


@pytest.mark.slow
def test_inference_of_the_fused_variant_is_that_of_the_release(shared):
    net = Published(shared / "vectors" / "avlnet", "net_fused", "avlnet_text_fused")
    assert parameters(net.variables) == net.vectors.meta["models"]["Net"]["parameters"]
    found = jax.jit(net.system().embed)(net.variables, net.batch)
    assert set(found) == {"audio+text", "video"}
    net.vectors.check("audio_text", found["audio+text"])
    net.vectors.check("video", found["video"])
    net.vectors.check("S", found["audio+text"] @ found["video"].T)


@pytest.mark.slow
def test_a_training_step_of_the_fused_variant_is_that_of_the_release_and_leaves_what_is_unused(shared):
    net = Published(shared / "vectors" / "avlnet", "net_fused_grad", "avlnet_text_fused")
    value, _, theirs = net.train(net.system(**IN_TRAINING))
    net.vectors.check("loss", value)
    check_gradients(net, theirs)
    assert np.isnan(net.vectors["grad/Net#norms"]).any()


# The trunk alone ---------------------------------------------------------------------------------------------------------


def trunk(vectors: Vectors, model: str, widths) -> tuple:
    """(network, variables, table) of a file's network that hears."""
    kind = Checkpoint({}, tuple(resdavenet("", "")), {"*": None})
    net = ResDAVEnet(widths=widths)
    shapes = flatten_dict(dict(jax.eval_shape(lambda: net.init(jax.random.key(0), jnp.zeros((1, 40, 32)), False))), sep="/")
    return net, unflatten_dict(translate.to_ours(vectors.weights(model), kind, shapes, {}), sep="/"), kind


def layers(net: ResDAVEnet, variables, x, train: bool, **rngs):
    """Output f[B, T', C], and what the first convolution and each stage hand on; and new statistics."""
    outputs = ("norm1", *(f"stage{stage}_block1" for stage in range(1, 5)))

    def run(variables):
        last, kept = net.apply(variables, x, train, rngs=rngs, mutable=["batch_stats", "intermediates"],
                               capture_intermediates=lambda module, _: module.name in outputs)
        found = [kept["intermediates"][name]["__call__"][0] for name in outputs]
        return last, [jax.nn.relu(found[0]), *found[1:]], kept["batch_stats"]

    return jax.jit(run)(variables)


@pytest.mark.slow
def test_maps_of_the_trunk_are_those_of_the_release_whatever_the_length(shared):
    vectors = Vectors(shared / "vectors" / "avlnet" / "davenet_eval.npz")
    net, variables, _ = trunk(vectors, "DAVEnet", (128, 128, 256, 512, 1024))
    # Weights that a program closes over are constants to the compiler, which takes minutes to fold them.
    apply = functools.partial(jax.jit(lambda variables, x: net.apply(variables, x, False).swapaxes(1, 2)), variables)
    for name in ("audio", "audio_padded"):
        vectors.check(name, apply(vectors.input(name)))
    lengths = vectors["out/lengths"]
    for frames, positions in lengths.T:
        found = apply(vectors.input(f"len{frames}"))
        assert found.shape[2] == positions
        vectors.check(f"len{frames}", found[:, :8])
    last, stages, _ = layers(net, variables, vectors.input("audio_db"), False)
    vectors.check("audio_db", last.swapaxes(1, 2))
    for name, stage in zip(("stem", "layer1", "layer2", "layer3", "layer4"), stages, strict=True):
        vectors.check(name, stage.swapaxes(1, 2)[:, :, None])


def flat(stage, frames: np.ndarray, whole: int) -> np.ndarray:
    """f[n, C]: the positions without padding of f[B, T, C], one sound after the other."""
    ratio = round(whole / stage.shape[1])
    return np.concatenate([np.asarray(rows)[:count // ratio] for rows, count in zip(stage, frames, strict=True)])


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["eval", "train"])
def test_layers_of_resdavenet_are_those_of_its_code(shared, mode):
    vectors = Vectors(shared / "vectors" / "resdavenet_vq" / f"audio_novq_{mode}.npz")
    net, variables, kind = trunk(vectors, "audio", (128, 256, 256, 512, 1024))
    x, frames = vectors.input("audio"), vectors.input("nframes")
    last, stages, new = layers(net, variables, x, mode == "train")
    vectors.check("audio", last.swapaxes(1, 2)[:, :, None])
    for place, stage in enumerate(stages, start=1):
        vectors.check(f"flat{place}_inputs", flat(stage, frames, x.shape[2]))
    if mode == "eval":
        return
    weight = vectors.input("cotangent")[:, :, 0].swapaxes(1, 2)

    def loss(params):
        found, _ = net.apply({**variables, "params": params}, x, True, mutable=["batch_stats"])
        return jnp.sum(found * weight) / jnp.sqrt(jnp.float32(weight.size))

    value, grads = jax.jit(jax.value_and_grad(loss))(variables["params"])
    vectors.check("loss_total", value)
    theirs = translate.to_theirs(flatten_dict(jax.device_get({"params": grads, "batch_stats": new}), sep="/"), kind)
    vectors.check_gradients("audio", theirs)
    vectors.check_statistics("audio", theirs)


@pytest.mark.slow
def test_recorded_jitter_moves_frames_as_in_the_published_code(shared, monkeypatch):
    vectors = Vectors(shared / "vectors" / "resdavenet_vq" / "audio_jitter_train.npz")
    net, variables, _ = trunk(vectors, "audio", (128, 256, 256, 512, 1024))
    # Draws of 0, 1 and 2, which that code adds as they are. Behind the first stage the file goes through a code book.
    monkeypatch.setattr("avc_jax.nn.resdavenet.draw_shifts", lambda rng, frames, jitter, form: vectors[
        f"in/jitter_draw{int(frames == 128)}"].astype(np.int32))
    x, frames = vectors.input("audio"), vectors.input("nframes")
    _, stages, _ = layers(net.clone(jitter=(0.12, 0.12)), variables, x, True, jitter=jax.random.key(0))
    for place, stage in enumerate(stages[:2], start=1):
        vectors.check(f"flat{place}_inputs", flat(stage, frames, x.shape[2]))


# Parts that HowTo100M's text-video network has too ------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["net_forward", pytest.param("full_forward", marks=pytest.mark.slow)])
def test_gated_units_and_words_are_those_of_howto100m(shared, name):
    vectors = Vectors(shared / "vectors" / "howto100m" / f"{name}.npz")
    about, weights = vectors.meta["models"]["Net"]["args"], vectors.weights("Net")

    def layer(theirs):
        return {"kernel": weights[f"{theirs}.weight"].T, "bias": weights[f"{theirs}.bias"]}

    def unit(theirs, x):
        params = {"linear": layer(f"{theirs}.fc"), "gate": layer(f"{theirs}.cg.fc")}
        found = GatedUnit(about["E"]).apply({"params": params}, x)
        return found / np.linalg.norm(found, axis=1, keepdims=True)

    pooled = WordPool(about["E"]).apply({"params": {"linear": layer("text_pooling.fc")}}, vectors.input("text"))
    video, text = unit("GU_video", vectors.input("video")), unit("GU_text", pooled)
    vectors.check("video_embedding", video)
    vectors.check("text_embedding", text)
    scores = text @ video.T
    vectors.check("S", scores)
    total, count = losses.max_margin(scores, 0.1)
    vectors.check("max_margin", total / count)
