"""Spoken ObjectNet's networks, similarities and losses beside those of ResDAVEnet's and DAVEnet's code."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torchfile
from flax.traverse_util import flatten_dict, unflatten_dict
from parity.vectors import Vectors

from avc_jax import losses, systems
from avc_jax.nn import matchmap, pool
from avc_jax.published import make, translate
from avc_jax.published.read import read
from avc_jax.systems import base, spoken_objectnet


class Half:
    """What hears or what sees, with the weights of a file of vectors.

    Attributes:
      vectors: the file.
      kind: its table.
      net: the Flax module.
      variables: ours.
    """

    def __init__(self, path, name: str, model: str):
        self.vectors, self.kind = Vectors(path), make.kinds_of("spoken_objectnet")[name]
        config = make.config_of("spoken_objectnet", self.kind)
        system = base.without(systems.make(config), self.kind.missing)
        weights = self.vectors.weights(model)
        assert sum(leaf.size for leaf in jax.tree.leaves(base.shapes_of(system)["params"])) == (
            self.vectors.meta["models"][model]["parameters"])
        shapes = flatten_dict(base.shapes_of(system), sep="/")
        self.variables = unflatten_dict(translate.to_ours(weights, self.kind, shapes, {}), sep="/")
        self.net = spoken_objectnet.network(config)

    def maps(self, **inputs):
        """Their maps, channels first, and new statistics."""
        train = self.vectors.meta["mode"] == "train"
        found, new = jax.jit(lambda variables: self.net.apply(variables, inputs, train, mutable=["batch_stats"]))(self.variables)
        (value,) = found.values()
        return jnp.moveaxis(value, -1, 1), new


@pytest.mark.parametrize("mode", ["eval", "train"])
def test_davenet_hears_as_in_its_code(shared, mode):
    half = Half(shared / "vectors" / "spoken_objectnet" / f"davenet_audio_{mode}.npz", "davenet_audio", "audio")
    found, new = half.maps(audio=half.vectors.input("audio"))
    half.vectors.check("audio", found)
    if mode == "train":
        theirs = translate.to_theirs(flatten_dict(jax.device_get({**half.variables, **new}), sep="/"), half.kind)
        half.vectors.check_statistics("audio", theirs)


def test_a_file_of_pytorch_that_data_parallel_saved_becomes_half_a_network(shared, tmp_path):
    vectors = Vectors(shared / "vectors" / "spoken_objectnet" / "davenet_audio_eval.npz")
    path = torchfile.write(tmp_path / "best_audio_model.pth", {
        f"module.{name}": array for name, array in vectors.weights("audio").items()})
    kinds, arrays = make.kinds_of("spoken_objectnet"), read(path)
    kind = make.choose(kinds, arrays, path)
    net, initial = make.make("spoken_objectnet", kinds[kind], arrays)
    assert (kind, net.missing_modalities, initial) == ("davenet_audio", ("video",), [])
    found = jax.jit(net.system.maps)(net.variables, {"spectrogram": vectors.input("audio")})
    assert set(found) == {"audio"}
    vectors.check("audio", jnp.moveaxis(found["audio"][:, 0], -1, 1))


@pytest.mark.slow
@pytest.mark.parametrize(("folder", "name", "kind"), [
    ("spoken_objectnet", "davenet_resnet18", "davenet_image_resnet18"),
    ("spoken_objectnet", "davenet_vgg16", "davenet_image_vgg16"),
    ("resdavenet_vq", "image_resnet50_eval", "resdavenet_image"), ("resdavenet_vq", "image_resnet50_train", "resdavenet_image")])
def test_pictures_are_seen_as_in_the_published_code(shared, folder, name, kind):
    half = Half(shared / "vectors" / folder / f"{name}.npz", kind, "image")
    found, new = half.maps(video=half.vectors.input("image").transpose(0, 2, 3, 1))
    half.vectors.check("image", found)
    if half.vectors.meta["mode"] == "train":
        theirs = translate.to_theirs(flatten_dict(jax.device_get({**half.variables, **new}), sep="/"), half.kind)
        half.vectors.check_statistics("image", theirs)


@pytest.mark.slow
def test_the_whole_of_resdavenet_hears_as_in_its_code(shared):
    half = Half(shared / "vectors" / "resdavenet_vq" / "audio_novq_eval.npz", "resdavenet_audio", "audio")
    half.vectors.check("audio", half.maps(audio=half.vectors.input("audio"))[0][:, :, None])


# Similarities and losses -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def similarities(shared) -> Vectors:
    return Vectors(shared / "vectors" / "resdavenet_vq" / "similarities.npz")


def sides(vectors: Vectors, counts: str):
    """f32[4, H, W, C], f32[4, T, C], int32[4]: at least one moment counts, as where lengths are pooled."""
    return (jnp.asarray(vectors.input("image").transpose(0, 2, 3, 1)), jnp.asarray(vectors.input("audio").swapaxes(1, 2)),
            jnp.maximum(1, vectors.input(counts)))


@pytest.mark.parametrize("kind", matchmap.KINDS)
def test_similarities_and_their_gradients_are_those_of_the_code(similarities, kind):
    pictures, sounds, count = sides(similarities, "nframes")
    weight = similarities.input("cot")

    def weighted(pictures, sounds):
        scores = matchmap.similarity(kind, pictures, sounds, count)
        return jnp.sum(scores * weight), scores

    (_, scores), (of_pictures, of_sounds) = jax.jit(jax.value_and_grad(weighted, (0, 1), has_aux=True))(pictures, sounds)
    similarities.check(f"S_{kind.upper()}", scores)
    similarities.check(f"gI_{kind.upper()}", of_pictures.transpose(0, 3, 1, 2))
    similarities.check(f"ga_{kind.upper()}", of_sounds.swapaxes(1, 2))


def test_the_product_of_means_is_the_pooled_similarity_of_the_code(similarities):
    pictures, sounds, count = sides(similarities, "nframes")
    means = pool.mean_over_time(sounds, count)
    similarities.check("S_pooldot", pictures.mean((1, 2)) @ means.T)
    np.testing.assert_allclose(matchmap.similarity("sisa", pictures, sounds, count), pictures.mean((1, 2)) @ means.T, rtol=1e-4,
                               atol=1e-6)


@pytest.mark.parametrize("kind", matchmap.KINDS)
def test_the_rank_loss_of_davenet_is_that_of_two_sampled_impostors(similarities, kind):
    scores = matchmap.similarity(kind, *sides(similarities, "nframes_rank_loss"))
    pictures, captions = similarities[f"in/impostors_{kind.upper()}"].T
    # Of each caption another picture, of each picture another caption.
    total = losses.triplet(scores.T, pictures, 1.0)[0] + losses.triplet(scores, captions, 1.0)[0]
    similarities.check(f"rank_loss_{kind.upper()}", np.array([total / 4]))


def test_terms_of_a_published_step_follow_from_its_scores(shared):
    vectors = Vectors(shared / "vectors" / "resdavenet_vq" / "train_step.npz")
    scores = jnp.asarray(vectors["out/S"])
    rows, columns = vectors["in/sampled_impostors_rows"], vectors["in/sampled_impostors_cols"]
    terms = [losses.triplet(scores, rows, 1.0), losses.triplet(scores.T, columns, 1.0),
             losses.semi_hard_triplet(scores, 1.0, legacy_floor=True), losses.semi_hard_triplet(scores.T, 1.0, legacy_floor=True)]
    vectors.check("terms", np.array([total / count for total, count in terms]))
    np.testing.assert_array_equal(pool.valid_positions(vectors.input("nframes"), 256, 16), vectors["out/nframes_pooled"])
