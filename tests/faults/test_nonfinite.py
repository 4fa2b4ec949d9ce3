"""Losses that are not finite: once, as often as the budget allows, and for ever."""

import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest
from end_to_end import command
from faults import process


def poisoned(steps) -> tuple[str, ...]:
    return ("--at=avc_jax.train.step:_gradients", f"--do=nan:{','.join(map(str, steps))}")


def saved_is_finite(workdir) -> bool:
    restored = (ocp.StandardCheckpointer().restore(workdir / "checkpoints" / str(step) / "default")
                for step in process.finished_steps(workdir))
    return all(np.isfinite(leaf).all() for state in restored for leaf in jax.tree.leaves(state))


@pytest.mark.fault("nonfinite", "once, and ten times")
@pytest.mark.parametrize("bad", [[4], range(2, 12)], ids=["once", "ten times"])
def test_steps_that_are_not_finite_are_skipped_and_counted(cache, videos, tmp_path, bad):
    args = (*process.TRAIN, f"--workdir={tmp_path}", f"--config.data.root={videos}", "--config.train.steps=15")
    printed = process.run(cache, *args, inject=poisoned(bad)).printed
    assert f"Skipped {len(bad)} step(s) so far" in printed
    assert command.results(tmp_path)["train"]["skipped_steps"] == len(bad)
    assert process.finished_steps(tmp_path) == [9, 12, 15]
    assert saved_is_finite(tmp_path)


@pytest.mark.fault("nonfinite", "for ever")
def test_a_run_whose_steps_are_never_finite_again_stops_before_anything_bad_is_saved(cache, videos, tmp_path):
    args = (*process.TRAIN, f"--workdir={tmp_path}", f"--config.data.root={videos}", "--config.train.steps=15",
            "--config.train.nonfinite_budget=4")
    printed = process.run(cache, *args, inject=poisoned(range(5, 15)), expect=70).printed
    assert "was not finite in 5 of 10 steps" in printed and "config.optimizer.lr" in printed
    assert process.finished_steps(tmp_path) == [3, 6, 9]
    assert saved_is_finite(tmp_path)
