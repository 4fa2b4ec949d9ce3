"""A run of a system with a common space is asked for retrieval and for concepts, and its page shows both with what it found."""


import numpy as np
import pytest
from end_to_end import command

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def args(rendered):
    evaluators = ("avc", "transfer", "clustering", "concepts", "probe", "pictures")
    return (*command.TINY, f"--config.data.root={rendered}", "--config.data.manifest=four.csv", "--config.train.steps=6",
            "--config.system.head=ave", "--config.retrieval.subsets=label", "--config.dimensions.f1=0.0",
            "--config.dimensions.least_clips=2", *(f"--config.evaluators.{name}=off" for name in evaluators))


def test_retrieval_and_concepts_of_a_run_are_on_its_page(args, cache, tmp_path):
    workdir = tmp_path / "run"
    printed = command.run(cache, *args, f"--workdir={workdir}")
    assert "Retrieval, sound to image: recall at 1" in printed and "Dimensions that stand for a word" in printed
    found = command.results(workdir)["evaluate"]
    for name in ("trained", "untrained"):
        for direction in ("sound to image", "image to sound"):
            told = found["retrieval"][name]["directions"][direction]
            assert told["asked"] == told["candidates"] == told["divisor"] == 32
            low, high = told["interval"]["recall"]["10"]
            assert 0 <= low <= told["recall"]["10"] <= high <= 1
            assert sum(within["asked"] for within in told["subsets"].values()) == 32
        assert found["dimensions"][name]["clips"] == 32
    assert None not in [row["untrained"] for row in found["retrieval"]["rows"]]
    lists = np.load(workdir / "pictures/retrieval.npz")
    assert len(lists["query"]) == 8 and (lists["found_media"] >= 0).all()
    page = (workdir / "report.html").read_text()
    assert page.count("own clip") == 8 and 'aria-label="Recalls of every direction"' in page
    assert 'aria-label="Recalls within subsets"' in page and "the same network before its first step" in page
    assert page.count("<audio") >= 8 + 4 * 5  # who asks, and the sounds that are found
    before = found
    command.run(cache, *args, f"--workdir={workdir}", "--mode=evaluate")
    assert command.results(workdir)["evaluate"] == before


def test_a_benchmark_smaller_than_its_clips_ends_the_run_before_it_begins(args, cache, tmp_path):
    printed = command.run(cache, *args, f"--workdir={tmp_path / 'w'}", "--config.retrieval.official=5", expect=64)
    assert "config.retrieval.official: found 5" in printed and "Compiled the step" not in printed
