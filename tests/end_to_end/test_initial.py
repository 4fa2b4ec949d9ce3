"""A run that starts from another one: it says from what, and stands on its own feet from then on."""

import shutil

import pytest
from end_to_end import command


@pytest.mark.slow
def test_a_run_from_a_checkpoint_resumes_and_is_evaluated_without_it(finished, videos, cache, tmp_path):
    shutil.copytree(finished, tmp_path / "first")
    args = (*command.TINY, f"--workdir={tmp_path / 'second'}", f"--config.data.root={videos}",
            f"--config.init.checkpoint={tmp_path / 'first'}", "--config.init.freeze=audio/*")
    printed = command.run(cache, *args, "--config.train.steps=4")
    first, second = command.results(finished), command.results(tmp_path / "second")
    assert f"Starts from {tmp_path / 'first'}, step 60" in printed
    assert second["init"]["checkpoint"] == str(tmp_path / "first")
    assert (second["init"]["step"], second["init"]["params_sha256"]) == (60, first["train"]["params_sha256"])
    # What the network answered before its first step is what the first run's answered after its last.
    assert second["evaluate"]["avc"]["untrained"]["accuracy"] == first["evaluate"]["avc"]["accuracy"]
    shutil.rmtree(tmp_path / "first")
    printed = command.run(cache, *args, "--config.train.steps=8")
    assert "Resuming at step 4" in printed and "Starts from" not in printed
    assert command.results(tmp_path / "second")["init"] == second["init"]
    command.run(cache, *args, "--config.train.steps=8", "--mode=evaluate", "--config.evaluate.seed=1")
    wrong = command.run(cache, *args[:-1], "--config.init.freeze=adio/*", f"--workdir={tmp_path / 'third'}", expect=64)
    assert "Did you mean audio/*?" in wrong
