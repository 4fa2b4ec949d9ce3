"""A folder of videos into a folder of records: shards in parallel, then the files that describe them."""

import collections
import contextlib
import dataclasses
import functools
import sys
import time
from collections.abc import Callable, Generator
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from avc_jax import errors, stderr
from avc_jax.data import processes
from avc_jax.data.quarantine import Quarantine
from avc_jax.data.records import layout, places, shard
from avc_jax.data.sources import Source
from avc_jax.train.guard import Guard
from avc_jax.train.workdir import Workdir, read_json

_POLL_S = 0.2
_PERCENTILES = (5, 25, 50, 75, 95)
_AGAIN = "The same command goes on; finished shards stay."

Results = Generator[tuple[int, dict[str, Any]], None, None]
# From the jobs to what `make_shard` says of each, as (number of the job, what it says), in any order. It asks the guard when to
# stop, tells the progress how many are done, and ends its workers when it is closed.
Runner = Callable[[list[shard.Job], Guard, "Progress"], Results]


def make_records(source: Source, workdir: Workdir, recipe: layout.Recipe, guard: Guard, *, workers: int = 0,
                 budget: float = 0.05, stream: TextIO | None = None, runner: Runner | None = None) -> dict[str, Any]:
    """Makes the records of a source, or what is missing of them. The bytes depend on source and recipe only.

    Args:
      source: of files, as `sources.open_folder` gives it.
      workdir: the folder of records, which is ours while it is open.
      recipe: what a record holds.
      guard: says when to stop.
      workers: processes; 0: one per core; 1: this process alone.
      budget: share of the files that may be bad.
      stream: where progress goes; stderr by default.
      runner: who makes the shards; by default the processes of this machine, `workers` of them.

    Returns:
      What summary.json says.

    Raises:
      ConfigError: the folder holds records of another recipe or of other clips.
      DataError: too many files are bad, or all.
      CannotWriteError: the folder cannot be written.
      Stopped: by a signal.
    """
    folder = workdir.path
    shards = layout.assign(source, recipe.clips_per_shard)
    claim(workdir, layout.describe(recipe, source))
    jobs = [shard.Job(source.root, folder, one, recipe) for one in shards]
    open_ledger = functools.partial(Quarantine, folder / layout.LEDGER, source.num_files, budget, setting="--quarantine_budget")
    ledger, arrived = open_ledger(), {}
    progress = Progress(len(shards), stream or sys.stderr)
    runner = runner or functools.partial(_run_here, workers=workers)
    with contextlib.closing(runner(jobs, guard, progress)) as results:
        for number, found in results:
            arrived[number] = found
            progress.add(found)
            _tell(ledger, found)
    progress.end()
    described = [arrived[number] for number in range(len(jobs))]
    if list(arrived) != sorted(arrived):  # the ledger, too, is the same whatever happens on the way
        _clear_ledger(folder)
        ledger = open_ledger()
        for found in described:
            _tell(ledger, found)
    return _finish(source, workdir, shards, described)


def _tell(ledger: Quarantine, found: dict[str, Any]) -> None:
    for row in found["rejected"]:
        ledger.add(row["path"], errors.BadMedia(row["kind"], row["reason"]))


def _clear_ledger(folder: Path) -> None:
    try:
        (folder / layout.LEDGER).unlink(missing_ok=True)
    except OSError as error:
        raise errors.CannotWriteError(f"{folder} cannot be written: {error.strerror}.") from error


def refuse_other_folder(path: str) -> None:
    """Raises ConfigError if there is something that is no folder of records, before anything is written into it."""
    folder = Path(path)
    if not path or not folder.is_dir() or (folder / layout.RECIPE).is_file():
        return
    others = sorted(one.name for one in folder.iterdir() if one.name not in ("lock", f".{layout.RECIPE}.tmp"))
    if others:
        raise errors.ConfigError(f"--out={path} holds {others[0]} and no {layout.RECIPE}, so it is no folder of records; name "
                                 "another, or a new one.")


def claim(workdir: Workdir, description: dict[str, Any]) -> None:
    """Records what the folder is going to hold, or checks that it is what it holds already; and clears what a kill left.

    Raises:
      ConfigError: it holds records of another recipe or of other clips; the message says what differs.
      CannotWriteError: it cannot be written.
    """
    folder, found = workdir.path, read_json(workdir.path / layout.RECIPE)
    lines = [f"{key}: was {found.get(key)!r}, is {description.get(key)!r}"
             for key in sorted({*found, *description}) if found and found.get(key) != description.get(key)]
    lines = [line if not line.startswith("clips_sha256") else
             "the videos: files, splits or labels were added, removed or renamed since" for line in lines]
    if lines:
        raise errors.ConfigError(f"--out={folder} holds other records:\n  " + "\n  ".join(lines) + "\nName another folder, or "
                                 "delete this one to make it anew.")
    workdir.write(layout.RECIPE, description)
    try:
        (folder / "shards").mkdir(exist_ok=True)
        layout.remove_leftovers(folder)
    except OSError as error:
        raise errors.CannotWriteError(f"{folder} cannot be written: {error.strerror}.") from error
    _clear_ledger(folder)  # told again, by the shards


