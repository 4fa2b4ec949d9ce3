"""nDCG against scikit-learn and by hand, chance by trying every order; tables of relevance."""

import itertools

import numpy as np
import pytest
from sklearn.metrics import ndcg_score

from avc_jax import errors
from avc_jax.evaluators import graded


@pytest.mark.parametrize("k", [1, 5, 30, 80])
@pytest.mark.parametrize("ties", [False, True])
def test_ndcg_is_scikit_learns(k, ties):
    rng = np.random.default_rng(k)
    scores = rng.integers(0, 6, (20, 50)) if ties else rng.normal(size=(20, 50))
    relevance = rng.integers(0, 4, (20, 50)).astype(float)
    for gain, gains in (("linear", relevance), ("exponential", 2**relevance - 1)):
        wanted = [ndcg_score(gains[row : row + 1], scores[row : row + 1], k=k) for row in range(20)]
        np.testing.assert_allclose(graded.ndcg(scores, relevance, k, gain), wanted, rtol=1e-12)


def test_ndcg_of_two_levels_of_relevance_is_that_by_hand():
    relevance, scores = np.array([[0.0, 2.0, 1.0]]), np.array([[3.0, 2.0, 1.0]])  # the ranking is 0, 2, 1
    log = np.log2
    assert graded.ndcg(scores, relevance, 3, "linear")[0] == pytest.approx((2 / log(3) + 1 / log(4)) / (2 + 1 / log(3)))
    assert graded.ndcg(scores, relevance, 3, "exponential")[0] == pytest.approx((3 / log(3) + 1 / log(4)) / (3 + 1 / log(3)))
    assert graded.ndcg(scores, relevance, 2, "linear")[0] == pytest.approx((2 / log(3)) / (2 + 1 / log(3)))


def test_perfect_ranking_has_ndcg_1_and_one_without_a_relevant_item_none():
    relevance = np.array([[0, 3, 1, 2, 0], [0, 0, 0, 0, 0]], float)
    found = graded.ndcg(relevance, relevance, 3, "exponential")
    assert found[0] == pytest.approx(1)
    assert np.isnan(found[1])


@pytest.mark.parametrize("gain", ["linear", "exponential"])
def test_constant_scores_give_the_mean_over_all_orders(gain):
    relevance = np.array([[0, 2, 1, 0, 1]], float)
    orders = [graded.ndcg(np.array([order], float), relevance, 3, gain)[0] for order in itertools.permutations(range(5))]
    assert graded.ndcg(np.zeros((1, 5)), relevance, 3, gain)[0] == pytest.approx(np.mean(orders))


def test_blocks_are_the_whole_of_products(monkeypatch):
    monkeypatch.setattr(graded, "_BLOCK", 60)
    rng = np.random.default_rng(0)
    queries, items = rng.normal(size=(17, 4)), rng.normal(size=(17, 4))
    parts = list(graded.rank_blocks(queries, items, 2))
    assert len(parts) > 3
    whole = np.concatenate([scores for _, scores in parts])
    np.testing.assert_allclose(whole, queries @ items.T, atol=1e-12)
    assert [block.start for block, _ in parts] == [0] + [block.stop for block, _ in parts][:-1]


@pytest.mark.parametrize("block", [30, 1 << 22])
def test_query_is_left_out_of_its_own_candidates(monkeypatch, block):
    monkeypatch.setattr(graded, "_BLOCK", block)
    rng = np.random.default_rng(1)
    rows, classes = rng.normal(size=(12, 3)), rng.integers(0, 3, 12)
    relevance = (classes[:, None] == classes).astype(float)
    found = graded.mean_ndcg(rows, rows, lambda block: relevance[block], k=5, gain="linear", leave_out_own=True)
    wanted = []
    for query in range(12):
        others = np.delete(np.arange(12), query)
        if relevance[query, others].any():
            wanted.append(ndcg_score(relevance[query, others][None], (rows[query] @ rows[others].T)[None], k=5))
    assert found["ndcg"] == pytest.approx(np.mean(wanted))
    assert found["queries"] == len(wanted)
    with_own = graded.mean_ndcg(rows, rows, lambda block: relevance[block], k=5, gain="linear", leave_out_own=False)
    assert with_own["ndcg"] > found["ndcg"]


# Relevance of classes ---------------------------------------------------------------------------------------------------


def test_relevance_is_read_in_the_order_of_the_classes(tmp_path):
    path = tmp_path / "relevance.csv"
    path.write_text("class,guitar,drums,violin\nviolin,2,1,9\nguitar,9,5,2\ndrums,5,9,1\n")
    np.testing.assert_array_equal(graded.read_relevance(path, ["drums", "violin"]), [[9, 1], [1, 9]])


@pytest.mark.parametrize(("text", "part"), [
    ("class,a,b\na,1,0\n", "no row or no column for b"),
    ("class,a\na,1\nb,1\n", "no row or no column for b"),
    ("class,a,b\na,1,x\nb,0,1\n", "could not convert"),
    ("class,a,b\na,1\nb,0,1\n", "expected a header of classes"),
    ("class,a,b\na,1,-1\nb,0,1\n", "negative"),
    ("", "expected a header of classes"),
])
def test_wrong_table_of_relevance_is_refused_in_words(tmp_path, text, part):
    path = tmp_path / "relevance.csv"
    path.write_text(text)
    with pytest.raises(errors.DataError, match=part):
        graded.read_relevance(path, ["a", "b"])


def test_missing_table_of_relevance_is_named(tmp_path):
    with pytest.raises(errors.MissingInputError, match=r"config\.retrieval\.relevance=.*nowhere"):
        graded.read_relevance(tmp_path / "nowhere.csv", ["a"])
