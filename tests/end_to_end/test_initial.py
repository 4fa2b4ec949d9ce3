"""A run that starts from another one: it says from what, and stands on its own feet from then on."""

import shutil

import pytest
import tiny
from end_to_end import here

from avc_jax import errors


def config(videos, steps: int, **changes):
    made = tiny.config(data__root=str(videos), data__pairs_per_visit=2, train__steps=steps, **changes)
    made.evaluators.update({name: "off" for name in made.evaluators if name != "avc"})
    return made


def test_a_run_from_a_checkpoint_resumes_and_is_evaluated_without_it(videos, tmp_path, capsys):
    first = here.run(config(videos, 6), tmp_path / "first")
    init = dict(train__init_from=str(tmp_path / "first"), init__freeze="audio/*")
    second = here.run(config(videos, 0, **init), tmp_path / "second")  # without a step, what it starts from is evaluated
    assert f"Starts from {tmp_path / 'first'}, step 6" in capsys.readouterr().err
    assert second["init"]["checkpoint"] == str(tmp_path / "first")
    assert (second["init"]["step"], second["init"]["params_sha256"]) == (6, first["train"]["params_sha256"])
    assert (second["train"]["step"], second["train"]["params_sha256"]) == (0, first["train"]["params_sha256"])
    assert second["evaluate"]["avc"]["accuracy"] == first["evaluate"]["avc"]["accuracy"]
    assert (tmp_path / "second" / "report.html").is_file()
    shutil.rmtree(tmp_path / "first")
    third = here.run(config(videos, 4, **init), tmp_path / "second")
    printed = capsys.readouterr().err
    assert "Resuming at step 0" in printed and "Starts from" not in printed and third["init"] == second["init"]
    assert third["train"]["step"] == 4 and third["train"]["params_sha256"] != first["train"]["params_sha256"]
    # What the network answered before its first step is what the first run's answered after its last.
    assert third["evaluate"]["avc"]["untrained"]["accuracy"] == first["evaluate"]["avc"]["accuracy"]
    here.run(config(videos, 4, **init, evaluate__seed=1), tmp_path / "second", evaluate_only=True)
    with pytest.raises(errors.ConfigError, match=r"Did you mean audio/\*\?"):
        here.run(config(videos, 4, **init | {"init__freeze": "adio/*"}), tmp_path / "third")
