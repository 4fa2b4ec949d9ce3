"""The nearest rows: every one compared, or those that lists propose."""

import sys

import numpy as np
import pytest

from avc_jax import errors
from avc_jax.search import nearest


def clustered(rows: int, width: int, seed: int, *, centres: int = 200) -> np.ndarray:
    """f32[rows, width] around centres that are the same for every seed."""
    middle = np.random.default_rng(99).normal(size=(centres, width))
    rng = np.random.default_rng(seed)
    return (middle[rng.integers(centres, size=rows)] + 0.7 * rng.normal(size=(rows, width))).astype(np.float32)


def unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def test_scores_are_dot_products_in_blocks(monkeypatch):
    rows, query = np.random.default_rng(0).normal(size=(11, 3)).astype(np.float32), np.array([1, -2, 3], np.float32)
    expected = rows @ query
    monkeypatch.setattr(nearest, "_BLOCK", 4)
    np.testing.assert_allclose(nearest.scores(rows, query), expected, rtol=1e-6)
    assert nearest.scores(rows[:0], query).shape == (0,)


def test_the_best_row_of_each_file_is_that_of_brute_force():
    rng = np.random.default_rng(0)
    file = np.sort(rng.integers(7, size=40))
    file[file == 3] = 4  # a file without rows
    scores = rng.integers(-3, 3, size=40).astype(np.float32)  # many ties
    best, row = nearest.best_of_files(scores, file, 8)
    for place in range(8):
        own = np.flatnonzero(file == place)
        if len(own):
            assert best[place] == scores[own].max() and row[place] == own[scores[own].argmax()]
        else:
            assert best[place] == -np.inf and row[place] == -1
    assert {3, 7} <= set(np.flatnonzero(row < 0).tolist())


@pytest.mark.parametrize("similarity", ["cosine", "dot"])
def test_lists_find_what_comparing_all_finds(tmp_path, similarity):
    rows = clustered(20_000, 32, 0)
    # Queries are of another kind than the rows: they lie aside, as sounds lie from pictures.
    aside = np.full(32, 0.3, np.float32)
    queries, fresh = clustered(2_000, 32, 1) + aside, clustered(100, 32, 2) + aside
    if similarity == "cosine":
        rows, queries, fresh = unit(rows), unit(queries), unit(fresh)
    else:
        rows *= np.random.default_rng(3).lognormal(sigma=0.5, size=(len(rows), 1)).astype(np.float32)
    path = tmp_path / "a.faiss"
    told = nearest.build(path, rows, queries)
    assert told["lists"] == 141 and told["probes"] < 141 and told["recall"] >= 0.98
    lists = nearest.Lists(path)
    hits = []
    for query in fresh:
        exact = np.argsort(-(rows @ query))[:100]
        found = lists.propose(query, 100, told["probes"])
        assert len(found) == 100
        hits.append(len(set(exact.tolist()) & set(found.tolist())) / 100)
    assert np.mean(hits) > 0.95
    np.testing.assert_array_equal(np.sort(lists.propose(rows[0], len(rows) + 5, 141)), np.arange(len(rows)))


def test_few_probes_are_measured_as_such(tmp_path, monkeypatch):
    rows = np.random.default_rng(0).normal(size=(4_000, 16)).astype(np.float32)
    monkeypatch.setattr(nearest, "_GOAL", 0.0)
    told = nearest.build(tmp_path / "a.faiss", rows, rows)
    assert told["probes"] == 1 and told["recall"] < 0.7


def test_without_faiss_the_error_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(errors.ConfigError, match=r"pip install faiss-cpu .*--exact"):
        nearest.Lists(tmp_path / "a.faiss")
    with pytest.raises(errors.ConfigError, match="pip install faiss-cpu"):
        nearest.build(tmp_path / "a.faiss", np.zeros((2, 2), np.float32), np.zeros((2, 2), np.float32))


def test_damaged_lists_are_refused(tmp_path):
    (tmp_path / "a.faiss").write_bytes(b"IwFl" + bytes(10))
    with pytest.raises(errors.DataError, match="is damaged"):
        nearest.Lists(tmp_path / "a.faiss")
