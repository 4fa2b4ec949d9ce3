"""One shard: a transaction. Its file and then its sidecar get their names only when they are whole and on the disk."""

import dataclasses
import functools
import hashlib
import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from array_record.python import array_record_module

from avc_jax import errors
from avc_jax.data import decoders, presence
from avc_jax.data.clock import Span
from avc_jax.data.files import cut_span
from avc_jax.data.records import layout, places
from avc_jax.data.records.clip import read_content, source_bytes
from avc_jax.data.records.example import Content, DamagedRecord, parse, serialize

# One record per chunk, for random access; JPEGs and sound hardly get smaller by compression.
_OPTIONS = "group_size:1,uncompressed"
_DIFFERS = "what was written reads back differently; is the disk full?"
_LEAST_DBFS = 20 * math.log10(1 / 32768)


@dataclasses.dataclass(frozen=True)
class Job:
    """A shard to be made of the clips below `videos`, in the folder `out`."""

    videos: Path
    out: Path
    shard: layout.Shard
    recipe: layout.Recipe


def make_shard(job: Job, should_stop: Callable[[], bool]) -> dict[str, Any]:
    """Makes a shard, unless it is there already and whole, and returns what its sidecar says.

    Args:
      job: what to make.
      should_stop: asked between clips.

    Raises:
      Stopped: `should_stop` said so; nothing of the shard is left.
      CannotWriteError: the folder cannot be written.
    """
    found = read_finished(job)
    if found is not None:
        return found | {"kept": True}
    path = job.out / job.shard.name
    temporary = path.with_name(f".{path.name}.{layout.own_suffix()}")
    try:
        # Until all shards are finished again, an index of before may be wrong.
        for stale in (job.out / layout.INDEX, layout.sidecar(job.out, path.name)):
            stale.unlink(missing_ok=True)
        temporary.touch()  # for a better error than the record writer's
        description, tables = _write(job, temporary, should_stop)
        layout.commit(temporary, path)
        for table_path, table in zip(_table_paths(job.out, path.name), tables, strict=True):
            layout.write_table(table_path, table)
        description["tables_sha256"] = [file_sha256(table_path) for table_path in _table_paths(job.out, path.name)]
        layout.write_text(layout.sidecar(job.out, path.name), json.dumps(description) + "\n")
    except (OSError, RuntimeError) as error:
        raise errors.CannotWriteError(f"{path} cannot be written: {error}.") from error
    finally:
        temporary.unlink(missing_ok=True)
    return description | {"kept": False}


def read_finished(job: Job) -> dict[str, Any] | None:
    """The sidecar of a finished shard whose bytes are still those written, and whose source files have kept their sizes."""
    description = read_sidecar(job)
    if description is None:
        return None
    try:
        digests = [file_sha256(file) for file in (job.out / job.shard.name, *_table_paths(job.out, job.shard.name))]
        return description if [description["sha256"], *description["tables_sha256"]] == digests else None
    except (OSError, KeyError, TypeError):
        return None


def read_sidecar(job: Job) -> dict[str, Any] | None:
    """The same, but of the bytes of shard and tables only whether they are there."""
    path = job.out / job.shard.name
    try:
        description = json.loads(layout.sidecar(job.out, path.name).read_text())
        rows = [*description["records"], *description["rejected"]]
        sizes = {row["clip"]: row["source_bytes"] for row in rows}
        if sizes != {place: source_bytes(job.videos, clip) for place, clip in job.shard.clips}:
            return None
        whole = description["bytes"] == path.stat().st_size and all(table.is_file() for table in _table_paths(job.out, path.name))
        return description if whole else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _table_paths(folder: Path, shard_name: str) -> tuple[Path, Path]:
    return layout.records_table(folder, shard_name), layout.parts_table(folder, shard_name)


def file_sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_records(path: Path, count: int) -> Iterator[bytes | DamagedRecord]:
    """The records of a shard in order, each by itself; for one that cannot be read, why."""
    try:
        reader = open_shard(path)
    except (OSError, RuntimeError) as error:
        yield from (DamagedRecord(f"the shard cannot be read ({error})") for _ in range(count))
        return
    for place in range(count):
        try:
            yield reader.read([place])[0]
        except (RuntimeError, IndexError) as error:
            yield DamagedRecord(str(error))


def open_shard(path: Path):
    """An ArrayRecord reader for random access.

    Raises:
      FileNotFoundError: there is no such file.
      RuntimeError: it cannot be read.
    """
    if not path.is_file():  # The reader would end the process.
        raise FileNotFoundError(f"there is no {path}")
    return array_record_module.ArrayRecordReader(str(path), "readahead_buffer_size:0", file_reader_buffer_size=32768)


