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
        visits = range(epoch * num_clips, (epoch + 1) * num_clips)
        assert sorted(plan.clip(visit) for visit in visits) == list(range(num_clips))


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
    rows = [row for step in range(steps) for row in plan.rows(step)]
    assert len(set(rows)) == len(rows) == 8 * steps
    # All pairs of the visits that are neither among the first nor the last few, which reach beyond the steps looked at.
    edge = pairs_per_visit * plan.visits_per_step
    inner = range(edge, steps * plan.visits_per_step)
    assert {(visit, pair) for visit in inner for pair in range(pairs_per_visit)} <= set(rows)


@pytest.mark.parametrize("pairs_per_visit", [1, 2, 4])
def test_the_pairs_of_a_visit_land_in_different_batches(pairs_per_visit):
    plan = Plan(10, seed=0, batch_size=8, pairs_per_visit=pairs_per_visit)
    for step in range(6):
        visits = [visit for visit, _ in plan.rows(step)]
        assert len(set(visits)) == 8


@pytest.mark.parametrize("pairs_per_visit", [1, 2, 4])
def test_files_of_a_batch_differ_within_an_epoch(pairs_per_visit):
    plan = Plan(1000, seed=1, batch_size=8, pairs_per_visit=pairs_per_visit)
    for step in range(20):
        assert len({plan.clip(visit) for visit, _ in plan.rows(step)}) == 8


@pytest.mark.parametrize("pairs_per_visit", [1, 2, 4])
def test_each_step_needs_equally_many_new_visits(pairs_per_visit):
    plan = Plan(10, seed=0, batch_size=8, pairs_per_visit=pairs_per_visit)
    seen = {visit for visit, _ in plan.rows(0)}
    for step in range(1, 8):
        visits = {visit for visit, _ in plan.rows(step)}
        assert len(visits - seen) == plan.visits_per_step == 8 // pairs_per_visit
        seen |= visits


def test_draws_are_uniform_and_not_related_to_each_other():
    plan = Plan(10, seed=0, batch_size=4, pairs_per_visit=4)
    columns = np.concatenate([np.concatenate(plan.draws(visit), axis=1) for visit in range(2000)])
    labels = np.concatenate([plan.labels(visit) for visit in range(2000)])
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
    numbers = plans.uniforms(0, plans.MOMENTS, 0, 100_000)
    assert 0 <= numbers.min() < 1e-4
    assert 1 - 1e-4 < numbers.max() < 1
    assert plans._index(np.nextafter(1.0, 0.0), 7) == 6


def test_uses_of_a_seed_are_independent():
    rows = [tuple(plans.uniforms(5, use, 9, 4)) for use in range(5)]
    assert len(set(rows)) == 5


def test_substitutes_and_partners_are_uniform_over_clips_and_differ_between_attempts():
    plan = Plan(5, seed=0, batch_size=4)
    for draw in (lambda visit: plan.substitute(visit, 1), lambda visit: plan.partner(visit, 0)):
        counts = collections.Counter(draw(visit) for visit in range(2000))
        assert all(abs(counts[clip] - 400) < 5 * np.sqrt(2000 * 0.2 * 0.8) for clip in range(5))
    assert {plan.substitute(0, attempt) for attempt in range(1, 60)} == set(range(5))
    assert {plan.partner(0, attempt) for attempt in range(60)} == set(range(5))


def test_numbers_are_those_of_the_first_release():
    """Runs resume across versions of NumPy only if these stay. Never write them anew."""
    plan = Plan(num_clips=10, seed=7, batch_size=4, pairs_per_visit=2)
    found = {
        "order": [plan.clip(visit) for visit in range(12)],
        "late": [plan.clip(visit) for visit in (10**9, 10**12 + 3)],
        "moment": plan.draws(5).moment.tolist(),
        "crop": plan.draws(5).crop.tolist(),
        "partner_moment": plan.draws(5).partner_moment.tolist(),
        "labels": [plan.labels(visit).tolist() for visit in range(4)],
        "substitutes": [plan.substitute(5, attempt) for attempt in (1, 2, 3)],
        "partners": [plan.partner(5, attempt) for attempt in (0, 1, 2)],
        "rows": [plan.rows(0), plan.rows(3)],
    }
    assert found == GOLDEN


GOLDEN = {
    "order": [8, 4, 1, 6, 3, 2, 7, 5, 9, 0, 2, 5],
    "late": [5, 7],
    "moment": [[0.09388298046415022, 0.7016538897746144], [0.8333416897830215, 0.8523374643321523]],
    "crop": [[0.5738509490839041, 0.5599556086796873], [0.25430035507882887, 0.06929197451641222]],
    "partner_moment": [[0.02959830009160591, 0.904515357494982], [0.12239213432106744, 0.9173591542793407]],
    "labels": [[1, 1], [1, 1], [0, 0], [1, 1]],
    "substitutes": [2, 6, 2],
    "partners": [8, 2, 4],
    "rows": [[(2, 0), (0, 1), (3, 0), (1, 1)], [(8, 0), (6, 1), (9, 0), (7, 1)]],
}
