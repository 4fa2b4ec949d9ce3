"""Shards as the jobs of an Apache Beam pipeline, on any of its runners: a thin shell around `shard.make_shard`.

Nothing travels through the pipeline but where a job is written down. The jobs lie in a file in the folder of records, which
every worker has to reach anyway, and what was made of them is read from the finished sidecars there. The file of jobs is also the
mark of a run: workers leave between two clips once it is gone. So a stop reaches every worker on any runner, and workers that
outlive a killed command leave when the next one clears up.
"""

import contextlib
import dataclasses
import functools
import io
import logging
import os
import pickle
import re
import socket
import threading
import time
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path
from typing import Any

from avc_jax import errors
from avc_jax.data import processes
from avc_jax.data.records import layout, shard
from avc_jax.train.guard import Guard

_POLL_S = 0.2
_LOOK_SHARE = 0.05  # of the time may go into looking for finished shards, where the folder is slow
_SETTLE_S = 90.0  # A network file system may show new files late: NFS, by default, after up to 60 s.
_CANCEL_S = 30.0
_AGAIN = "The same command goes on; finished shards stay."
_OURS = re.compile(r"avc_jax\.errors\.(\w+): (.+?)(?= \[while running|\n\n|\nTraceback|\Z)", re.DOTALL)

Place = tuple[int, int]  # offset and length of a job in the file of jobs


# The worker --------------------------------------------------------------------------------------------------------------


def make_one(place: Place, jobs: str, driver: int = 0) -> None:
    """Makes the shard of one job, in whatever process the runner calls it.

    Args:
      place: of the job in the file of jobs.
      jobs: path of that file.
      driver: the process that the pipeline was started in, where it is of this machine; otherwise 0.

    Raises:
      Stopped: the file of jobs is gone.
      MissingInputError: a folder cannot be seen from here.
      CannotWriteError: the folder of records cannot be written.
    """
    try:
        if driver not in (0, os.getpid()):
            _end_with(driver)
        _make(place, Path(jobs))
    except BaseException as error:
        if driver != os.getpid():
            raise
        _failures.append(error)  # and the driver stops the others; Beam would let them go on, and print pages


_failures: list[BaseException] = []  # of workers that are threads of the driver


def _make(place: Place, path: Path) -> None:
    _expect_folder(path.parent, "--out")
    job = _read_job(place, path)
    _expect_folder(job.videos, "--videos")  # without it, every clip would seem to be bad
    shard.make_shard(job, lambda: not path.exists())


def _read_job(place: Place, path: Path) -> shard.Job:
    try:
        with open(path, "rb") as file:
            file.seek(place[0])
            return pickle.loads(file.read(place[1]))
    except FileNotFoundError:
        raise errors.Stopped("Stopped.") from None


def _expect_folder(path: Path, flag: str) -> None:
    if not path.is_dir():
        raise errors.MissingInputError(f"{flag}={path}: there is no such folder on the worker {socket.gethostname()}; expected "
                                       "one that every worker reaches by this path, as on a shared file system.")


@functools.cache
def _end_with(driver: int) -> None:
    """Ends this process once the driver has; Beam's own local workers would wait for it for ever."""

    def watch() -> None:
        while True:
            try:
                os.kill(driver, 0)
            except OSError:
                os._exit(1)
            time.sleep(1.0)

    threading.Thread(target=watch, daemon=True).start()


# The driver --------------------------------------------------------------------------------------------------------------


