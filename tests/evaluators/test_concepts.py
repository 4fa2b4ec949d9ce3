"""Concept units: planted ones are counted, and noise gives what chance predicts."""

import dataclasses

import numpy as np
import pytest
from evaluators import asking

from avc_jax.data import sources
from avc_jax.evaluators import concepts
from avc_jax.evaluators.features import Features


def covered(values, labels, least, seed=0):
    return int((concepts.count_classes(values, labels, seed) >= least).any(axis=0).sum())


def planted(hits):
    """f32[40, D], labels: 4 classes of 10 clips; unit u is excited most by hits[u] clips of class u, then by others."""
    labels = np.repeat(list("abcd"), 10)
    values = np.random.default_rng(0).uniform(size=(40, len(hits)))
    for unit, count in enumerate(hits):
        own, others = np.flatnonzero(labels == "abcd"[unit]), np.flatnonzero(labels != "abcd"[unit])
        values[own[:count], unit] += 9
        # The others are of three classes in turn, so that none of them gets three places.
        values[others[::8][: 5 - count], unit] += 5
    return values.astype(np.float32), labels


def test_planted_units_are_counted():
    values, labels = planted([5, 4, 3, 2])
    counts = concepts.count_classes(values, labels, seed=0)
    assert [counts[unit, unit] for unit in range(4)] == [5, 4, 3, 2]
    assert counts.sum(axis=1).tolist() == [5, 5, 5, 5]
    assert (covered(values, labels, 4), covered(values, labels, 3)) == (2, 3)


def test_several_units_of_one_class_cover_it_once():
    values, labels = planted([5])
    assert covered(np.repeat(values, 7, axis=1), labels, 4) == 1


def test_top_clips_are_the_strongest_in_order():
    values = np.array([[0.1, 9], [0.9, 8], [0.5, 7], [0.7, 6], [0.3, 5], [0.8, 4]], np.float32)
    assert concepts.top(values, seed=0).tolist() == [[1, 5, 3, 2, 4], [0, 1, 2, 3, 4]]


def test_units_that_never_fire_do_not_stand_for_the_class_that_comes_first():
    labels = np.repeat([f"{number:02d}" for number in range(34)], 56)
    values = np.zeros((len(labels), 512), np.float32)
    assert max(covered(values, labels, 4, seed) for seed in range(5)) <= 1  # all of them prefer the same five clips


def test_noise_covers_as_many_classes_as_expected():
    many = np.repeat(np.arange(34), 5000)  # so many that a clip drawn takes nothing away from its class
    one_unit = 5 * (1 / 34) ** 4 * (33 / 34) + (1 / 34) ** 5
    assert concepts.expected(many, 512, 4) == pytest.approx(34 * (1 - (1 - one_unit) ** 512), rel=0.01)
    assert concepts.expected(many, 512, 3) == pytest.approx(4.0, abs=0.05)
    labels, rng = np.repeat(np.arange(34), 56), np.random.default_rng(0)
    found = [covered(rng.normal(size=(1904, 512)), labels, 3) for _ in range(20)]
    # The standard deviation of one count is about 1.9.
    assert np.mean(found) == pytest.approx(concepts.expected(labels, 512, 3), abs=1.5)


def test_expectation_takes_unequal_classes_into_account():
    labels, rng = np.repeat([0, 1, 2], [3, 6, 21]), np.random.default_rng(0)
    found = [covered(rng.normal(size=(30, 4)), labels, 3, seed) for seed in range(3000)]
    assert np.mean(found) == pytest.approx(concepts.expected(labels, 4, 3), abs=0.05)


def test_fewer_clips_than_places_are_no_error():
    assert concepts.count_classes(np.ones((3, 2)), np.array(["a", "a", "b"]), 0).tolist() == [[2, 1]] * 2
    assert concepts.expected(np.array(["a", "a", "a", "b"]), 2, 3) == 1.0


def test_each_modality_is_beside_the_untrained_network_and_chance(videos, tmp_path):
    found = sources.open_folder(str(videos), "", (1.0, 0.0, 0.0))
    # The loudest of five among six are the brighter ones: four of class b.
    source = dataclasses.replace(found, clips=tuple(dataclasses.replace(clip, label=label)
                                                    for clip, label in zip(found.clips, "aabbbb", strict=True)))
    setting = asking.setting(tmp_path, source)
    evaluator = concepts.make(setting, Features(setting))
    assert evaluator.missing() is None
    trained = evaluator(asking.network())
    untrained = evaluator(asking.network(-1.0, "untrained"))
    assert trained["video"] == {"units": 1, "at_least_4": 1, "covered_4": ["b"], "units_4": 1, "chance_4": pytest.approx(1 / 3),
                                "at_least_3": 1, "covered_3": ["b"], "units_3": 1, "chance_3": pytest.approx(1.0)}
    assert trained["audio"]["units"] == 2
    assert untrained["video"]["at_least_4"] == 0 and untrained["video"]["at_least_3"] == 1
    rows = evaluator.rows(trained, untrained)
    assert [(row.trained, row.untrained) for row in rows] == [(1, 0), (1, 0), (1, 1), (1, 1)]
    assert rows[0].name == "Classes that some unit finds in 4 of its top 5 sounds" and rows[0].form == "number"


def test_clips_without_labels_are_a_reason(videos, tmp_path):
    source = sources.open_folder(str(videos), "", (1.0, 0.0, 0.0))
    setting = asking.setting(tmp_path, source)
    assert "0 label(s)" in concepts.make(setting, Features(setting)).missing()
