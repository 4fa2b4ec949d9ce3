"""Retrieval: nDCG against scikit-learn and by hand, ranks by counting, chance by trying every order."""

import itertools
from pathlib import Path

import numpy as np
import pytest
import tiny
from evaluators import asking
from sklearn.metrics import ndcg_score

from avc_jax import errors, systems
from avc_jax.data.sources import Clip, Source
from avc_jax.evaluators import retrieval

# Pure -------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("k", [1, 5, 30, 80])
@pytest.mark.parametrize("ties", [False, True])
def test_ndcg_is_scikit_learns(k, ties):
    rng = np.random.default_rng(k)
    scores = rng.integers(0, 6, (20, 50)) if ties else rng.normal(size=(20, 50))
    relevance = rng.integers(0, 4, (20, 50)).astype(float)
    for gain, gains in (("linear", relevance), ("exponential", 2**relevance - 1)):
        wanted = [ndcg_score(gains[row : row + 1], scores[row : row + 1], k=k) for row in range(20)]
        np.testing.assert_allclose(retrieval.ndcg(scores, relevance, k, gain), wanted, rtol=1e-12)


def test_ndcg_of_two_levels_of_relevance_is_that_by_hand():
    relevance, scores = np.array([[0.0, 2.0, 1.0]]), np.array([[3.0, 2.0, 1.0]])  # the ranking is 0, 2, 1
    log = np.log2
    assert retrieval.ndcg(scores, relevance, 3, "linear")[0] == pytest.approx((2 / log(3) + 1 / log(4)) / (2 + 1 / log(3)))
    assert retrieval.ndcg(scores, relevance, 3, "exponential")[0] == pytest.approx((3 / log(3) + 1 / log(4)) / (3 + 1 / log(3)))
    assert retrieval.ndcg(scores, relevance, 2, "linear")[0] == pytest.approx((2 / log(3)) / (2 + 1 / log(3)))


def test_perfect_ranking_has_ndcg_1_and_one_without_a_relevant_item_none():
    relevance = np.array([[0, 3, 1, 2, 0], [0, 0, 0, 0, 0]], float)
    found = retrieval.ndcg(relevance, relevance, 3, "exponential")
    assert found[0] == pytest.approx(1)
    assert np.isnan(found[1])


@pytest.mark.parametrize("gain", ["linear", "exponential"])
def test_constant_scores_give_the_mean_over_all_orders(gain):
    relevance = np.array([[0, 2, 1, 0, 1]], float)
    orders = [retrieval.ndcg(np.array([order], float), relevance, 3, gain)[0] for order in itertools.permutations(range(5))]
    assert retrieval.ndcg(np.zeros((1, 5)), relevance, 3, gain)[0] == pytest.approx(np.mean(orders))


def test_rank_counts_what_scores_at_least_as_high():
    rng = np.random.default_rng(0)
    scores, own = rng.integers(0, 8, (40, 20)).astype(float), rng.integers(0, 20, 40)
    wanted = [1 + sum(scores[q, n] >= scores[q, own[q]] for n in range(20) if n != own[q]) for q in range(40)]
    np.testing.assert_array_equal(retrieval.ranks(scores, own), wanted)


def test_sameness_and_what_is_no_number_earn_the_last_rank():
    assert retrieval.ranks(np.zeros((1, 7)), np.array([3])) == [7]
    assert retrieval.ranks(np.full((1, 7), np.nan), np.array([3])) == [7]


def test_recalls_are_shares_of_ranks():
    assert retrieval.recalls(np.array([1, 2, 5, 6, 10, 11, 400, 1])) == {"1": 2 / 8, "5": 4 / 8, "10": 6 / 8}


def test_chance_of_recall_is_that_of_a_uniform_rank():
    for items in (3, 40):
        uniform = np.arange(1, items + 1)
        assert retrieval.chance_recalls(items) == pytest.approx(retrieval.recalls(uniform))


def test_blocks_are_the_whole_of_cosines(monkeypatch):
    monkeypatch.setattr(retrieval, "_BLOCK", 60)
    rng = np.random.default_rng(0)
    queries, items = rng.normal(size=(17, 4)), rng.normal(size=(17, 4))
    parts = list(retrieval.rank_blocks(queries, items, 2))
    assert len(parts) > 3
    whole = np.concatenate([scores for _, scores in parts])
    wanted = (queries / np.linalg.norm(queries, axis=1)[:, None]) @ (items / np.linalg.norm(items, axis=1)[:, None]).T
    np.testing.assert_allclose(whole, wanted, atol=1e-12)
    assert [block.start for block, _ in parts] == [0] + [block.stop for block, _ in parts][:-1]


@pytest.mark.parametrize("block", [30, 1 << 22])
def test_query_is_left_out_of_its_own_candidates(monkeypatch, block):
    monkeypatch.setattr(retrieval, "_BLOCK", block)
    rng = np.random.default_rng(1)
    rows, classes = rng.normal(size=(12, 3)), rng.integers(0, 3, 12)
    relevance = (classes[:, None] == classes).astype(float)
    found = retrieval.mean_ndcg(rows, rows, lambda block: relevance[block], k=5, gain="linear", leave_out_own=True)
    unit = rows / np.linalg.norm(rows, axis=1)[:, None]
    wanted = []
    for query in range(12):
        others = np.delete(np.arange(12), query)
        if relevance[query, others].any():
            wanted.append(ndcg_score(relevance[query, others][None], (unit[query] @ unit[others].T)[None], k=5))
    assert found["ndcg"] == pytest.approx(np.mean(wanted))
    assert found["queries"] == len(wanted)
    with_own = retrieval.mean_ndcg(rows, rows, lambda block: relevance[block], k=5, gain="linear", leave_out_own=False)
    assert with_own["ndcg"] > found["ndcg"]


