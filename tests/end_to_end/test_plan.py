"""--mode=plan as users run it: without data, without a work directory, for more devices than are here."""

import re

import pytest
from end_to_end import command

PLAN = (*command.TINY, "--mode=plan", "--config.data.pairs_per_visit=1")


def per_chip(printed: str) -> float:
    return float(re.search(r"([\d.,]+) GFLOP,", printed)[1].replace(",", ""))


@pytest.fixture(scope="module")
def plans(cache):
    """Nodes -> the plan of eight pairs for each of their eight GPUs."""
    return {nodes: command.run(cache, *PLAN, f"--topology=h100:8x{nodes}", f"--config.train.batch_size={64 * nodes}",
                               "--price=2.00@2026-11-21") for nodes in (1, 32)}


def test_work_of_a_chip_is_the_same_from_8_to_256(plans):
    assert per_chip(plans[1]) == pytest.approx(per_chip(plans[32]), rel=0.01)


def test_a_plan_tells_all(plans):
    for words in ("256 x NVIDIA H100 SXM in 32 nodes, 32 hosts", "parameters", "optimiser", "batches", "activations", "program",
                  "fits", "GFLOP", "gradients: all-reduce", "compute", "memory", "network", "bound by", "pairs/s", "chip-hours",
                  "the price of 2026-11-21", "each of 32 hosts delivers"):
        assert words in plans[32]


@pytest.mark.parametrize(("args", "words"), [
    ((), "expected CHIP:SHAPE"), (("--topology=v7:2x2",), "found 'v7'"), (("--topology=h100:8x1", "--price=cheap"), "PRICE@DAY"),
    (("--topology=h100:8x1", "--config.train.batch_size=12"), "config.train.batch_size"),
    (("--topology=h100:8x1", "--config.mesh.rules=audoi/*=-"), "config.mesh.rules")])
def test_bad_flags_are_named(cache, args, words):
    assert words in command.run(cache, *PLAN, *args, expect=64)
