"""Records made in Apache Beam: the driver, with pipelines that do as they are told, and Beam itself where it is installed."""

import hashlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import media
import numpy as np
import pytest
import tiny
from data.test_records import RECIPE, flip, make_records
from tensorflow_datasets.proto import tf_example_pb2
from test_prepare import FLAGS, NEEDS_BEAM, ROOT, SMALL, files, run, start, wait_for_shards

from avc_jax import errors
from avc_jax.data import sources
from avc_jax.data.records import beam, clip, layout, shard


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Six videos and two that are none, in four shards of SMALL."""
    folder = tmp_path_factory.mktemp("beam") / "videos"
    folder.mkdir()
    for number in range(6):
        tiny.write_video(folder / f"{number:02d}.mp4", number)
    media.text_file(folder / "00a.mp4")
    media.empty_file(folder / "04a.mp4")
    return folder


@pytest.fixture(scope="module")
def reference(folder, tmp_path_factory) -> dict[str, bytes]:
    """What an undisturbed run in one process writes."""
    out = tmp_path_factory.mktemp("reference") / "out"
    make_records(folder, out, SMALL)
    return files(out)


class Pipeline:
    """Looks like one of Beam's, of a runner that is elsewhere."""

    def __init__(self, work):
        self._work, self.state, self.cancelled = work, "RUNNING", False

    def run(self):
        threading.Thread(target=self._run, daemon=True).start()
        return self

    def _run(self):
        try:
            self._work()
            self.state = "DONE"
        except Exception as error:
            self.error, self.state = error, "FAILED"

    def wait_until_finish(self):
        while self.state == "RUNNING":
            time.sleep(0.01)
        if self.state == "FAILED":
            raise RuntimeError(f"Traceback (most recent call last):\n  File x\navc_jax.errors.{type(self.error).__name__}: "
                               f"{self.error} [while running 'Make']")

    def cancel(self):
        self.cancelled = True


class Elsewhere(beam.BeamRunner):
    """A runner whose pipeline calls work(places, jobs)."""

    def __init__(self, work):
        self._work, self._local, self.made = work, False, []

    def _make_pipeline(self, jobs, places):
        self.made.append(Pipeline(lambda: self._work(places, jobs)))
        return self.made[-1]


def backwards(places, jobs):
    for place in reversed(places):
        beam.make_one(place, jobs)
        time.sleep(0.3)  # the driver sees them one by one


def all_at_once(places, jobs):
    for place in places:
        beam.make_one(place, jobs)


# The driver --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("work", [backwards, all_at_once])
def test_order_of_the_workers_changes_nothing(folder, reference, tmp_path, work):
    make_records(folder, tmp_path / "out", SMALL, runner=Elsewhere(work))
    assert files(tmp_path / "out") == reference


def test_folder_named_from_here_is_found_by_workers_elsewhere(folder, reference, tmp_path, monkeypatch):
    def work(places, jobs):
        monkeypatch.chdir(tmp_path)
        all_at_once(places, jobs)

    monkeypatch.chdir(folder.parent)
    make_records(Path(folder.name), tmp_path / "out", SMALL, runner=Elsewhere(work))
    assert files(tmp_path / "out") == reference


def test_finished_shards_are_kept_and_damaged_ones_made_anew(folder, reference, tmp_path):
    out = tmp_path / "out"
    make_records(folder, out, SMALL)
    victim = sorted(out.glob("*.array_record-*"))[1]
    others = {path: path.stat().st_mtime_ns for path in out.glob("*.array_record-*") if path != victim}
    flip(victim, b".mp4")
    make_records(folder, out, SMALL, runner=Elsewhere(backwards))
    assert files(out) == reference
    assert all(path.stat().st_mtime_ns == then for path, then in others.items())