# Relevance of classes ---------------------------------------------------------------------------------------------------


def test_relevance_is_read_in_the_order_of_the_classes(tmp_path):
    path = tmp_path / "relevance.csv"
    path.write_text("class,guitar,drums,violin\nviolin,2,1,9\nguitar,9,5,2\ndrums,5,9,1\n")
    np.testing.assert_array_equal(retrieval.read_relevance(path, ["drums", "violin"]), [[9, 1], [1, 9]])


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
        retrieval.read_relevance(path, ["a", "b"])


def test_missing_table_of_relevance_is_named(tmp_path):
    with pytest.raises(errors.MissingInputError, match=r"config\.retrieval\.relevance=.*nowhere"):
        retrieval.read_relevance(tmp_path / "nowhere.csv", ["a"])


# The evaluator ----------------------------------------------------------------------------------------------------------


def source_of(labels) -> Source:
    return Source(Path("."), tuple(Clip(f"{number}.mp4", number, "test", label) for number, label in enumerate(labels)))


def evaluator(tmp_path, labels, answer, head="ave", **changes):
    config = tiny.config(system__head=head, **changes)
    setting = asking.setting(tmp_path, source_of(labels), config=config, asked=systems.make(config))
    return retrieval.make(setting, asking.Features(answer))


def by_class(name, clip):
    """Trained: a direction per class, nearly the same for both halves of a clip. Untrained: noise."""
    rng = np.random.default_rng(clip.file)
    own = 0.05 * rng.normal(size=8)
    if name == "untrained":
        return {"video": rng.normal(size=8), "audio": rng.normal(size=8)}
    centre = np.eye(8)["abcd".index(clip.label)] if clip.label else np.eye(8)[7]
    return {"video": 3 * (centre + own), "audio": centre + own + 0.001 * rng.normal(size=8)}


def test_retrieval_tells_a_network_that_knows_from_one_that_does_not(tmp_path):
    asked = evaluator(tmp_path, list("abcd") * 10, by_class)
    assert asked.missing() is None
    trained, untrained = asked(asking.network(name="trained")), asked(asking.network(name="untrained"))
    assert set(trained["directions"]) == {"image to image", "image to sound", "sound to image", "sound to sound"}
    for direction, found in trained["directions"].items():
        assert found["ndcg"] > 0.99, direction
        assert abs(untrained["directions"][direction]["ndcg"] - found["chance"]) < 0.1, direction
    assert trained["directions"]["image to sound"]["recall"]["1"] > 0.9
    assert trained["directions"]["image to sound"]["median_rank"] == 1
    assert "recall" not in trained["directions"]["image to image"]
    rows = asked.rows(trained, untrained)
    assert len(rows) == 4 + 2 * 4
    for row in rows:
        assert row.untrained is not None and row.chance is not None, row.name
        if "median rank" in row.name:
            assert (row.trained, row.chance) == (1, 20.5)
        else:
            assert row.trained > max(row.untrained, row.chance), row.name


def test_clips_without_labels_are_asked_for_their_other_half_only(tmp_path):
    asked = evaluator(tmp_path, [""] * 12, by_class)
    trained = asked(asking.network())
    assert [row.name for row in asked.rows(trained, None)] == [
        f"Retrieval, {direction}: {what}" for direction in ("image to sound", "sound to image")
        for what in ("recall at 1", "recall at 5", "recall at 10", "median rank")]
    assert all(row.untrained is None for row in asked.rows(trained, None))


def test_clips_without_a_label_are_no_candidates_for_classes(tmp_path):
    found = evaluator(tmp_path, [*"aabb", "", ""], by_class)(asking.network())
    assert (found["clips"], found["labelled"]) == (6, 4)
    assert found["directions"]["image to sound"]["queries"] == 4


def test_class_of_a_single_clip_is_no_query_within_its_modality(tmp_path):
    found = evaluator(tmp_path, list("aab"), by_class)(asking.network())["directions"]
    assert found["image to image"]["queries"] == 2
    assert found["image to sound"]["queries"] == 3
    alone = evaluator(tmp_path, list("ab"), by_class)
    trained = alone(asking.network())
    assert trained["directions"]["image to image"]["ndcg"] is None
    assert not any("image to image" in row.name for row in alone.rows(trained, None))


def test_relevance_of_other_classes_counts(tmp_path):
    (tmp_path / "relevance.csv").write_text("class,a,b\na,2,1\nb,1,2\n")
    asked = evaluator(tmp_path, list("aabb"), by_class, retrieval__relevance=str(tmp_path / "relevance.csv"),
                      retrieval__gain="linear")
    # All four are relevant, in the best order: chance is above that of classes alone.
    found = asked(asking.network())["directions"]["image to sound"]
    assert found["ndcg"] == pytest.approx(1)
    gains, discounts = np.array([2, 2, 1, 1]), 1 / np.log2(np.arange(4) + 2)
    assert found["chance"] == pytest.approx(1.5 * discounts.sum() / (gains @ discounts))
    assert asked.data_sha256 != ""


def test_heads_without_a_common_space_and_single_clips_are_not_asked(tmp_path):
    assert "no common space" in evaluator(tmp_path, list("ab"), by_class, head="l3").missing()
    assert "1 held-out clips" in evaluator(tmp_path, ["a"], by_class).missing()


def test_a_system_says_itself_whether_it_has_a_common_space():
    assert systems.make(tiny.config(system__head="ave")).common_space
    assert not systems.make(tiny.config(system__head="l3")).common_space
