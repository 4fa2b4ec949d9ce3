"""Ranking against the numbers that published evaluations printed for seeded score matrices, ties and missing items included."""

import numpy as np
import pytest
from parity.vectors import Vectors

from avc_jax.evaluators import ranking


def matrix(vectors: Vectors, name: str) -> np.ndarray:
    """The scores that an output is of: S50 as they are, S50_ties rounded to quarters, S50_T transposed."""
    scores = vectors.input(name.split("_")[0])
    if "_ties" in name:
        scores = np.round(scores / np.float32(0.25)) * np.float32(0.25)
    return scores.T if "_T" in name else scores


def told(scores: np.ndarray, rule: str, denominator: str, official: int = 0) -> list[float]:
    """R@1, R@5, R@10 and the median rank of the diagonal."""
    counts = ranking.count(scores, np.arange(len(scores)))
    found = ranking.summarise(counts, rule, denominator, official)
    return [*found["recall"].values(), found["median_rank"]]


@pytest.mark.parametrize("system", ["avlnet", "howto100m"])
def test_tied_places_are_all_counted_as_the_releases_count_them(shared, system):
    vectors = Vectors(shared / f"vectors/{system}/retrieval_metrics.npz")
    made = {"constant10": np.ones((10, 10)), "worst10": 1 - np.eye(10)}
    for name in vectors.meta["outputs"]:
        scores = made[name] if name in made else matrix(vectors, name)
        denominator = {"avlnet": "available", "howto100m": "listed"}[system]
        found = told(scores, "naive", "official" if "msrvtt" in name else denominator, 1000)
        np.testing.assert_allclose(found, vectors[f"out/{name}"], rtol=1e-12, err_msg=name)


def test_means_of_tied_places_and_official_sizes(shared):
    vectors = Vectors(shared / "vectors/everything_at_once/retrieval_metrics.npz")
    for name in vectors.meta["outputs"]:
        scores = np.ones((8, 8)) if name == "constant8" else matrix(vectors, name)
        rule = "optimistic" if "optimistically" in name else "average"
        official = 75 if "complete75" in name else len(scores)
        wanted = vectors[f"out/{name}"]
        found = told(scores, rule, "official", official)
        np.testing.assert_allclose(found, [*wanted[:3] / 100, wanted[4]], rtol=1e-12, err_msg=name)
        mean = ranking.summarise(ranking.count(scores, np.arange(len(scores))), rule, "official", official)["mean_rank"]
        assert mean == pytest.approx(wanted[5]), name


def test_recalls_of_images_and_captions(shared):
    vectors = Vectors(shared / "vectors/resdavenet_vq/recalls.npz")
    for name in ("S12", "S64", "identity20"):
        scores = np.eye(20) if name == "identity20" else matrix(vectors, name)
        found = told(scores, "average", "available")[:3] + told(scores.T, "average", "available")[:3]
        np.testing.assert_allclose(found, vectors[f"out/{name}"], rtol=1e-12, err_msg=name)


def test_clips_found_by_captions(shared):
    vectors = Vectors(shared / "vectors/mcn/video_retrieval.npz")
    found = told(vectors.input("text") @ vectors["in/video_audio"].T, "naive", "available")
    wanted = vectors.meta["result"]["Standard Retrieval | single caption -> single clip"]
    assert found[:3] == pytest.approx([wanted[f"R@{k}"] for k in (1, 5, 10)])
