"""Losses against sums written out."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from avc_jax import losses
from avc_jax.parallel import mesh as meshes

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


# Ranking ------------------------------------------------------------------------------------------------------------------

TWO = np.array([[2, 1], [0, 3]], np.float32)
THREE = np.array([[1, 0.8, -2], [3, 2, 1.5], [-1, -4, -3]], np.float32)
ZEROS = np.zeros((4, 4), np.float32)
SCORES = np.random.default_rng(1).normal(size=(8, 8)).astype(np.float32) * 2
PRESENT = np.array([1, 0, 1, 1, 0, 1, 1, 1], bool)
FILM = np.array([0, 0, 1, 1, 2, 2, 3, 3])
IMPOSTOR = np.array([2, 0, 3, 5, 1, 6, 7, 0])


def mean(pair) -> float:
    total, count = pair
    return float(total) / float(count)


@pytest.mark.parametrize(("scores", "margin", "wanted"), [
    (TWO, 0.0, 0.3078525), (TWO, 0.001, 0.3081300), (TWO, 1.0, 0.7232993), (ZEROS, 0.0, 2.7725887), (ZEROS, 0.001, 2.7740889)])
def test_mms_has_the_closed_forms_of_the_specification(scores, margin, wanted):
    assert mean(losses.mms(scores, margin)) == pytest.approx(wanted, abs=1e-6)


def test_gradient_of_mms_is_the_difference_of_two_softmaxes_and_the_pairs():
    grad = np.asarray(jax.grad(lambda scores: losses.mms(scores, 0.5)[0])(jnp.asarray(SCORES)))
    lowered = SCORES - 0.5 * np.eye(8)
    rows, columns = (np.exp(lowered) / np.exp(lowered).sum(axis, keepdims=True) for axis in (1, 0))
    np.testing.assert_allclose(grad, rows + columns - 2 * np.eye(8), atol=1e-5)
    np.testing.assert_allclose(grad.sum(), 0, atol=1e-5)


def test_pairs_that_are_true_off_the_diagonal_are_no_negatives():
    same = np.zeros((8, 8), bool)
    same[2, 5] = same[5, 2] = True
    weights = np.exp(SCORES.astype(np.float64)) * ~same
    wanted = -sum(np.log(np.diagonal(weights / weights.sum(axis, keepdims=True))).sum() for axis in (0, 1))
    assert float(losses.mms(SCORES, 0.0, same=same)[0]) == pytest.approx(wanted, rel=1e-5)
    assert float(losses.mms(SCORES, 0.0, same=np.eye(8, dtype=bool))[0]) == float(losses.mms(SCORES, 0.0)[0])


@pytest.mark.parametrize(("step", "wanted"), [(0, 0.001), (999, 0.001), (1000, 0.001002), (5999, 0.001 * 1.002**5)])
def test_the_margin_grows_by_steps(step, wanted):
    assert float(losses.scheduled_margin(jnp.int32(step), 0.001, 1.002, 1000)) == pytest.approx(wanted, rel=1e-5)


def test_adaptive_margin_has_the_closed_form_of_the_specification_and_may_be_held_fixed():
    assert mean(losses.adaptive_margin(TWO, 0.5)) == pytest.approx(0.6510068, abs=1e-6)
    assert mean(losses.adaptive_margin(TWO, 0.0)) == pytest.approx(mean(losses.mms(TWO, 0.0)), abs=1e-6)
    follow, fixed = (jax.grad(lambda s, follow=follow: losses.adaptive_margin(s, 0.5, follow=follow)[0])(jnp.asarray(SCORES))
                     for follow in (True, False))
    # Of the two ways, each sees the margins d(i) = (S_ii - mean of its negatives) / 2 as constants of its softmax.
    half = [0.5 * (np.diagonal(s) - (s.sum(1) - np.diagonal(s)) / 7) for s in (SCORES, SCORES.T)]
    rows = SCORES - np.diag(half[0])
    columns = SCORES - np.diag(half[1])
    wanted = np.exp(rows) / np.exp(rows).sum(1, keepdims=True) + np.exp(columns) / np.exp(columns).sum(0) - 2 * np.eye(8)
    np.testing.assert_allclose(fixed, wanted, atol=1e-5)
    assert np.abs(np.asarray(follow) - wanted).max() > 0.1


def test_nce_leaves_the_pair_out_of_the_denominator():
    assert mean(losses.nce(TWO)) == pytest.approx(((1 - 2) + (0 - 3) + (0 - 2) + (1 - 3)) / 2, abs=1e-6)
    assert losses.nce(np.ones((1, 1), np.float32)) == (0.0, 1.0)
    assert np.isfinite(jax.grad(lambda s: losses.nce(s)[0])(jnp.ones((1, 1)))).all()


@pytest.mark.parametrize(("scores", "wanted"), [([[0.5, 0.45], [0.2, 0.3]], 0.175), (ZEROS, 0.2)])
def test_max_margin_has_the_closed_forms_of_the_specification(scores, wanted):
    assert mean(losses.max_margin(np.array(scores, np.float32), 0.1)) == pytest.approx(wanted, abs=1e-6)


def test_weights_of_films_have_a_mean_of_1_and_those_of_the_specification():
    weights = np.asarray(losses.film_weights(np.repeat(np.arange(4), 3), 0.5))
    assert weights.mean() == pytest.approx(1)
    assert weights[0, 1] == pytest.approx(4 * 0.5)
    assert weights[0, 3] == pytest.approx(4 * 0.5 / 3)
    np.testing.assert_array_equal(losses.film_weights(np.arange(5), 0.5), 1)
    np.testing.assert_array_equal(losses.film_weights(np.zeros(5, int), 0.5), 1)


@pytest.mark.parametrize(("scores", "wanted"), [(ZEROS, 2.0794415), (TWO, 0.8496238)])
def test_mil_nce_has_the_closed_forms_of_the_specification(scores, wanted):
    assert mean(losses.mil_nce(scores)) == pytest.approx(wanted, abs=1e-6)


def test_mil_nce_leaves_out_candidates_that_are_not_there():
    number = np.array([3, 1, 0, 2])
    candidates = np.arange(3) < number[:, None]
    total, count = losses.mil_nce(np.where(candidates, 0, np.nan).astype(np.float32)[None].repeat(4, 0), candidates=candidates)
    # Of three examples that have any, the row holds 6 candidates, and the column its own three times.
    wanted = sum(np.log((6 + 3 * own) / own) for own in (3, 1, 2))
    assert (float(total), float(count)) == (pytest.approx(wanted, rel=1e-6), 3)
    absent = np.array([1, 1, 1, 0], bool)
    total, count = losses.mil_nce(np.zeros((4, 4, 3), np.float32), absent, candidates)
    assert (float(total), float(count)) == (pytest.approx(sum(np.log((4 + 2 * own) / own) for own in (3, 1)), rel=1e-6), 2)


@pytest.mark.parametrize(("legacy_floor", "wanted", "of_zeros"), [(True, 1.7666667, 4.0), (False, 0.4333333, 2.0)])
def test_triplets_have_the_closed_forms_of_the_specification(legacy_floor, wanted, of_zeros):
    assert mean(losses.semi_hard_triplet(THREE, 1.0, legacy_floor=legacy_floor)) == pytest.approx(wanted, abs=1e-6)
    impostor = losses.draw_impostors(jax.random.key(0), 4)
    total = sum(mean(losses.triplet(s, impostor, 1.0)) + mean(losses.semi_hard_triplet(s, 1.0, legacy_floor=legacy_floor))
                for s in (ZEROS, ZEROS.T))
    assert total == pytest.approx(of_zeros)


def test_the_sampled_triplet_of_two_pairs_has_one_impostor():
    impostor = losses.draw_impostors(jax.random.key(0), 2)
    np.testing.assert_array_equal(impostor, [1, 0])
    assert mean(losses.triplet(TWO, impostor, 1.0)) == mean(losses.triplet(TWO.T, impostor, 1.0)) == 0


def test_impostors_are_others_that_are_present_and_each_is_as_likely():
    drawn = np.stack([losses.draw_impostors(jax.random.key(k), 4, np.array([1, 1, 0, 1], bool)) for k in range(300)])
    assert (drawn[:, :2] != np.arange(2)).all()
    assert (drawn[:, [0, 1, 3]] != 2).all()
    assert np.bincount(drawn[:, 0], minlength=4)[[1, 3]] == pytest.approx([150, 150], abs=45)
    alone = losses.draw_impostors(jax.random.key(0), 3, np.array([0, 1, 0], bool))
    assert alone[1] == 1
    assert float(losses.triplet(SCORES[:3, :3], alone, 1.0, np.array([0, 1, 0], bool))[0]) == 0


def position(kept: np.ndarray) -> np.ndarray:
    """IMPOSTOR as places among the kept rows."""
    return np.cumsum(kept)[IMPOSTOR[kept]] - 1


RANKING = {
    "mms": lambda scores, present, kept: losses.mms(scores, 0.3, present),
    "same": lambda scores, present, kept: losses.mms(scores, 0.3, present, FILM[kept][:, None] == FILM[kept]),
    "adaptive": lambda scores, present, kept: losses.adaptive_margin(scores, 0.5, present),
    "nce": lambda scores, present, kept: losses.nce(scores, present),
    "max_margin": lambda scores, present, kept: losses.max_margin(scores, 0.5, None, present),
    "weighted": lambda scores, present, kept: losses.max_margin(
        scores, 0.5, losses.film_weights(FILM[kept], 0.4, present), present),
    "mil_nce": lambda scores, present, kept: losses.mil_nce(scores, present),
    "candidates": lambda scores, present, kept: losses.mil_nce(jnp.stack([scores, 2 * scores], -1), present),
    "triplet": lambda scores, present, kept: losses.triplet(scores, IMPOSTOR if kept.all() else position(kept), 1.0, present),
    "semi_hard": lambda scores, present, kept: losses.semi_hard_triplet(scores, 1.0, present),
    "legacy": lambda scores, present, kept: losses.semi_hard_triplet(scores, 1.0, present, legacy_floor=True),
}


@pytest.mark.parametrize("name", RANKING)
def test_rows_that_lack_a_modality_are_as_if_they_were_not_there(name):
    everything = np.ones(8, bool)
    smaller = SCORES[PRESENT][:, PRESENT]
    masked, grad = jax.value_and_grad(lambda s: RANKING[name](s, PRESENT, everything)[0])(jnp.asarray(SCORES))
    alone, wanted = jax.value_and_grad(lambda s: RANKING[name](s, None, PRESENT)[0])(jnp.asarray(smaller))
    np.testing.assert_allclose(masked, alone, rtol=1e-5)
    np.testing.assert_allclose(np.asarray(grad)[PRESENT][:, PRESENT], wanted, atol=1e-5)
    assert np.abs(np.asarray(grad)[~PRESENT]).max() == np.abs(np.asarray(grad)[:, ~PRESENT]).max() == 0
    assert float(RANKING[name](SCORES, PRESENT, everything)[1]) == float(RANKING[name](smaller, None, PRESENT)[1])
    assert float(masked) > 0


@pytest.mark.parametrize("name", RANKING)
def test_rows_that_lack_a_modality_may_hold_anything(name):
    usable = PRESENT[:, None] & PRESENT
    found = [jax.value_and_grad(lambda s: RANKING[name](s, PRESENT, np.ones(8, bool))[0])(jnp.asarray(scores))
             for scores in (SCORES, np.where(usable, SCORES, np.nan))]
    jax.tree.map(np.testing.assert_array_equal, *found)


@pytest.mark.parametrize("name", RANKING)
def test_a_batch_that_lacks_everything_costs_nothing_and_has_finite_gradients(name):
    total, grad = jax.value_and_grad(lambda s: RANKING[name](s, np.zeros(8, bool), np.ones(8, bool))[0])(jnp.asarray(SCORES))
    assert float(total) == 0
    assert (np.asarray(grad) == 0).all()


@pytest.mark.parametrize("name", RANKING)
def test_eight_devices_give_the_loss_and_the_gradients_of_one(name):
    rng = np.random.default_rng(2)
    rows, columns = (rng.normal(size=(8, 16)).astype(np.float32) for _ in range(2))

    def loss(rows, columns, present):
        total, count = RANKING[name](rows @ columns.T, present, np.ones(8, bool))
        return total / count

    one = jax.jit(jax.value_and_grad(loss, (0, 1)))(rows, columns, PRESENT)
    split = meshes.batch_sharding(meshes.make_mesh(8, 1))
    many = jax.jit(jax.value_and_grad(loss, (0, 1)), in_shardings=split)(*jax.device_put((rows, columns, PRESENT), split))
    assert len(many[1][0].sharding.device_set) == 8
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5), many, one)
