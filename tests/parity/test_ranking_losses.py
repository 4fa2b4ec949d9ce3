"""Ranking losses and their gradients beside those of the published code."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from parity.vectors import Vectors

from avc_jax import losses


def value_and_gradient(loss, *inputs):
    """The mean of a (sum, count) loss, and its gradients by all inputs."""
    def mean(*inputs):
        total, count = loss(*inputs)
        return total / count

    return jax.jit(jax.value_and_grad(mean, tuple(range(len(inputs)))))(*map(jnp.asarray, inputs))


@pytest.mark.parametrize("size", [2, 4, 16, 64])
@pytest.mark.parametrize("margin", ["0.0", "0.001", "0.1", "1.0"])
def test_mms_is_that_of_avlnet(shared, size, margin):
    vectors = Vectors(shared / "vectors" / "avlnet" / "mms_loss.npz")
    value, (grad,) = value_and_gradient(lambda scores: losses.mms(scores, float(margin)), vectors.input(f"S{size}"))
    vectors.check(f"loss_n{size}_m{margin}", value)
    vectors.check(f"grad_n{size}_m{margin}", grad)


VARIANTS = {"infonce": lambda scores: losses.mms(scores, 0.0), "mms1": lambda scores: losses.mms(scores, 1.0),
            "amm": lambda scores: losses.adaptive_margin(scores, 0.5),
            **{f"sched{step}": lambda scores, step=step: losses.mms(scores, losses.scheduled_margin(step, 0.001, 1.002, 1000))
               for step in (0, 999, 500000)}}


@pytest.mark.parametrize("size", [4, 16])
@pytest.mark.parametrize("name", VARIANTS)
def test_margins_are_those_of_the_reimplementation(shared, size, name):
    vectors = Vectors(shared / "vectors" / "avlnet" / "margin_variants.npz")
    value, grads = value_and_gradient(lambda x, y: VARIANTS[name](x @ y.T), vectors.input(f"x{size}"), vectors.input(f"y{size}"))
    np.testing.assert_allclose(value, vectors[f"out/{name}_n{size}"][0], rtol=1e-5)
    for letter, grad in zip("xy", grads, strict=True):
        vectors.check(f"{name}_n{size}_g{letter}", grad)


@pytest.mark.parametrize(("films", "clips", "hard", "margin"), [(4, 3, 0.5, 0.1), (3, 2, 0.8, 1.0), (5, 1, 0.5, 0.1)])
@pytest.mark.parametrize("weighted", [0, 1])
def test_max_margin_is_that_of_howto100m(shared, films, clips, hard, margin, weighted):
    vectors = Vectors(shared / "vectors" / "howto100m" / "max_margin_loss.npz")
    weight = losses.film_weights(jnp.repeat(jnp.arange(films), clips), hard) if weighted else None
    value, (grad,) = value_and_gradient(lambda scores: losses.max_margin(scores, margin, weight),
                                        vectors.input(f"S_V{films}_n{clips}"))
    name = f"V{films}_n{clips}_h{hard}_m{margin}_weighted{weighted}"
    vectors.check(name, value)
    vectors.check(f"{name}_grad", grad)
    if weighted and clips > 1:
        vectors.check(f"{name}_mask", weight)


def test_mms_and_mil_nce_are_those_of_multimodal_clustering(shared):
    vectors = Vectors(shared / "vectors" / "mcn" / "losses.npz")
    total, count = losses.mms(vectors.input("S"), 0.001)
    vectors.check("mms", total / count)
    for size, candidates in ((4, 1), (6, 3)):
        def loss(videos, texts, candidates=candidates):
            return losses.mil_nce((videos @ texts.T).reshape(len(videos), len(videos), candidates))

        name = f"{size}x{candidates}"
        value, grads = value_and_gradient(loss, vectors.input(f"v{name}"), vectors.input(f"t{name}"))
        vectors.check(f"milnce_{name}", value)
        vectors.check(f"milnce_{name}_gv", grads[0])
        vectors.check(f"milnce_{name}_gt", grads[1])


@pytest.mark.parametrize("name", ["S3", "S8", "S32", "spec3", "zeros", "neg"])
@pytest.mark.parametrize("margin", ["1.0", "0.2"])
def test_triplets_are_those_of_resdavenet(shared, name, margin):
    vectors = Vectors(shared / "vectors" / "resdavenet_vq" / "triplet_losses.npz")
    for suffix in ("", "_T"):
        impostor, scores = vectors[f"in/imp_{name}{suffix}_m{margin}"], vectors.input(name)

        def way(scores, suffix=suffix):
            return scores.T if suffix else scores

        for kind, loss in {
            "sampled": lambda scores, way=way, impostor=impostor: losses.triplet(way(scores), impostor, float(margin)),
            "semihard": lambda scores, way=way: losses.semi_hard_triplet(way(scores), float(margin), legacy_floor=True),
        }.items():
            value, (grad,) = value_and_gradient(loss, scores)
            vectors.check(f"{kind}_{name}{suffix}_m{margin}", value)
            # Where a hinge is at 0, or several impostors are as near, the gradient is a matter of taste.
            if name not in ("zeros", "spec3"):
                vectors.check(f"{kind}_{name}{suffix}_m{margin}_grad", grad)
