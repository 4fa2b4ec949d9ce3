"""launch/slurm.sbatch in a real Slurm: what it puts back into the queue, and what it does not."""

import json
import re
import shutil
import sys
import tempfile
import time
from pathlib import Path

import pytest
import slurm
from end_to_end import command

pytestmark = pytest.mark.skipif(bool(slurm.missing()), reason=slurm.missing())


@pytest.fixture(scope="module")
def cluster():
    folder = Path(tempfile.mkdtemp(prefix="slurm-"))  # pytest's own folders are closed to others
    folder.chmod(0o755)
    with slurm.cluster(folder) as running:
        yield running
    shutil.rmtree(folder)


def bash(script: str) -> tuple[str, ...]:
    return "bash", "-c", script


def wait_for(log: Path, text: str, limit_s: float) -> str:
    """Waits until a log has a text, a regular expression; returns the log."""
    end = time.monotonic() + limit_s
    while not (log.exists() and re.search(text, log.read_text())):
        assert time.monotonic() < end, log.read_text() if log.exists() else f"no {log}"
        time.sleep(0.2)
    return log.read_text()


def test_a_process_on_each_node(cluster, tmp_path):
    script = "echo process $SLURM_PROCID of $SLURM_NTASKS on $SLURMD_NODENAME"
    job = cluster.finish(cluster.submit(tmp_path / "log", *bash(script)))
    assert (job["JobState"], job["Restarts"]) == ("COMPLETED", "0")
    printed = (tmp_path / "log").read_text()
    assert f"process 0 of 2 on {slurm.NODES[0]}\n" in printed and f"process 1 of 2 on {slurm.NODES[1]}\n" in printed


@pytest.mark.parametrize(("first", "other"), [(74, 134), (64, 64), (1, 137)])
def test_what_needs_a_person_ends_the_job_whatever_its_peers_end_with(cluster, tmp_path, first, other):
    job = cluster.finish(cluster.submit(tmp_path / "log", *bash(f"[ $SLURM_PROCID = 0 ] && exit {first}; exit {other}")))
    assert (job["JobState"], job["Restarts"], job["ExitCode"]) == ("FAILED", "0", f"{70 if first == 1 else first}:0")


def test_a_lost_process_brings_the_job_back_until_there_were_too_many(cluster, tmp_path):
    script = "[ $SLURM_PROCID = 1 ] && kill -KILL $$; exit 134"
    job = cluster.finish(cluster.submit(tmp_path / "log", *bash(script), MAX_RESTARTS="1"))
    assert (job["JobState"], job["Restarts"], job["ExitCode"]) == ("FAILED", "1", "75:0")


# As a preempting Slurm does; as at the time limit, and as a user does who names the script.
@pytest.mark.parametrize("to", [(), ("--batch",)], ids=["processes", "script"])
def test_a_signal_lets_every_process_save_and_brings_the_job_back(cluster, tmp_path, to):
    saved = f"{tmp_path}/saved.$SLURM_PROCID"
    script = f"test -e {saved} && exit 0; trap 'sleep 1; touch {saved}; exit 75' TERM; echo ready; sleep 60 & wait; exit 70"
    number = cluster.submit(tmp_path / "log", *bash(script))
    wait_for(tmp_path / "log", r"(?s)0: ready.*1: ready|1: ready.*0: ready", 30)
    cluster.ask("scancel", "--signal=TERM", *to, number)
    job = cluster.finish(number)
    assert (job["JobState"], job["Restarts"]) == ("COMPLETED", "1"), (tmp_path / "log").read_text()


def test_who_cancels_a_job_is_rid_of_it(cluster, tmp_path):
    number = cluster.submit(tmp_path / "log", *bash("trap 'exit 75' TERM; echo ready; sleep 60 & wait"))
    wait_for(tmp_path / "log", "ready", 30)
    cluster.ask("scancel", number)
    job = cluster.wait(number, lambda job: "COMPLETING" not in job["JobState"] and job["JobState"] != "RUNNING", 60)
    assert (job["JobState"], job["Restarts"]) == ("CANCELLED", "0")


EVALUATORS = ("avc", "clustering", "concepts", "probe", "pictures")


@pytest.mark.slow
def test_two_processes_are_preempted_come_back_and_end_as_if_nothing_had_been(cluster, videos, tmp_path, tmp_path_factory):
    cache = tmp_path_factory.mktemp("cache")
    cluster.environment |= command.environment(cache) | {"PATH": cluster.environment["PATH"]}
    results = {}
    for name in ("preempted", "unbroken"):
        log, workdir = tmp_path / f"{name}.log", tmp_path / name
        number = cluster.submit(log, sys.executable, "-m", "avc_jax.main", *command.TINY, "--config.train.steps=60",
                                f"--workdir={workdir}", f"--config.data.root={videos}",
                                *(f"--config.evaluators.{evaluator}=off" for evaluator in EVALUATORS))
        if name == "preempted":
            wait_for(log, "step +[0-9]+/60", 240)
            cluster.ask("scancel", "--signal=TERM", number)
        job = cluster.finish(number, 300)
        assert job["JobState"] == "COMPLETED", log.read_text()
        assert job["Restarts"] == ("1" if name == "preempted" else "0")
        results[name] = json.loads((workdir / "results.json").read_text())["train"]
    printed = (tmp_path / "preempted.log").read_text()
    assert "Saved at step" in printed and "Resuming at step" in printed
    assert results["preempted"]["params_sha256"] == results["unbroken"]["params_sha256"]