def _run_here(jobs: list[shard.Job], guard: Guard, progress: "Progress", *, workers: int) -> Results:
    """A `Runner` on this machine.

    Workers are processes. Decoding itself gives up the interpreter's lock, but demuxing and everything around it is Python, a
    call per packet and per frame, so threads stop gaining after a few cores; and a file that crashes the decoder ends one
    worker, with every finished shard on the disk.
    """
    workers = min(workers or processes.count_cores(), len(jobs))
    if workers <= 1:
        for number, job in enumerate(jobs):
            yield number, shard.make_shard(job, lambda: guard.should_stop)
            guard.raise_if_stopped()
        return
    with _pool(workers) as pool:
        with processes.without_main():
            futures = [pool.submit(_work, job) for job in jobs]
        for number, future in enumerate(futures):
            while not future.done():
                guard.raise_if_stopped()
                progress.show(sum(one.done() for one in futures[number:]) + number)
                _wait(future)
            try:
                yield number, future.result()
            except BrokenProcessPool as error:
                guard.raise_if_stopped()  # the signal may have gone to the workers as well
                raise errors.AvcError(f"A worker ended without a word: it was killed, or memory ran out, or a video crashed the "
                                      f"decoder. It was at {jobs[number].shard.name} or one of the next {workers - 1}. "
                                      f"{_AGAIN}") from error


def _wait(future: Future) -> None:
    with contextlib.suppress(TimeoutError):
        future.exception(timeout=_POLL_S)


@contextlib.contextmanager
def _pool(workers: int):
    import multiprocessing

    stop = multiprocessing.get_context("spawn").Event()
    pool = processes.make_pool(workers, _begin, stop)
    try:
        yield pool
    finally:
        stop.set()
        pool.shutdown(cancel_futures=True)


_stop: Any = None  # of a worker: set when it should leave its shard and end


def _begin(stop) -> None:
    global _stop
    _stop = stop


def _work(job: shard.Job) -> dict[str, Any]:
    return shard.make_shard(job, _stop.is_set)


def _finish(source: Source, workdir: Workdir, shards: list[layout.Shard], described: list[dict[str, Any]]) -> dict[str, Any]:
    """Writes what describes the records as a whole; the index last."""
    folder, rows = workdir.path, {}
    for one, found in zip(shards, described, strict=True):
        for number, row in enumerate(found["records"]):
            rows[row["clip"]] = {"shard": one.name, "record": number}
        for row in found["rejected"]:
            rows[row["clip"]] = {"kind": row["kind"], "reason": row["reason"]}
    summary = _summary(source, shards, described)
    if not summary["records"]:
        raise errors.DataError(f"Not one of the {summary['clips']} clips of {source.root} can be used; see "
                               f"{folder / layout.LEDGER}.")
    workdir.write(layout.SUMMARY, summary)
    try:
        _describe_for_tfds(folder, shards, described)
        layout.write_table(folder / layout.TABLE, _whole_table(folder, [rows[place] for place in range(len(source.clips))]))
        layout.write_index(folder, ({"clip": dataclasses.astuple(clip)} | rows[place] for place, clip in enumerate(source.clips)),
                           {one.name: found["bytes"] for one, found in zip(shards, described, strict=True)})
    except OSError as error:
        raise errors.CannotWriteError(f"{folder} cannot be written: {error}.") from error
    return summary


def _whole_table(folder: Path, rows: list[dict[str, Any]]) -> np.ndarray:
    """RECORD[n] of n rows of the index."""
    names = sorted({row["shard"] for row in rows if "shard" in row})
    tables = {name: np.load(layout.records_table(folder, name), allow_pickle=False) for name in names}
    whole = np.zeros(len(rows), places.RECORD)
    whole["shard"] = -1
    numbers = {name: number for number, name in enumerate(names)}
    for place, row in enumerate(rows):
        if "shard" in row:
            whole[place] = tables[row["shard"]][row["record"]]
            whole["shard"][place] = numbers[row["shard"]]
    return whole


def _describe_for_tfds(folder: Path, shards: list[layout.Shard], described: list[dict[str, Any]]) -> None:
    """Writes dataset_info.json and features.json."""
    import tensorflow_datasets as tfds

    from avc_jax.data.records.example import features

    template = tfds.core.ShardedFileTemplate(data_dir=str(folder), dataset_name=layout.DATASET, filetype_suffix="array_record")
    lengths: dict[str, list[int]] = collections.defaultdict(list)
    sizes: collections.Counter[str] = collections.Counter()
    for one, found in zip(shards, described, strict=True):
        lengths[one.split].append(len(found["records"]))
        sizes[one.split] += sum(row["bytes"] for row in found["records"])
    splits = [tfds.core.SplitInfo(name=split, shard_lengths=counts, num_bytes=sizes[split],
                                  filename_template=template.replace(split=split))
              for split, counts in lengths.items()]
    tfds.folder_dataset.write_metadata(data_dir=str(folder), features=features(), split_infos=splits, check_data=False,
                                       version=f"{layout.VERSION}.0.0", description="Clips of videos, made by avc_jax.prepare.")