class BeamRunner:
    """Makes shards in a Beam pipeline; to be given to `make.make_records`."""

    def __init__(self, options: Sequence[str] = (), workers: int = 0):
        """
        Args:
          options: of the pipeline, each `name=value` or `--name=value`. Without `runner`, it runs in threads of this process.
          workers: of Beam's runner on this machine; 0: one per core.

        Raises:
          ConfigError: Beam is not installed, or an option is bad.
        """
        self._beam = _import_beam()
        from apache_beam.options import pipeline_options

        flags = [option if option.startswith("--") else f"--{option}" for option in options]
        # Threads: when one of Beam's own local processes dies, its runner waits for it for ever.
        own = ["--runner=DirectRunner", "--direct_running_mode=multi_threading",
               f"--direct_num_workers={workers or processes.count_cores()}"]
        said = io.StringIO()
        try:
            with contextlib.redirect_stderr(said):
                self._options = pipeline_options.PipelineOptions([*own, *flags])
                self._options.get_all_options()
        except (SystemExit, Exception) as error:  # argparse exits
            reason = _last_line(said.getvalue() or error)
            raise errors.ConfigError(f"--beam_pipeline_options={','.join(options)}: Beam says \"{reason}\"; expected "
                                     "name=value,name=value, such as runner=FlinkRunner,parallelism=4.") from error
        standard = self._options.view_as(pipeline_options.StandardOptions)
        if standard.runner.lower() in ("direct", "directrunner"):
            standard.runner = "FnApiRunner"  # what DirectRunner is in Python; it would look for a Go program on the network first
        self._local = standard.runner == "FnApiRunner"
        if self._local:  # its workers' failures are told by us; other runners know more than we do
            logging.getLogger("apache_beam").setLevel(logging.CRITICAL)
        self._make_pipeline("", [])  # finds out whether there is such a runner

    def __call__(self, jobs: list[shard.Job], guard: Guard, progress) -> Generator[tuple[int, dict[str, Any]], None, None]:
        """See `make.Runner`. Shards that were there come last: only the workers know whether they are whole."""
        jobs = [dataclasses.replace(job, videos=job.videos.absolute()) for job in jobs]  # a worker's own folder is another
        sidecars = _Sidecars(jobs)
        _failures.clear()
        with _written(jobs) as (path, places):
            run = _Run(self._make_pipeline(str(path), places))
            try:
                look_at = 0.0
                while run.is_alive():
                    guard.raise_if_stopped()
                    run.raise_if_failed()
                    if (began := time.monotonic()) >= look_at:
                        yield from sidecars.fresh()
                        progress.show(sidecars.num_told)
                        look_at = time.monotonic() + (time.monotonic() - began) / _LOOK_SHARE
                    run.join(_POLL_S)
                guard.raise_if_stopped()
                run.raise_if_failed()
                yield from sidecars.all(guard)
            finally:
                path.unlink(missing_ok=True)
                run.stop(patient=self._local)

    def _make_pipeline(self, jobs: str, places: list[Place]):
        beam = self._beam
        try:
            pipeline = beam.Pipeline(options=self._options)
        except Exception as error:
            raise errors.ConfigError(f"--beam_pipeline_options: {_last_line(error)}") from error
        # Without Reshuffle, a runner would fuse it all into one job for one worker.
        work = functools.partial(make_one, jobs=jobs, driver=os.getpid() if self._local else 0)
        _ = (pipeline | "Shards" >> beam.Create(places, reshuffle=False) | "Spread" >> beam.Reshuffle()
             | "Make" >> beam.Map(work))
        return pipeline


def _import_beam():
    try:
        logging.disable(logging.WARNING)  # about clouds that nobody asked for
        import apache_beam
    except ImportError as error:
        raise errors.ConfigError(f"--runner=beam: Apache Beam cannot be imported ({error}). Install it with "
                                 "`pip install -r requirements-beam.txt` into an environment of its own, or with "
                                 "`pip install 'avc_jax[beam]'`; --runner=local needs nothing more.") from error
    finally:
        logging.disable(logging.NOTSET)
    return apache_beam


@contextlib.contextmanager
def _written(jobs: list[shard.Job]) -> Iterator[tuple[Path, list[Place]]]:
    """(file of jobs, where in it each is).

    Runners limit what a pipeline may hold itself, some to 10 MB, and a million clips have more in their names.
    """
    path = jobs[0].out / f".jobs.{layout.own_suffix()}"  # the next run clears it away, if this one cannot
    places, offset = [], 0
    try:
        with open(path, "wb") as file:
            for job in jobs:
                size = file.write(pickle.dumps(job))
                places.append((offset, size))
                offset += size
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise errors.CannotWriteError(f"{path} cannot be written: {error.strerror}.") from error
    try:
        yield path, places
    finally:
        path.unlink(missing_ok=True)


