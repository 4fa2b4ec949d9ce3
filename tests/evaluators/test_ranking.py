"""Ranks and what is told of them, against lists that are sorted and counted one by one."""

import itertools

import numpy as np
import pytest
from evaluators import brute

from avc_jax.evaluators import ranking
from avc_jax.evaluators.ranking import Counts

TIES = np.array([[1, 1, 0], [0, 1, 1], [0, 0.5, 1]])


def counted(scores) -> Counts:
    return ranking.count(np.asarray(scores, float), np.arange(len(scores)))


def told(counts, rule, denominator="available", official=0):
    return ranking.summarise(counts, rule, denominator, official)


@pytest.mark.parametrize("rule", ranking.RULES)
@pytest.mark.parametrize("levels", [2, 5, 10**6])
def test_every_rule_is_that_of_sorted_lists(rule, levels):
    rng = np.random.default_rng(levels)
    for seed in range(5):
        scores = rng.integers(0, levels, (25, 15 + seed)).astype(float)
        own = rng.integers(0, scores.shape[1], 25)
        wanted = brute.ranks(scores, own, rule)
        counts = ranking.count(scores, own)
        np.testing.assert_array_equal(ranking.ranks(counts, rule), wanted)
        for denominator, divisor in (("available", 25), ("listed", len(wanted)), ("official", 40)):
            found = told(counts, rule, denominator, 40)
            assert found["divisor"] == divisor
            assert found["recall"] == pytest.approx(brute.recalls(wanted, divisor))
            assert found["median_rank"] == np.median(wanted) + 1
            assert found["mean_rank"] == pytest.approx(np.mean(wanted) + 1)


def test_acceptance_checks_of_the_specification():
    counts = counted(TIES)
    assert ranking.ranks(counts, "average").tolist() == [0.5, 0.5, 0]
    assert ranking.ranks(counts, "optimistic").tolist() == [0, 0, 0]
    assert ranking.ranks(counts, "pessimistic").tolist() == [1, 1, 0]
    assert ranking.ranks(counts, "naive").tolist() == [0, 1, 0, 1, 0]
    assert told(counts, "average")["recall"]["1"] == pytest.approx(1 / 3) and told(counts, "average")["median_rank"] == 1.5
    assert told(counts, "naive")["recall"]["1"] == 1
    constant = counted(np.ones((4, 4)))
    assert ranking.ranks(constant, "average").tolist() == [1.5] * 4
    assert [told(constant, "average")["recall"][k] for k in ("1", "5")] == [0, 1]
    assert told(constant, "naive")["recall"]["1"] == 1 and told(constant, "naive", "listed")["recall"]["1"] == 0.25
    assert told(constant, "naive")["median_rank"] == 2.5
    plain = np.array([[0.9, 0.1, 0.2], [0.8, 0.5, 0.6], [0.1, 0.7, 0.3]])
    assert ranking.ranks(counted(plain), "average").tolist() == [0, 2, 1] and told(counted(plain), "average")["median_rank"] == 2
    assert ranking.ranks(counted(plain.T), "average").tolist() == [0, 1, 1]


def test_missing_queries_lower_recall_and_leave_the_median():
    found = told(counted(np.eye(968)), "average", "official", 1000)
    assert found["recall"]["1"] == pytest.approx(0.968) and found["median_rank"] == 1


def test_what_is_no_number_lies_behind_everything():
    scores = np.array([[np.nan, 1, 2], [0, np.nan, 1], [np.nan, np.nan, 0]])
    counts = counted(scores)
    assert counts.greater.tolist() == [2, 2, 0] and counts.equal.tolist() == [1, 1, 1]
    assert told(counted(np.full((7, 7), np.nan)), "optimistic")["recall"]["5"] == 0


def test_a_constant_million_needs_no_list_of_all_places():
    size = 10**6
    found = told(Counts(np.zeros(size, int), np.full(size, size)), "naive", "listed")
    assert found["divisor"] == size * size and found["median_rank"] == (size + 1) / 2
    assert found["recall"]["10"] == pytest.approx(10 / size)


