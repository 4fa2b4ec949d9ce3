"""An index on the disk: which files it holds, and the vectors of their windows.

    index.json           what it was made with; the files, each with size, time, digest and what could not be read; which arrays
    <modality>-<n>.*.npy vectors f32[rows, D], file int32[rows] (places in the list of files), time_s float64[rows]
    <modality>-<n>.faiss lists of a large index, see `nearest.Lists`
    quarantine.jsonl     the bad files, as in the work directory of a run
    lock                 held while somebody writes

Rows are in the order of files and of times. `index.json` is written last and replaces the one before in one step, so an index
that is being renewed, or whose renewal was killed, is as it was. The arrays of the one before go afterwards.
"""

import contextlib
import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from avc_jax import errors
from avc_jax.search import nearest
from avc_jax.train.workdir import Workdir, read_json

NAME = "index.json"
_VERSION = 1
_COLUMNS = ("vectors", "file", "time_s")


@dataclasses.dataclass(frozen=True)
class File:
    """A file as it was when it was embedded.

    Attributes:
      path: absolute.
      size, mtime_ns: bytes, and the time of its last change.
      digest: of its bytes, xxh3_128.
      failures: (modality, kind, reason) of what could not be read.
    """

    path: str
    size: int
    mtime_ns: int
    digest: str
    failures: tuple[tuple[str, str, str], ...] = ()


@dataclasses.dataclass(frozen=True)
class Entry:
    """A file with its windows: modality -> (time_s float64[n], vectors f32[n, D])."""

    file: File
    windows: Mapping[str, tuple[np.ndarray, np.ndarray]]


@dataclasses.dataclass(frozen=True)
class Rows:
    """The windows of one modality in all files, in the order of the files; arrays may be mapped from the disk.

    Attributes:
      vectors: f32[n, D]; of length one where cosines are asked for.
      file: int32[n], places in the list of files.
      time_s: float64[n], seconds on the file's clock.
      lists: of a large index, the file of `nearest.Lists`; None where all rows are compared.
      probes: lists that a query looks into.
      recall: what that finds of the nearest hundred rows, measured when the lists were made.
    """

    vectors: np.ndarray
    file: np.ndarray
    time_s: np.ndarray
    lists: Path | None = None
    probes: int = 0
    recall: float = 1.0


@dataclasses.dataclass(frozen=True)
class Index:
    """What an index holds.

    Attributes:
      facts: JSON values: checkpoint, network_sha256, params_sha256, system, step, similarity, hop_s, window_s, inputs.
      files: those with at least one window, and those without, which cannot be found.
      rows: modality -> Rows, of the modalities that any file has.
    """

    facts: dict[str, Any]
    files: tuple[File, ...] = ()
    rows: Mapping[str, Rows] = dataclasses.field(default_factory=dict)

    def entries(self) -> list[Entry]:
        """The files with their windows."""
        windows: list[dict[str, tuple[np.ndarray, np.ndarray]]] = [{} for _ in self.files]
        for modality, rows in self.rows.items():
            ends = np.searchsorted(rows.file, np.arange(len(self.files)), side="right").tolist()
            for place, (begin, end) in enumerate(zip([0, *ends], ends, strict=False)):
                if end > begin:
                    windows[place][modality] = rows.time_s[begin:end], rows.vectors[begin:end]
        return [Entry(file, own) for file, own in zip(self.files, windows, strict=True)]


def load(folder: str | Path, *, flag: str = "--index") -> Index:
    """Reads an index; its vectors stay on the disk until they are used.

    Raises:
      MissingInputError: there is none.
      ConfigError: another version wrote it.
      DataError: it is damaged.
    """
    path = Path(folder)
    for last_try in (False, True):
        found = read_json(path / NAME) if str(folder) else {}
        if not found:
            raise errors.MissingInputError(f"{flag}={folder}: expected an index, found none: make one with python -m "
                                           "avc_jax.search index --checkpoint=RUN --inputs=FOLDER --out=INDEX.")
        if found.get("version") != _VERSION:
            raise errors.ConfigError(f"{flag}={folder} has version {found.get('version')}, expected {_VERSION}: it was made by "
                                     "another version of avc_jax; make it anew in another folder.")
        try:
            return Index(found["facts"], tuple(_file(row) for row in found["files"]),
                         {modality: _rows(path, told, len(found["files"])) for modality, told in found["arrays"].items()})
        except FileNotFoundError as error:
            # Somebody may have renewed it between the two reads.
            if last_try:
                raise errors.DataError(f"{flag}={folder} is damaged: {error.filename} is missing; remove it and make it anew."
                                       ) from error
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise errors.DataError(f"{flag}={folder} is damaged ({error}): remove it and make it anew.") from error
    raise AssertionError("unreachable")


def _file(row: dict[str, Any]) -> File:
    return File(row["path"], row["size"], row["mtime_ns"], row["digest"], tuple(tuple(one) for one in row["failures"]))


def _rows(folder: Path, told: dict[str, Any], files: int) -> Rows:
    vectors, file, time_s = (np.load(folder / f"{told['name']}.{column}.npy", mmap_mode="r" if column == "vectors" else None)
                             for column in _COLUMNS)
    lengths = {len(vectors), len(file), len(time_s), told["rows"]}
    if len(lengths) > 1 or (len(file) and not 0 <= file.min() <= file.max() < files):
        raise ValueError(f"the arrays of {told['name']} do not fit together")
    lists = told.get("lists")
    return Rows(vectors, file, time_s) if not lists else Rows(vectors, file, time_s, folder / f"{told['name']}.faiss",
                                                              lists["probes"], lists["recall"])


