"""Names of topologies, and what is said where one cannot be compiled for."""

import importlib.util
from pathlib import Path

import jax
import numpy as np
import pytest

from avc_jax import errors
from avc_jax.parallel.plan import chips, topology


@pytest.mark.parametrize(("name", "shape", "islands", "count"), [
    ("v5e:16x16", (16, 16), 1, 256), ("v5p:4x4x8", (4, 4, 8), 1, 128), ("v6e:8x8:2", (8, 8), 2, 128),
    ("v6e:8x8:2 slices", (8, 8), 2, 128), ("h100:8x4", (8,), 4, 32), ("h200:8", (8,), 1, 8), ("h200:4x1", (4,), 1, 4)])
def test_a_name_says_shape_and_islands(name, shape, islands, count):
    found = topology.parse(name)
    assert (found.shape, found.islands, found.chips) == (shape, islands, count)


@pytest.mark.parametrize(("name", "words"), [
    ("", "expected CHIP:SHAPE"), ("v5e", "expected CHIP:SHAPE"), ("v5e:16x", "expected CHIP:SHAPE"),
    ("v5f:4x4", "Did you mean v5"), ("h100:8x4:2", "expected h100:GPUSxNODES"), ("h100:16x2", "at most 8"),
    ("v5e:0x4", "no chips")])
def test_a_name_that_is_none_says_what_was_expected(name, words):
    with pytest.raises(errors.ConfigError, match=words):
        topology.parse(name)


def test_gpus_are_planned_with_cpu_devices():
    where = topology.parse("h100:4x2")
    devices = topology.devices(where)
    assert devices == jax.devices()[:8]
    assert topology.hosts(devices, where) == 2
    np.testing.assert_array_equal(topology.island_of(np.arange(8), where), [0] * 4 + [1] * 4)


def test_too_few_cpu_devices_are_told():
    with pytest.raises(errors.ConfigError, match="16 CPU devices are needed to compile for, and JAX has started with 8"):
        topology.devices(topology.parse("h100:8x2"))


@pytest.mark.skipif(importlib.util.find_spec("libtpu") is not None, reason="the TPU compiler is here")
def test_without_the_tpu_compiler_the_error_says_how_to_get_it():
    with pytest.raises(errors.ConfigError, match=r"libtpu.*pip install -r requirements-plan.txt"):
        topology.devices(topology.parse("v5e:2x4"))


def test_the_document_shows_the_table_of_the_code():
    assert chips.describe() in (Path(__file__).parents[3] / "docs" / "plan.md").read_text()


def test_every_fact_has_its_source():
    for chip in chips.CHIPS.values():
        facts = {"flops_per_s", "memory_gb", "memory_gb_per_s", "near_gb_per_s", "far_gb_per_s"}
        assert set(chip.sources) == facts
        assert all("https://" in source for source in chip.sources.values())
        assert chip.near_gb_per_s > chip.far_gb_per_s
