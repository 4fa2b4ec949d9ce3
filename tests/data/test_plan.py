"""The order of samples is arithmetic on (seed, position), and the numbers never change."""

import collections

import numpy as np
import pytest

from avc_jax.data import plan as plans
from avc_jax.data.plan import Plan


@pytest.mark.parametrize("num_clips", [1, 2, 7, 100])
def test_each_epoch_visits_each_clip_exactly_once(num_clips):
    plan = Plan(num_clips, seed=3, batch_size=4)
    for epoch in range(5):
        visits = np.arange(epoch * num_clips, (epoch + 1) * num_clips)
        assert sorted(plan.clips(visits)) == list(range(num_clips))


def test_many_visits_at_once_give_what_each_gives_alone():
    plan = Plan(7, seed=3, batch_size=4, pairs_per_visit=2)
    visits = np.array([5, 6, 7, 40, 5, 1, 2, 13])
    for ask in (plan.clips, plan.labels, lambda visits: plan.partners(visits, 3), lambda visits: plan.substitutes(visits, 1),
                lambda visits: np.concatenate(plan.draws(visits), axis=-1)):
        together = ask(visits)
        assert len(together) == len(visits)
        for visit, found in zip(visits, together, strict=True):
            np.testing.assert_array_equal(ask(np.array([visit]))[0], found)
        assert len(ask(visits[:0])) == 0


def test_epochs_and_seeds_are_ordered_differently():
    orders = [tuple(plans.epoch_order(seed, epoch, 50)) for seed in (0, 1, 2) for epoch in (0, 1, 2)]
    assert len(set(orders)) == len(orders)


def test_every_clip_is_equally_likely_at_every_place():
    first = collections.Counter(int(plans.epoch_order(0, epoch, 5)[0]) for epoch in range(2000))
    for clip in range(5):
        assert abs(first[clip] - 400) < 5 * np.sqrt(2000 * 0.2 * 0.8)


@pytest.mark.parametrize("pairs_per_visit", [1, 2, 4])
def test_rows_use_every_pair_of_every_visit_exactly_once(pairs_per_visit):
    plan = Plan(10, seed=0, batch_size=8, pairs_per_visit=pairs_per_visit)
    steps = 12
    rows = [row for step in range(steps) for row in zip(*plan.rows(step), strict=True)]
    assert len(set(rows)) == len(rows) == 8 * steps
    # All pairs of the visits that are neither among the first nor the last few, which reach beyond the steps looked at.
    edge = pairs_per_visit * plan.visits_per_step
    inner = range(edge, steps * plan.visits_per_step)
    assert {(visit, pair) for visit in inner for pair in range(pairs_per_visit)} <= set(rows)


@pytest.mark.parametrize("pairs_per_visit", [1, 2, 4])
def test_the_pairs_of_a_visit_land_in_different_batches(pairs_per_visit):
    plan = Plan(10, seed=0, batch_size=8, pairs_per_visit=pairs_per_visit)
    for step in range(6):
        assert len(set(plan.rows(step)[0])) == 8


@pytest.mark.parametrize("pairs_per_visit", [1, 2, 4])
def test_files_of_a_batch_differ_within_an_epoch(pairs_per_visit):
    plan = Plan(1000, seed=1, batch_size=8, pairs_per_visit=pairs_per_visit)
    for step in range(20):
        assert len(set(plan.clips(plan.rows(step)[0]))) == 8


@pytest.mark.parametrize("pairs_per_visit", [1, 2, 4])
def test_each_step_needs_equally_many_new_visits(pairs_per_visit):
    plan = Plan(10, seed=0, batch_size=8, pairs_per_visit=pairs_per_visit)
    seen = set(plan.rows(0)[0])
    for step in range(1, 8):
        visits = set(plan.rows(step)[0])
        assert len(visits - seen) == plan.visits_per_step == 8 // pairs_per_visit
        seen |= visits


def test_draws_are_uniform_and_not_related_to_each_other():
    plan = Plan(10, seed=0, batch_size=4, pairs_per_visit=4)
    columns = np.concatenate(plan.draws(np.arange(2000)), axis=2).reshape(-1, 6)
    labels = plan.labels(np.arange(2000)).reshape(-1)
    assert columns.shape == (8000, 6)
    assert columns.min() >= 0
    assert columns.max() < 1
    for column in columns.T:
        counts = np.bincount((column * 10).astype(int), minlength=10)
        assert np.abs(counts - 800).max() < 5 * np.sqrt(800 * 0.9)
    related = np.corrcoef(np.column_stack([columns, labels]).T) - np.eye(7)
    assert np.abs(related).max() < 5 / np.sqrt(8000)
    assert abs(labels.mean() - 0.5) < 5 * 0.5 / np.sqrt(8000)