class Store:
    """Writes an index; holds its lock. A context manager."""

    def __init__(self, folder: str):
        """
        Raises:
          ConfigError: no folder is named, it holds something else, or somebody else is writing to it.
          CannotWriteError: it cannot be written.
        """
        path = Path(folder)
        if folder and path.exists() and not (path / NAME).is_file() and (not path.is_dir() or _foreign(path)):
            raise errors.ConfigError(f"--out={folder} holds something that is no index; name another folder.")
        self._workdir = Workdir(folder, flag="--out")
        self.folder = self._workdir.path

    def __enter__(self) -> "Store":
        return self

    def __exit__(self, *exc) -> None:
        self._workdir.close()

    def read(self) -> Index | None:
        """The index that is there; None if there is none yet."""
        if not (self.folder / NAME).is_file():
            return None
        return load(self.folder, flag="--out")

    def commit(self, facts: dict[str, Any], entries: Sequence[Entry]) -> None:
        """Replaces the index by one of these files, the vectors of which may be those of the index that is replaced.

        Raises:
          CannotWriteError: it cannot be written.
        """
        number = 1 + max((int(path.name.split("-")[1].split(".")[0]) for path in self.folder.glob("*-*.npy")), default=0)
        try:
            arrays = {modality: self._write(modality, f"{modality}-{number}", entries)
                      for modality in sorted({modality for entry in entries for modality in entry.windows})}
            self._quarantine(entries)
            self._workdir.write(NAME, {"version": _VERSION, "facts": facts, "arrays": arrays,
                                       "files": [dataclasses.asdict(entry.file) for entry in entries]})
        except OSError as error:
            raise errors.CannotWriteError(f"{self.folder} cannot be written: {error.strerror or error}.") from error
        self._clean({told["name"] for told in arrays.values()})

    def add_lists(self, exact_rows: int, asking: Mapping[str, str]) -> list[str]:
        """Adds lists to those modalities of the index that have more than `exact_rows` rows and none yet; returns which.

        Args:
          exact_rows: up to so many, all rows are compared.
          asking: modality -> that of the queries, of which the index's own measure what lists find; itself if the index
            has none of that.

        Raises:
          ConfigError: faiss is not installed.
          CannotWriteError: it cannot be written.
        """
        told = self._workdir.read(NAME)
        arrays: dict[str, dict[str, Any]] = told["arrays"]
        large = [modality for modality, one in arrays.items() if one["rows"] > exact_rows and "lists" not in one]
        for modality in large:
            other = asking.get(modality, modality)
            rows, queries = (np.load(self.folder / f"{arrays[one]['name']}.vectors.npy", mmap_mode="r")
                             for one in (modality, other if other in arrays else modality))
            try:
                arrays[modality]["lists"] = nearest.build(self.folder / f"{arrays[modality]['name']}.faiss", rows, queries)
            except RuntimeError as error:  # what faiss raises where it cannot write
                raise errors.CannotWriteError(f"{self.folder} cannot be written: {error}.") from error
        if large:
            self._workdir.write(NAME, told)
        return large

    def _write(self, modality: str, name: str, entries: Sequence[Entry]) -> dict[str, Any]:
        parts = [(place, *entry.windows[modality]) for place, entry in enumerate(entries) if modality in entry.windows]
        counts = [len(time_s) for _, time_s, _ in parts]
        shape = (sum(counts), parts[0][2].shape[1])
        vectors = np.lib.format.open_memmap(self.folder / f"{name}.vectors.npy", "w+", np.float32, shape)
        for begin, (_, time_s, own) in zip(np.cumsum([0, *counts]), parts, strict=False):
            vectors[begin : begin + len(time_s)] = own
        vectors.flush()
        np.save(self.folder / f"{name}.file.npy", np.repeat(np.array([place for place, _, _ in parts], np.int32), counts))
        np.save(self.folder / f"{name}.time_s.npy", np.concatenate([time_s for _, time_s, _ in parts]))
        return {"name": name, "rows": shape[0], "width": shape[1]}

    def _quarantine(self, entries: Sequence[Entry]) -> None:
        temporary = self.folder / ".quarantine.jsonl.tmp"
        temporary.write_text("".join(
            json.dumps({"path": entry.file.path, "kind": kind, "reason": f"{modality}: {reason}"}) + "\n"
            for entry in entries for modality, kind, reason in entry.file.failures))
        temporary.replace(self.folder / "quarantine.jsonl")

    def _clean(self, named: set[str]) -> None:
        """Removes arrays that the index does not name: those of the one before, and what a killed renewal left."""
        for path in (*self.folder.glob("*-*.npy"), *self.folder.glob("*-*.faiss")):
            if path.name.split(".")[0] not in named:
                with contextlib.suppress(OSError):  # whoever reads it now keeps what is mapped; it goes next time
                    path.unlink()


def _foreign(folder: Path) -> bool:
    """Whether a folder holds what no unfinished index leaves behind."""
    return any(path.name != "lock" and path.suffix not in (".npy", ".faiss") and not path.name.startswith(".")
               for path in folder.iterdir())
