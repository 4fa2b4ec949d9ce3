"""Exact search over devices: the counts and lists of NumPy, on one device and on eight, ties included."""

import jax
import numpy as np
import pytest

from avc_jax.evaluators import ranking
from avc_jax.parallel import mesh as meshes
from avc_jax.parallel import nearest


def mesh(devices: int, fsdp: int = 1, tensor: int = 1):
    return meshes.make_mesh(-1, fsdp, jax.devices()[:devices], tensor)


def whole_numbers(rows: int, seed: int) -> np.ndarray:
    """Rows whose dot products are exact, and often equal."""
    return np.random.default_rng(seed).integers(-2, 3, (rows, 6)).astype(np.float32)


def top(scores: np.ndarray, k: int) -> np.ndarray:
    return np.argsort(-scores, axis=1, kind="stable")[:, :k]


@pytest.mark.parametrize(("devices", "fsdp"), [(1, 1), (8, 1), (8, 2)])
@pytest.mark.parametrize("items", [1, 7, 300, 1500])
def test_counts_and_lists_are_numpys(monkeypatch, devices, fsdp, items):
    monkeypatch.setattr(nearest, "SCORES", 6000)  # several blocks of queries
    rows, queries = whole_numbers(items, 0), whole_numbers(50, 1)
    own = np.random.default_rng(2).integers(0, items, 50)
    search = nearest.Items(rows, mesh(devices, fsdp))
    scores, wanted = queries @ rows.T, ranking.count(queries @ rows.T, own)
    greater, equal = search.count(queries, own)
    np.testing.assert_array_equal(greater, wanted.greater)
    np.testing.assert_array_equal(equal, wanted.equal)
    if items > 100:
        assert (equal > 1).any()
    found, places = search.top(queries, 9)
    np.testing.assert_array_equal(places, top(scores, 9))
    np.testing.assert_array_equal(found, np.take_along_axis(scores, places, 1))


def test_the_same_item_twice_scores_the_same_wherever_it_lies():
    rng = np.random.default_rng(0)
    different = rng.normal(size=(130, 33)).astype(np.float32)
    rows = different[rng.permutation(np.repeat(np.arange(130), 9))]
    queries, own = rng.normal(size=(41, 33)).astype(np.float32), rng.integers(0, len(rows), 41)
    for devices in (1, 8):
        greater, equal = nearest.Items(rows, mesh(devices)).count(queries, own)
        assert (equal == 9).all() and (greater % 9 == 0).all()


def test_one_device_and_eight_agree_on_numbers_that_round():
    rng = np.random.default_rng(1)
    rows, queries = (rng.normal(size=(2000, 64)).astype(np.float32) for _ in range(2))
    own = np.arange(2000)
    found = [nearest.Items(rows, mesh(devices)).count(queries, own) for devices in (1, 8)]
    np.testing.assert_array_equal(found[0], found[1])
    # NumPy may add up in another order: ranks move by neighbours that are nearer than the rounding.
    wanted = ranking.count(queries @ rows.T, own)
    assert np.abs(found[0][0] - wanted.greater).max() <= 1 and (found[0][0] != wanted.greater).mean() < 0.01


def test_what_is_no_number_lies_behind_everything():
    rows, queries = whole_numbers(20, 0), whole_numbers(3, 1)
    rows[4], queries[2] = np.nan, np.nan
    own = np.array([4, 5, 5])
    greater, equal = nearest.Items(rows, mesh(8)).count(queries, own)
    wanted = ranking.count(queries @ rows.T, own)
    assert greater.tolist() == wanted.greater.tolist() == [19, wanted.greater[1], 19]
    assert equal.tolist() == wanted.equal.tolist()
    assert 4 not in nearest.Items(rows, mesh(8)).top(queries[:2], 19)[1]


def test_nothing_asked_is_answered():
    search = nearest.Items(whole_numbers(5, 0), mesh(8))
    assert [part.shape for part in search.count(np.zeros((0, 6), np.float32), np.zeros(0, int))] == [(0,), (0,)]
    assert [part.shape for part in search.top(np.zeros((0, 6), np.float32), 3)] == [(0, 3), (0, 3)]
