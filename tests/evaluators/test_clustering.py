"""Clustering: the closed forms of mutual information, and clusters where there are some."""

import dataclasses

import numpy as np
import pytest
from evaluators import asking

from avc_jax.data import sources
from avc_jax.evaluators import clustering
from avc_jax.evaluators.features import Features


def labels_of(classes, items):
    return np.arange(items) % classes


@pytest.mark.parametrize("average", ["arithmetic", "geometric", "max", "min"])
def test_the_same_partition_under_other_names_agrees_fully_and_one_cluster_not_at_all(average):
    labels = labels_of(5, 100)
    assert clustering.agreement(labels, 7 - labels, average) == pytest.approx(1.0)
    assert clustering.agreement(labels, np.zeros(100), average) == pytest.approx(0.0)


@pytest.mark.parametrize(("average", "wanted"), [("arithmetic", 2 / 3), ("geometric", 0.5**0.5), ("max", 0.5), ("min", 1.0)])
def test_halved_classes_lose_what_the_closed_form_says(average, wanted):
    # Two classes, each cut into two clusters: 1 bit of mutual information, entropies of 1 and 2 bits.
    assert clustering.agreement(labels_of(4, 64) // 2, labels_of(4, 64), average) == pytest.approx(wanted)


@pytest.mark.parametrize(("average", "low", "high"), [("geometric", 0.158, 0.168), ("arithmetic", 0.158, 0.168),
                                                      ("max", 0.144, 0.152), ("min", 0.174, 0.180)])
def test_chance_for_the_papers_sizes_is_the_papers(average, low, high):
    assert low < clustering.chance(labels_of(34, 1900), 64, average, seed=0) < high


def test_chance_repeats_and_falls_with_more_items():
    one = clustering.chance(labels_of(10, 200), 10, "arithmetic", seed=3)
    assert one == clustering.chance(labels_of(10, 200), 10, "arithmetic", seed=3)
    assert clustering.chance(labels_of(10, 4000), 10, "arithmetic", seed=3) < one / 5


def test_clusters_that_are_there_are_found_and_found_again():
    labels = labels_of(6, 120)
    values = (10 * np.eye(6, 8)[labels] + np.random.default_rng(0).normal(size=(120, 8))).astype(np.float32)
    assigned = clustering.clusters(values, 6, restarts=3, seed=0)
    assert clustering.agreement(labels, assigned, "arithmetic") == pytest.approx(1.0)
    np.testing.assert_array_equal(assigned, clustering.clusters(values, 6, restarts=3, seed=0))


def test_a_network_that_says_the_same_of_everything_agrees_with_nothing():
    assigned = clustering.clusters(np.ones((30, 4), np.float32), 5, restarts=2, seed=0)
    assert clustering.agreement(labels_of(3, 30), assigned, "arithmetic") == pytest.approx(0.0)


@pytest.fixture(scope="module")
def source(videos):
    """Two classes: the three darkest videos with the lowest tones, and the three brightest with the highest."""
    found = sources.open_folder(str(videos), "", (1.0, 0.0, 0.0))
    return dataclasses.replace(found, clips=tuple(dataclasses.replace(clip, label="low" if place < 3 else "high")
                                                  for place, clip in enumerate(found.clips)))


def test_each_modality_is_beside_the_untrained_network_and_chance(source, tmp_path):
    setting = asking.setting(tmp_path, source, clustering__clusters=2)
    evaluator = clustering.make(setting, Features(setting))
    assert evaluator.missing() is None
    trained = evaluator(asking.network())
    assert trained["video"]["nmi"] == trained["audio"]["nmi"] == pytest.approx(1.0)
    assert (trained["clips"], trained["classes"], trained["clusters"]) == (6, 2, 2)
    untrained = {**trained, "video": {"nmi": 0.1}, "audio": {"nmi": 0.2}}
    rows = evaluator.rows(trained, untrained)
    assert [(row.trained, row.untrained, row.form) for row in rows] == [
        (pytest.approx(1.0), 0.2, "number"), (pytest.approx(1.0), 0.1, "number")]
    assert "sounds" in rows[0].name and "frames" in rows[1].name
    assert 0 < rows[0].chance < 0.5


@pytest.mark.parametrize(("clusters", "labels", "words"), [(6, "abcabc", "expected more than config.clustering.clusters = 6"),
                                                           (2, "aaaaaa", "1 label"), (2, [""] * 6, "0 label")])
def test_too_little_to_cluster_is_told(source, tmp_path, clusters, labels, words):
    clips = tuple(dataclasses.replace(clip, label=label) for clip, label in zip(source.clips, labels, strict=True))
    setting = asking.setting(tmp_path, dataclasses.replace(source, clips=clips), clustering__clusters=clusters)
    assert words in clustering.make(setting, Features(setting)).missing()