def _summary(source: Source, shards: list[layout.Shard], described: list[dict[str, Any]]) -> dict[str, Any]:
    records = [row for found in described for row in found["records"]]
    rejected = [row for found in described for row in found["rejected"]]
    loudness = np.percentile([row["rms_dbfs"] for row in records], _PERCENTILES) if records else []
    silent = [row["silent_share"] for row in records]
    splits = collections.Counter(one.split for one, found in zip(shards, described, strict=True) for _ in found["records"])
    return {
        "clips": len(source.clips),
        "clips_sha256": source.sha256(),
        "records": len(records),
        "splits": dict(sorted(splits.items())),
        "shards": len(shards),
        "hours": round(sum(row["seconds"] for row in records) / 3600, 6),
        "bytes": sum(found["bytes"] for found in described),
        "rejected": dict(sorted(collections.Counter(row["kind"] for row in rejected).items())),
        "loudness_rms_dbfs": {f"p{p:02d}": round(float(value), 2) for p, value in zip(_PERCENTILES, loudness, strict=False)},
        "silence": {"silent_windows": round(float(np.mean(silent or [0])), 6),
                    "clips_more_than_half_silent": round(float(np.mean([share > 0.5 for share in silent] or [0])), 6)},
    }


def _on_long_clips(count: int) -> list[str]:
    """What is to be known of clips that have no record although training uses them from their folder."""
    return [f"Not the clips of the folder: {count} longer than --longest_s have no record, and training from the folder uses "
            "them. Cut them by start_s and end_s in a manifest, or raise --longest_s, for both to see the same."] if count else []


def summary_text(summary: dict[str, Any]) -> str:
    """The summary for people."""
    rejected = sum(summary["rejected"].values())
    reasons = ", ".join(f"{count} {kind}" for kind, count in summary["rejected"].items())
    loudness = ", ".join(f"{value:.1f} ({name})" for name, value in summary["loudness_rms_dbfs"].items())
    return "\n".join([
        f"{summary['records']} records of {summary['clips']} clips, {summary['hours']:.2f} hours, "
        f"{summary['bytes'] / 1e6:,.1f} MB in {summary['shards']} shards: {summary['splits']}.",
        f"Rejected: {rejected}{f' ({reasons})' if rejected else ''}.",
        *_on_long_clips(summary["rejected"].get("too_long", 0)),
        f"Loudness, dBFS RMS: {loudness}.",
        f"Silence: {100 * summary['silence']['silent_windows']:.1f}% of windows; "
        f"{100 * summary['silence']['clips_more_than_half_silent']:.1f}% of clips are silent for more than half their windows.",
    ])


class Progress:
    """One line that is rewritten on a terminal; elsewhere a plain line every ten seconds."""

    def __init__(self, shards: int, stream: TextIO):
        self._shards, self._stream, self._tty = shards, stream, stream.isatty()
        self._done = self._kept = self._records = self._rejected = 0
        self._began = self._shown = time.monotonic()

    def add(self, found: dict[str, Any]) -> None:
        """Counts a shard."""
        self._done += 1
        self._kept += found["kept"]
        self._records += len(found["records"])
        self._rejected += len(found["rejected"])
        self.show(self._done)

    def show(self, done: int) -> None:
        """Prints the line if it is time; `done` shards are finished, in whatever order."""
        now = time.monotonic()
        if now - self._shown < (_POLL_S if self._tty else 10.0):
            return
        self._shown = now
        line = f"preparing: {done} of {self._shards} shards"
        made = done - self._kept
        if made > 0:
            line += f", {(now - self._began) * (self._shards - done) / made:.0f} s left"
        stderr.write(f"\r\x1b[K{line}" if self._tty else line + "\n", self._stream)

    def end(self) -> None:
        """Prints what was done."""
        stderr.say(("\r\x1b[K" if self._tty else "") + f"prepared {self._done} shards ({self._kept} were there) in "
                   f"{time.monotonic() - self._began:.0f} s: {self._records} records, {self._rejected} rejected", self._stream)


def verify(folder: Path, guard: Guard) -> int:
    """Rereads every record of a finished folder and checks it against its digest; returns how many there are.

    Raises:
      MissingInputError: the folder holds no finished records.
      DataError: something is damaged; the message names the file, or shard, record and path.
      Stopped: by a signal.
    """
    rows = layout.read_index(folder)
    layout.check_digests(folder)
    names = sorted({row["shard"] for row in rows if "shard" in row})
    lines = []
    for name in names:
        guard.raise_if_stopped()
        lines += shard.damages(folder, name)
    if lines:
        more = f"\n  and {len(lines) - 20} more" if len(lines) > 20 else ""
        raise errors.DataError(f"{folder}: found {len(lines)} damages:\n  " + "\n  ".join(lines[:20]) + more
                               + "\nThe command that made the records makes the damaged shards anew.")
    return sum("shard" in row for row in rows)
