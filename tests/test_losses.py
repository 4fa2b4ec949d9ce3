"""Losses against sums written out."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from avc_jax import losses

LOGITS = np.random.default_rng(0).normal(size=(7, 2)).astype(np.float32) * 3
LABEL = np.array([0, 1, 1, 0, 1, 0, 0], np.int32)


def test_correspondence_is_the_cross_entropy_of_the_softmax():
    wanted = sum(-np.log(np.exp(z[y]) / np.exp(z).sum()) for z, y in zip(LOGITS.astype(np.float64), LABEL, strict=True))
    total, count = losses.correspondence(LOGITS, LABEL, np.ones(7, np.float32))
    assert float(total) == pytest.approx(wanted, rel=1e-6)
    assert float(count) == 7


def test_undecided_logits_cost_log_2_each():
    total, _ = losses.correspondence(np.zeros((5, 2), np.float32), np.array([0, 1, 0, 1, 1]), np.ones(5, np.float32))
    assert float(total) == pytest.approx(5 * np.log(2), rel=1e-6)


@pytest.mark.parametrize("function", [losses.correspondence, losses.hits])
def test_rows_without_weight_count_nothing(function):
    weight = np.array([1, 0, 1, 1, 0, 0, 1], np.float32)
    kept = weight > 0
    masked = function(LOGITS, LABEL, weight)
    alone = function(LOGITS[kept], LABEL[kept], np.ones(4, np.float32))
    np.testing.assert_allclose(masked, alone, rtol=1e-6)
    assert float(masked[1]) == 4


@pytest.mark.parametrize("function", [losses.correspondence, losses.hits])
def test_no_weight_at_all_gives_zero_over_zero_rows(function):
    total, count = function(LOGITS, LABEL, np.zeros(7, np.float32))
    assert (float(total), float(count)) == (0.0, 0.0)


def test_rows_without_weight_get_no_gradient():
    weight = np.array([1, 0, 1, 1, 0, 0, 1], np.float32)
    grad = np.asarray(jax.grad(lambda z: losses.correspondence(z, LABEL, weight)[0])(jnp.asarray(LOGITS)))
    softmax = np.exp(LOGITS) / np.exp(LOGITS).sum(1, keepdims=True)
    np.testing.assert_allclose(grad, (softmax - np.eye(2)[LABEL]) * weight[:, None], atol=1e-6)


def test_hits_count_the_rows_whose_largest_logit_is_at_the_label():
    logits = np.array([[1, 2], [2, 1], [0, 5], [5, 0]], np.float32)
    hit, count = losses.hits(logits, np.array([1, 1, 0, 0]), np.array([1, 1, 1, 2], np.float32))
    assert (float(hit), float(count)) == (3.0, 5.0)


def test_large_logits_do_not_overflow():
    total, _ = losses.correspondence(np.array([[1e4, -1e4]], np.float32), np.array([1]), np.ones(1, np.float32))
    assert float(total) == pytest.approx(2e4)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_classification_is_the_cross_entropy_with_a_smoothed_label(smoothing):
    rng = np.random.default_rng(0)
    logits, label = rng.normal(size=(6, 5)), rng.integers(0, 5, 6)
    total, count = losses.classification(logits.astype(np.float32), label, smoothing)
    log_p = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    wanted = -((1 - smoothing) * log_p[np.arange(6), label] + smoothing * log_p.mean(1)).sum()
    np.testing.assert_allclose(total, wanted, rtol=1e-5)
    assert float(count) == 6
