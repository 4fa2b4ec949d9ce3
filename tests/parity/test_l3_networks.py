"""Published networks with the vectors' weights, converted and asked: embeddings, scores, losses, gradients, statistics."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict
from parity.vectors import Vectors

from avc_jax import audio, losses, model
from avc_jax.nn.vgg import global_max_pool
from avc_jax.published import make, translate
from avc_jax.published.keras import numbered_anew
from avc_jax.systems import l3net

WHOLE = ("cnn_L3_orig", "cnn_L3_kapredbinputbn", "cnn_L3_melspec2")


def converted(vectors: Vectors, kind: str) -> model.Model:
    """The model that the weights of vectors make; their names are numbered as the reader of HDF5 numbers them."""
    weights, names = vectors.weights(), renamed(vectors.meta["models"]["net"]["entries"])
    kinds = make.kinds_of("l3net")
    made, _ = make.make("l3net", kinds[kind], {names[name]: array for name, array in weights.items()})
    return made


def renamed(entries: list) -> dict[str, str]:
    """Their names -> the names of our tables."""
    layers: dict[str, dict[str, None]] = {}
    split = {name: name.rsplit("/", 2) if name.count("/") == 2 else ["", *name.split("/")] for name, *_ in entries}
    for part, layer, _ in split.values():
        layers.setdefault(part, {})[layer] = None
    new = {part: numbered_anew(of_part) for part, of_part in layers.items()}
    return {name: "/".join(filter(None, (part, new[part][layer], last))) for name, (part, layer, last) in split.items()}


# Embedding networks --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["linear", "mel128", "mel256"])
def test_embeddings_of_sounds_are_those_of_openl3(shared, monkeypatch, name):
    vectors = Vectors(shared / "vectors" / "l3" / f"openl3_{name}.npz")
    spectrogram = vectors.input("spectrogram")[..., 0]
    monkeypatch.setattr(audio, "front_end", lambda config: lambda waveform: spectrogram)  # the vectors start behind it
    made = converted(vectors, f"openl3_audio_{name}")
    batch = {"waveform": np.zeros((1, 48000), np.int16)}
    vectors.check("embedding512", jax.jit(made.system.embed)(made.variables, batch)["audio"])
    vectors.check("embedding6144", jax.jit(made.system.transfer)(made.variables, batch)["audio"])


def test_embeddings_of_images_are_those_of_openl3(shared):
    vectors = Vectors(shared / "vectors" / "l3" / "openl3_image.npz")
    made = converted(vectors, "openl3_image")
    batch = {"frame": (vectors.input("image") + 1) * 127.5}
    vectors.check("embedding512", jax.jit(made.system.embed)(made.variables, batch)["video"])
    vectors.check("embedding8192", jax.jit(made.system.transfer)(made.variables, batch)["video"])


# Whole networks ------------------------------------------------------------------------------------------------------------


class Whole:
    """A converted network, the vectors' examples, and what it answers in inference."""

    def __init__(self, folder, kind: str):
        self.vectors = Vectors(folder / f"avc_{kind}.npz")
        self.kind = make.kinds_of("l3net")[kind]
        self.model = converted(self.vectors, kind)
        waves = np.stack([self.vectors.input("wave0"), self.vectors.input("wave1")])
        self.label = self.vectors.input("labels").argmax(1)
        self.batch = {"frame": (self.vectors.input("image") + 1) * 127.5, "waveform": waves * 32768, "label": self.label,
                      "file": np.arange(2)}

    def train(self):
        """f32[2, 2] logits, loss, gradients and new running statistics of one pass in training mode.

        The network itself is asked: these images go beyond [-1, 1], where the system's augmentation clips.
        """
        config, net = self.model.config, l3net.network(self.model.config)
        spectrogram = audio.front_end(config.audio)(self.batch["waveform"] / 32768)

        def loss(params):
            variables = {**self.model.variables, "params": params}
            logits, new = net.apply(variables, self.vectors.input("image"), spectrogram, train=True, mutable=["batch_stats"])
            total, count = losses.correspondence(logits, self.label, jnp.ones(2))
            return total / count, (logits, new)

        (value, (logits, new)), grads = jax.jit(jax.value_and_grad(loss, has_aux=True))(self.model.variables["params"])
        return jax.device_get((logits, value, grads, new))


@pytest.fixture(scope="module", params=WHOLE)
def whole(request, shared) -> Whole:
    return Whole(shared / "vectors" / "l3", request.param)


def kernels(tree) -> dict[str, np.ndarray]:
    return {path: leaf for path, leaf in flatten_dict(tree, sep="/").items() if path.endswith("/kernel")}


def penalty_of(params) -> float:
    return sum(float((np.asarray(kernel, np.float64) ** 2).sum()) for kernel in kernels(params).values()) * 1e-5


@pytest.mark.slow
def test_scores_and_loss_are_those_of_the_published_network(whole):
    score = np.asarray(jax.jit(whole.model.system.score)(whole.model.variables, whole.batch), np.float64)
    whole.vectors.check("softmax_eval", np.stack([1 - score, score], 1))
    whole.vectors.check("l2_penalty", penalty_of(whole.model.variables["params"]))
    chosen = np.where(whole.label == 1, score, 1 - score)
    whole.vectors.check("loss_eval", -np.log(chosen).mean())


@pytest.mark.slow
def test_maps_and_transfer_features_are_those_of_the_published_network(whole):
    maps = jax.jit(whole.model.system.maps)(whole.model.variables, whole.batch)
    whole.vectors.check("vision_pool4", global_max_pool(maps["video"]))
    whole.vectors.check("audio_pool4", global_max_pool(maps["audio"]))
    sounds = {"waveform": whole.batch["waveform"]}
    whole.vectors.check("audio_embedding_6144", jax.jit(whole.model.system.transfer)(whole.model.variables, sounds)["audio"])


@pytest.mark.slow
def test_a_training_step_is_that_of_the_published_network(whole):
    logits, loss, grads, new = whole.train()
    whole.vectors.check("softmax_train", jax.nn.softmax(logits))
    whole.vectors.check("cross_entropy_train", loss)
    about, names = whole.vectors.meta["models"]["net"], renamed(whole.vectors.meta["models"]["net"]["entries"])
    variables = flatten_dict({"params": grads, **new}, sep="/")
    for path, kernel in kernels(whole.model.variables["params"]).items():  # as the optimizer adds it, see optimizer.weight_decay
        variables[f"params/{path}"] = variables[f"params/{path}"] + 2e-5 * np.asarray(kernel)
    theirs = translate.to_theirs(variables, whole.kind)
    theirs = {name: theirs[new_name] for name, new_name in names.items()}
    norms = {name: np.linalg.norm(array.astype(np.float64)) for name, array in theirs.items()}
    whole.vectors.check_norms("grad/net#norms", about["grad_names"], norms)
    sums = {name: [array.astype(np.float64).sum(), (array.astype(np.float64) ** 2).sum()] for name, array in theirs.items()}
    whole.vectors.check_norms("bn/net#sums", about["bn_names"], sums)