def test_uniforms_fill_the_unit_interval_and_never_reach_one():
    numbers = plans.uniforms(0, plans.MOMENTS, np.array([0]), 100_000)
    assert 0 <= numbers.min() < 1e-4
    assert 1 - 1e-4 < numbers.max() < 1


def test_uses_of_a_seed_are_independent():
    rows = [tuple(plans.uniforms(5, use, np.array([9]), 4, lane)[0]) for use in range(5) for lane in range(3)]
    assert len(set(rows)) == 15


def test_a_number_next_to_one_still_names_a_clip(monkeypatch):
    monkeypatch.setattr(plans, "uniforms", lambda *args: np.full((1, 1), np.nextafter(1.0, 0.0)))
    assert Plan(2**53 - 1, seed=0, batch_size=4).partners(np.array([0]), 0) == 2**53 - 2


def test_substitutes_and_partners_are_uniform_over_clips_and_differ_between_attempts():
    plan = Plan(5, seed=0, batch_size=4)
    for drawn in (plan.substitutes(np.arange(2000), 1), plan.partners(np.arange(2000), 0)):
        counts = collections.Counter(drawn)
        assert all(abs(counts[clip] - 400) < 5 * np.sqrt(2000 * 0.2 * 0.8) for clip in range(5))
    first = np.array([0])
    assert {int(plan.substitutes(first, attempt)[0]) for attempt in range(1, 60)} == set(range(5))
    assert {int(plan.partners(first, attempt)[0]) for attempt in range(60)} == set(range(5))


def test_numbers_are_those_of_the_first_release():
    """Runs resume across versions of NumPy only if these stay. Never write them anew."""
    plan = Plan(num_clips=10, seed=7, batch_size=4, pairs_per_visit=2)
    found = {
        "order": plan.clips(np.arange(12)).tolist(),
        "late": plan.clips(np.array([10**9, 10**12 + 3])).tolist(),
        "moment": plan.draws(np.array([5])).moment[0].tolist(),
        "crop": plan.draws(np.array([5])).crop[0].tolist(),
        "partner_moment": plan.draws(np.array([5])).partner_moment[0].tolist(),
        "labels": plan.labels(np.arange(4)).tolist(),
        "substitutes": [int(plan.substitutes(np.array([5]), attempt)[0]) for attempt in (1, 2, 3)],
        "partners": [int(plan.partners(np.array([5]), attempt)[0]) for attempt in (0, 1, 2)],
        "rows": [[column.tolist() for column in plan.rows(step)] for step in (0, 3)],
    }
    assert found == GOLDEN


GOLDEN = {
    "order": [8, 4, 1, 6, 3, 2, 7, 5, 9, 0, 2, 5],
    "late": [5, 7],
    "moment": [[0.38934581398836965, 0.7699456680588971], [0.39754871610683895, 0.46892323897863986]],
    "crop": [[0.3829786882858347, 0.11851172333005211], [0.845671806266364, 0.8555478001018579]],
    "partner_moment": [[0.8872166618480595, 0.03935755800649965], [0.002662054453896001, 0.47956662375292725]],
    "labels": [[1, 1], [1, 0], [1, 0], [1, 0]],
    "substitutes": [1, 4, 5],
    "partners": [7, 4, 9],
    "rows": [[[2, 0, 3, 1], [0, 1, 0, 1]], [[8, 6, 9, 7], [0, 1, 0, 1]]],
}


def test_numbers_of_items_are_those_of_their_first_release():
    """As above."""
    plan = Plan(num_clips=10, seed=7, batch_size=4, pairs_per_visit=2, together=True)
    assert plan.window_draws(np.array([5]))[0].tolist() == [
        [0.9860870509435586, 0.9991883529549085], [0.5330175972100011, 0.31751478701059976]]
    assert plan.picture_draws(np.array([5]), 3)[0].tolist() == [
        [0.8364046897158278, 0.48299605924484856, 0.4900856395291372],
        [0.11601537921027971, 0.24163835363897557, 0.9565663611183733]]
    assert [[column.tolist() for column in plan.rows(step)] for step in (0, 3)] == [
        [[0, 0, 1, 1], [0, 1, 0, 1]], [[6, 6, 7, 7], [0, 1, 0, 1]]]