def test_shards_that_do_not_appear_are_told(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(beam, "_SETTLE_S", 0.0)
    with pytest.raises(errors.AvcError, match=r"3 of 4 shards are not in .*clips-train.array_record-00001-of-00004"):
        make_records(folder, tmp_path / "out", SMALL, runner=Elsewhere(lambda places, jobs: beam.make_one(places[0], jobs)))
    assert not (tmp_path / "out" / layout.INDEX).exists()


def test_shards_that_appear_late_are_waited_for(folder, reference, tmp_path):
    late = []

    def work(places, jobs):
        job = [beam._read_job(place, Path(jobs)) for place in places]
        late.append(threading.Timer(0.5, lambda: [shard.make_shard(one, lambda: False) for one in job]))
        late[0].start()

    make_records(folder, tmp_path / "out", SMALL, runner=Elsewhere(work))
    late[0].join()
    assert files(tmp_path / "out") == reference


def test_error_of_a_worker_is_the_error_of_the_command(folder, tmp_path):
    def work(places, jobs):
        raise errors.CannotWriteError("/out/x cannot be written: the disk is full.\nReally.")

    with pytest.raises(errors.CannotWriteError) as caught:
        make_records(folder, tmp_path / "out", SMALL, runner=Elsewhere(work))
    assert str(caught.value) == "/out/x cannot be written: the disk is full.\nReally."


def test_what_else_goes_wrong_is_told_with_its_last_lines(folder, tmp_path):
    def work(places, jobs):
        raise KeyError("no such cluster")

    with pytest.raises(errors.AvcError, match=r"(?s)failed with RuntimeError.*no such cluster.*same command goes on"):
        make_records(folder, tmp_path / "out", SMALL, runner=Elsewhere(work))


def until_stopped(places, jobs):
    """Makes two shards, and the others only when it may no longer."""
    for place in places[:2]:
        beam.make_one(place, jobs)
    while os.path.exists(jobs):
        time.sleep(0.01)
    for place in places[2:]:
        beam.make_one(place, jobs)


def test_too_many_bad_files_stop_the_workers(folder, tmp_path):
    runner = Elsewhere(until_stopped)
    with pytest.raises(errors.DataError, match="1 of 8 files unusable"):
        make_records(folder, tmp_path / "out", SMALL, runner=runner, budget=0.0)
    assert runner.made[0].cancelled
    assert len(list((tmp_path / "out").glob("clips-*"))) == 2


def test_stop_reaches_the_workers_and_keeps_what_is_finished(folder, reference, tmp_path):
    out = tmp_path / "out"

    def work(places, jobs):
        os.kill(os.getpid(), signal.SIGTERM)
        until_stopped(places, jobs)

    with pytest.raises(errors.Stopped, match="SIGTERM"):
        make_records(folder, out, SMALL, runner=Elsewhere(work))
    assert not list(out.rglob("*.tmp"))
    make_records(folder, out, SMALL, runner=Elsewhere(all_at_once))
    assert files(out) == reference


def test_workers_of_a_killed_command_leave_when_the_next_begins(folder, tmp_path):
    (tmp_path / "shards").mkdir()
    jobs = [shard.Job(folder, tmp_path, one, SMALL)
            for one in layout.assign(sources.open_folder(str(folder), "", (1, 0, 0)), 2)]
    with beam._written(jobs) as (path, places):
        beam.make_one(places[0], str(path))
        layout.remove_leftovers(tmp_path)
        with pytest.raises(errors.Stopped):
            beam.make_one(places[1], str(path))
    assert [path.name for path in tmp_path.glob("clips-*")] == [jobs[0].shard.name]


@pytest.mark.parametrize("missing", ["videos", "out"])
def test_worker_that_does_not_see_the_folders_says_so(folder, tmp_path, missing):
    job = shard.Job(tmp_path / "none", tmp_path, layout.assign(sources.open_folder(str(folder), "", (1, 0, 0)), 2)[0], RECIPE)
    with beam._written([job]) as (path, places), pytest.raises(errors.MissingInputError, match=f"--{missing}=.*every worker"):
        beam.make_one(places[0], str(path) if missing == "videos" else f"{tmp_path}/nowhere/jobs")


@pytest.mark.parametrize("kind", ["protobuf", "pillow"])
def test_versions_that_beam_asks_for_write_the_bytes_of_those_that_are_pinned(kind):
    # One test for both environments: requirements.txt and requirements-beam.txt differ in these two.
    if kind == "protobuf":
        example = tf_example_pb2.Example()
        for number in range(30):
            example.features.feature[f"a{number * 7 % 30}"].bytes_list.value.extend([b"x" * number, b""])
            example.features.feature[f"b{number * 11 % 30}"].int64_list.value.append(10**number % 2**62 - number)
        found = example.SerializeToString(deterministic=True)
    else:
        y, x = np.mgrid[:90, :119]
        found = clip._jpeg(np.stack([x * y % 251, x + y, x * 2 % 256], -1).astype(np.uint8), 90)
    assert hashlib.sha256(found).hexdigest() == {
        "protobuf": "473d1333b78c117536317f8f7574feb7c348e8b4d9392e1ffee9fef447ff8c0e",
        "pillow": "193a15174ea11eb0498ab91669ea4cd46df2a5ee079cb92c34135fec2a3951a8"}[kind]


# Beam itself -------------------------------------------------------------------------------------------------------------


@NEEDS_BEAM
@pytest.mark.filterwarnings("ignore")
def test_shards_spread_over_the_workers(folder, tmp_path, monkeypatch):
    both = threading.Barrier(2)

    def make_shard(job, should_stop):
        both.wait(60)  # so nobody gets on unless two are here
        return real(job, should_stop)

    real = shard.make_shard
    monkeypatch.setattr(shard, "make_shard", make_shard)
    make_records(folder, tmp_path / "out", SMALL, runner=beam.BeamRunner((), 2))


@NEEDS_BEAM
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", [errors.CannotWriteError, KeyError])
def test_error_in_a_thread_of_beam_is_raised_as_it_is(folder, tmp_path, monkeypatch, kind):
    def make_shard(job, should_stop):
        raise kind("the disk is full")

    monkeypatch.setattr(shard, "make_shard", make_shard)
    with pytest.raises(kind, match="the disk is full"):
        make_records(folder, tmp_path / "out", SMALL, runner=beam.BeamRunner((), 2))


@NEEDS_BEAM
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("option", "words"), [
    ("runner=NoSuchRunner", "NoSuchRunner"), ("direct_num_workers=x", "invalid int value")])