def test_nothing_asked_has_no_rank_and_no_hits():
    nothing = Counts(np.zeros(0, int), np.zeros(0, int))
    for rule in ranking.RULES:
        found = told(nothing, rule, "official", 5)
        assert found["recall"] == {"1": 0, "5": 0, "10": 0} and found["median_rank"] is found["mean_rank"] is None
    assert told(nothing, "average", "available")["recall"]["1"] == 0
    assert ranking.intervals(nothing, "average", "official", 5, resamples=10, seed=0) == {}


def test_random_scores_give_chance():
    rng, found = np.random.default_rng(0), []
    for _ in range(200):
        found.append(list(told(counted(rng.normal(size=(200, 200))), "average", "official", 250)["recall"].values()))
    wanted = list(ranking.chance(200, np.ones(200, int), 250)["recall"].values())
    assert wanted == pytest.approx([0.004, 0.02, 0.04])
    error = np.std(found, axis=0) / np.sqrt(200)
    assert (np.abs(np.mean(found, axis=0) - wanted) < 3 * error + 1e-9).all()
    few = ranking.chance(3, np.ones(3, int), 3)
    assert few["recall"] == pytest.approx({"1": 1 / 3, "5": 1, "10": 1}) and few["median_rank"] == 2


def test_the_nearest_of_several_right_items_counts_and_chance_knows_of_them():
    orders = np.array(list(itertools.permutations(range(7))))  # place -> item; items 0 and 1 are the first's, 2 the second's
    ranks = np.argsort(orders, axis=1)
    found = np.stack([ranks[:, :2].min(1), ranks[:, 2]], axis=1)
    wanted = ranking.chance(7, np.array([2, 1]), 2)
    assert [wanted["recall"][str(k)] for k in (1, 5)] == pytest.approx([(found < k).mean() for k in (1, 5)])
    assert wanted["median_rank"] == np.median(found) + 1
    counts = Counts(np.array([4, 2, 2, 1]), np.array([2, 3, 3, 1]))  # of the first query, two share a place with one other
    assert [part.tolist() for part in ranking.best(counts, np.array([5, 5, 5, 8]))] == [[2, 1], [2, 1]]


# Intervals ----------------------------------------------------------------------------------------------------------------


def test_interval_is_as_wide_as_that_of_a_share():
    hits = np.arange(1000) < 100
    counts = Counts(np.where(hits, 0, 50), np.ones(1000, int))
    for denominator, official, share in (("available", 0, 0.1), ("official", 1250, 0.08)):
        low, high = ranking.intervals(counts, "average", denominator, official, resamples=1000, seed=0)["recall"]["1"]
        half = 1.96 * np.sqrt(share * (1 - share) / max(1000, official))
        assert (low, high) == pytest.approx((share - half, share + half), abs=0.004)


@pytest.mark.parametrize("rule", ranking.RULES)
def test_interval_is_that_of_ranks_drawn_again(rule):
    scores = np.random.default_rng(3).integers(0, 9, (40, 40)).astype(float)
    counts = counted(scores)
    found = ranking.intervals(counts, rule, "listed", 0, resamples=60, seed=5)
    rng, drawn = np.random.default_rng(5), []
    for _ in range(60):
        again = rng.integers(0, 40, 40)
        listed = brute.ranks(scores[again], again, rule)
        drawn.append([*brute.recalls(listed, len(listed)).values(), np.median(listed) + 1])
    low, high = np.percentile(drawn, (2.5, 97.5), axis=0)
    assert [found["recall"][k] for k in ("1", "5", "10")] == [pytest.approx(pair) for pair in zip(low[:3], high[:3], strict=True)]
    assert found["median_rank"] == pytest.approx([low[3], high[3]])


def test_no_resamples_give_no_interval():
    assert ranking.intervals(counted(np.eye(3)), "average", "available", 3, resamples=0, seed=0) == {}