def _write(job: Job, temporary: Path, should_stop: Callable[[], bool]) -> tuple[dict[str, Any], tuple[np.ndarray, np.ndarray]]:
    """What the sidecar says, and the tables of records and parts."""
    writer = array_record_module.ArrayRecordWriter(str(temporary), _OPTIONS)
    records: list[dict[str, Any]] = []
    rejected: list[dict[str, Any]] = []
    digests: list[tuple[bytes, Span, Span]] = []
    beside = presence.Neighbours(job.videos, (clip.path for _, clip in job.shard.clips), lambda path: [job.videos / path])
    limit_s = max(decoders.WHOLE_S, job.recipe.longest_s)
    for place, clip in job.shard.clips:
        if should_stop():
            writer.close()
            raise errors.Stopped("Stopped.")
        row = {"clip": place, "path": clip.path, "source_bytes": source_bytes(job.videos, clip)}
        try:
            content = presence.read_beside(beside, clip.path, functools.partial(
                decoders.call, read_content, job.videos, place, clip, job.recipe, limit_s=limit_s), should_stop)
        except errors.BadMedia as error:
            rejected.append(row | {"kind": error.kind, "reason": str(error)})
            continue
        record = serialize(content)
        writer.write(record)
        digests.append((hashlib.sha256(record).digest(), cut_span(content.span, clip), cut_span(content.measured, clip)))
        records.append(row | {"bytes": len(record)} | _statistics(content, job.recipe.window_s))
    writer.close()
    tables = places.locate(temporary, _read_back(temporary, digests))
    description = {"sha256": file_sha256(temporary), "bytes": temporary.stat().st_size, "records": records, "rejected": rejected}
    return description, tables


def _read_back(path: Path, digests: list[tuple[bytes, Span, Span]]) -> Iterator[tuple[bytes, Span, Span]]:
    """The records of the file, with the spans that stand beside their digests.

    Raises:
      OSError: the file does not hold the records with these digests.
    """
    if open_shard(path).num_records() != len(digests):
        raise OSError(_DIFFERS)
    for record, (digest, declared, measured) in zip(read_records(path, len(digests)), digests, strict=True):
        if isinstance(record, DamagedRecord) or hashlib.sha256(record).digest() != digest:
            raise OSError(_DIFFERS)
        yield record, declared, measured


def _statistics(content: Content, window_s: float) -> dict[str, float]:
    """Length in seconds, loudness in dBFS (RMS, at least that of one unit of int16), and the share of windows that are
    digital silence."""
    sound = content.sound.astype(np.float64)
    rms = math.sqrt(float(np.mean(sound**2))) / 32768 if len(sound) else 0.0
    size = max(1, round(window_s * content.rate_hz))
    windows = np.abs(sound[: len(sound) // size * size].reshape(-1, size))
    silent = float((windows <= 1).all(axis=1).mean()) if len(windows) else float((np.abs(sound) <= 1).all())
    return {"seconds": len(sound) / content.rate_hz, "frames": len(content.frames),
            "rms_dbfs": round(max(_LEAST_DBFS, 20 * math.log10(max(rms, 1e-9))), 3), "silent_share": round(silent, 6)}


def damages(folder: Path, shard_name: str) -> list[str]:
    """What is wrong with a finished shard, a line for each damage; every record is read and checked against its digest."""
    path, lines = folder / shard_name, []
    try:
        description = json.loads(layout.sidecar(folder, shard_name).read_text())
        rows, sha256, tables = description["records"], description["sha256"], description["tables_sha256"]
    except (OSError, ValueError, KeyError) as error:
        return [f"{shard_name}: its sidecar {layout.sidecar(folder, shard_name)} cannot be read ({error})"]
    for number, (record, row) in enumerate(zip(read_records(path, len(rows)), rows, strict=True)):
        try:
            if isinstance(record, DamagedRecord):
                raise record
            if parse(record, check=True).clip != row["clip"]:
                raise DamagedRecord("it is of another clip")
        except DamagedRecord as error:
            lines.append(f"{shard_name}, record {number} ({row['path']}): {error}")
    if not lines and file_sha256(path) != sha256:
        lines.append(f"{shard_name}: every record is good, but bytes between them have changed")
    for table, digest in zip(_table_paths(folder, shard_name), tables, strict=True):
        if not table.is_file() or file_sha256(table) != digest:
            lines.append(f"{shard_name}: its table {table} has changed")
    return lines