def test_bad_options_are_told_before_anything_is_written(option, words):
    with pytest.raises(errors.ConfigError, match=f"--beam_pipeline_options.*{words}"):
        beam.BeamRunner((option,))


def is_worker(pid: int) -> bool:
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return False
    return b"apache_beam.runners.worker.sdk_worker_main" in words


def descendants(pid: int) -> list[int]:
    """A process's children, theirs, and so on."""
    found = [int(child) for task in Path(f"/proc/{pid}/task").glob("*/children") for child in task.read_text().split()]
    return found + [other for child in found for other in descendants(child)]


@NEEDS_BEAM
@pytest.mark.skipif(not Path(f"/proc/self/task/{os.getpid()}/children").exists(), reason="workers are found in /proc")
def test_killed_process_of_beam_is_told_and_the_others_leave(folder, reference, tmp_path):
    out = tmp_path / "out"
    args = (f"--videos={folder}", f"--out={out}", "--workers=2", "--runner=beam", "--quarantine_budget=0.5", *FLAGS)
    process = start(*args, "--beam_pipeline_options=direct_running_mode=multi_processing")
    wait_for_shards(process, out, 1)
    workers = [pid for pid in descendants(process.pid) if is_worker(pid)]
    os.kill(workers[0], signal.SIGKILL)
    printed, _ = process.communicate(timeout=60)
    assert process.returncode == 70 and "A worker of Beam ended" in printed, printed
    until = time.monotonic() + 30
    while any(is_worker(pid) for pid in workers):
        assert time.monotonic() < until, "workers are left over"
        time.sleep(0.1)
    run(*args)
    assert files(out) == reference


@pytest.fixture
def cluster(tmp_path):
    """The options of a portable runner: a job service and a pool that starts workers, each in processes of their own."""
    def free_port() -> int:
        with socket.socket() as one:
            one.bind(("localhost", 0))
            return one.getsockname()[1]

    jobs, pool = free_port(), free_port()
    # The pool starts its workers as `python`.
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    started = [subprocess.Popen([sys.executable, "-m", f"apache_beam.runners.{module}", *args], cwd=ROOT,
                                env=os.environ | {"PYTHONPATH": str(ROOT), "PATH": path},
                                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
               for module, *args in (("portability.local_job_service_main", f"--port={jobs}"),
                                     ("worker.worker_pool_main", f"--service_port={pool}"))]
    for port in (jobs, pool):
        until = time.monotonic() + 60
        while True:
            try:
                socket.create_connection(("localhost", port), 1).close()
                break
            except OSError:
                assert time.monotonic() < until, "the cluster does not start"
                time.sleep(0.1)
    yield (f"--beam_pipeline_options=runner=PortableRunner,job_endpoint=localhost:{jobs},environment_type=EXTERNAL,"
           f"environment_config=localhost:{pool}")
    for process in started:
        process.terminate()
        process.wait(30)


@NEEDS_BEAM
def test_workers_on_a_cluster_write_the_same_bytes_and_stop_when_told(folder, reference, tmp_path, cluster):
    out = tmp_path / "out"
    args = (f"--videos={folder}", f"--out={out}", "--runner=beam", cluster, "--quarantine_budget=0.5", *FLAGS)
    process = start(*args)
    wait_for_shards(process, out, 1)
    process.terminate()
    printed, _ = process.communicate(timeout=60)
    assert process.returncode == 75 and "the same command goes on" in printed, printed
    assert "prepared 4 shards" in run(*args)
    assert files(out) == reference