class _Sidecars:
    """Reads what the workers say of the shards, each once."""

    def __init__(self, jobs: list[shard.Job]):
        self._jobs, self._pending = jobs, dict(enumerate(jobs))
        self._before = [_stamp(job) for job in jobs]

    @property
    def num_told(self) -> int:
        return len(self._jobs) - len(self._pending)

    def fresh(self) -> Iterator[tuple[int, dict[str, Any]]]:
        """(number of the job, what its sidecar says) of the shards that were finished since the last call."""
        for number, job in list(self._pending.items()):
            if _stamp(job) not in (None, self._before[number]):
                yield from self._tell(number, job)

    def all(self, guard: Guard) -> Iterator[tuple[int, dict[str, Any]]]:
        """The same of the others, once the pipeline is done.

        Raises:
          AvcError: not every shard is there.
        """
        until = time.monotonic() + _SETTLE_S
        while True:
            for number, job in list(self._pending.items()):
                yield from self._tell(number, job)
            if not self._pending:
                return
            if time.monotonic() > until:
                break
            guard.raise_if_stopped()
            time.sleep(_POLL_S)
        first = next(iter(self._pending.values()))
        raise errors.AvcError(f"The pipeline is done, but {len(self._pending)} of {len(self._jobs)} shards are not in "
                              f"{first.out}, {first.shard.name} among them. Did every worker write to this folder, and did no "
                              f"video change meanwhile? {_AGAIN}")

    def _tell(self, number: int, job: shard.Job) -> Iterator[tuple[int, dict[str, Any]]]:
        kept = _stamp(job) == self._before[number]
        found = shard.read_sidecar(job)
        if found is not None:
            del self._pending[number]
            yield number, found | {"kept": kept}


def _stamp(job: shard.Job) -> tuple[int, int] | None:
    """Tells one writing of a sidecar from another; None: there is none."""
    try:
        facts = layout.sidecar(job.out, job.shard.name).stat()
        return facts.st_ino, facts.st_mtime_ns
    except OSError:
        return None


class _Run:
    """A pipeline that runs in a thread, so that this one can watch for signals and for finished shards."""

    def __init__(self, pipeline):
        self._pipeline, self._result = pipeline, None
        self._error: BaseException | None = None
        self._lost = False  # a process of Beam's local runner ended, and the runner will never know
        self._hook = threading.excepthook
        threading.excepthook = self._on_exception
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._result = self._pipeline.run()
            self._result.wait_until_finish()
            if self._result.state != "DONE":
                raise RuntimeError(f"It ended as {self._result.state}.")
        except BaseException as error:
            self._error = error

    def _on_exception(self, args) -> None:
        if args.thread is not None and args.thread.name == "run_worker":
            self._lost = True
        else:
            self._hook(args)

    def is_alive(self) -> bool:
        return self._thread.is_alive() and not self._lost

    def join(self, timeout_s: float) -> None:
        """Waits until it is over, or something happened, or the time is up; shortly, as signals reach Python only in between."""
        until = time.monotonic() + timeout_s
        while self.is_alive() and time.monotonic() < until:
            self._thread.join(_POLL_S)

    def raise_if_failed(self) -> None:
        """Raises what a worker raised, or AvcError."""
        if _failures:
            raise _failures[0]
        if self._lost:
            raise errors.AvcError("A worker of Beam ended without a word: it was killed, or memory ran out, or a video crashed "
                                  f"the decoder. {_AGAIN}")
        if self._error is not None:
            raise _told(self._error) from self._error

    def stop(self, *, patient: bool) -> None:
        """Ends what still runs; `patient`: until it has ended, otherwise at most for a while."""
        if self.is_alive() and self._result is not None:
            with contextlib.suppress(Exception):  # not every runner can
                self._result.cancel()
        self.join(float("inf") if patient else _CANCEL_S)
        threading.excepthook = self._hook


def _told(error: BaseException) -> errors.AvcError:
    """The error of ours that Beam wraps in one of its own, or one that says how its text ends."""
    text = str(error)
    for name, message in _OURS.findall(text):
        kind = getattr(errors, name, None)
        if isinstance(kind, type) and issubclass(kind, errors.AvcError):
            return kind(message.strip())
    lines = [line for line in text.splitlines() if line.strip()][-12:]
    return errors.AvcError(f"The pipeline failed with {type(error).__name__}:\n  " + "\n  ".join(lines) + f"\n{_AGAIN}")


def _last_line(said: object) -> str:
    return (str(said).strip().splitlines() or [type(said).__name__])[-1]
