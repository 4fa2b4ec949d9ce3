"""Files of embeddings: npz, csv and parquet, written as the vectors come, and complete or not there.

    embedding  f32[n, D]
    time_s     f64[n], seconds on the file's clock
    file       the media file of each row; in npz int32[n], places in `files`
"""

import contextlib
import csv
import json
import os
import shutil
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol, Self

import numpy as np

from avc_jax import errors

_ROW_GROUP_BYTES = 16 << 20


class Failure(NamedTuple):
    """A file that could not be embedded, or not all of it.

    Attributes:
      path: of the file.
      kind, reason: as in `errors.BadMedia`; the reason says which windows are missing.
    """

    path: str
    kind: str
    reason: str


class Output:
    """The file to write: a temporary one beside it, which takes its name when everything is there.

    A context manager; what was not committed is gone at its end.
    """

    def __init__(self, path: str):
        """
        Raises:
          ConfigError: there is no path.
          CannotWriteError: nothing can be written there.
        """
        if not path:
            raise errors.ConfigError("--out is missing: name the file to write.")
        self._path = Path(path).absolute()
        self.temporary = self._path.with_name(f".{self._path.name}.tmp")
        try:
            if self._path.is_dir():
                raise IsADirectoryError(0, "it is a folder")
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self.temporary.touch()
        except OSError as error:
            raise errors.CannotWriteError(f"--out={path} cannot be written: {error.strerror}.") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc) -> None:
        self.temporary.unlink(missing_ok=True)

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """Turns a full disk and its like into CannotWriteError."""
        try:
            yield
        except OSError as error:
            raise errors.CannotWriteError(f"{self._path} cannot be written: {error.strerror or error}.") from error

    def commit(self, failures: Sequence[Failure]) -> Path | None:
        """Gives the file its name; returns the list of failures beside it, if there are any."""
        listed = self._path.with_name(f"{self._path.name}.failed.csv")
        if failures:
            with open(listed, "w", newline="", encoding="utf-8", errors="surrogateescape") as file:
                csv.writer(file).writerows([Failure._fields, *failures])
        else:
            listed.unlink(missing_ok=True)
        os.replace(self.temporary, self._path)
        return listed if failures else None


class Writer(Protocol):
    """One format. Its class takes the path to write, the list of media files, the width D, and facts: JSON values that say
    where the vectors come from, kept where the format has a place for them.
    """

    def add(self, file: np.ndarray, time_s: np.ndarray, embedding: np.ndarray) -> None:
        """Writes rows: int32[n] places in the list of files, float64[n], f32[n, D]."""

    def close(self, failures: Sequence[Failure]) -> None:
        """Writes what is left."""


class Npz:
    """Rows go to a file beside the archive first, as the header of an array says how many follow."""

    def __init__(self, path: Path, files: Sequence[str], width: int, facts: dict[str, Any]):
        self._path, self._files, self._width, self._facts = path, files, width, facts
        self._rows = tempfile.TemporaryFile(dir=path.parent)  # noqa: SIM115, nameless, and gone with the process
        self._file, self._time_s = [np.zeros(0, np.int32)], [np.zeros(0)]

    def add(self, file: np.ndarray, time_s: np.ndarray, embedding: np.ndarray) -> None:
        self._rows.write(np.ascontiguousarray(embedding, "<f4").data)
        self._file.append(file)
        self._time_s.append(time_s)

    def close(self, failures: Sequence[Failure]) -> None:
        count = sum(map(len, self._file))
        arrays: dict[str, np.ndarray] = {
            "time_s": np.concatenate(self._time_s), "file": np.concatenate(self._file), "files": np.array(self._files, np.str_),
            "failed_files": np.array([failure.path for failure in failures], np.str_),
            "failed_reasons": np.array([failure.reason for failure in failures], np.str_),
            "facts": np.array(json.dumps(self._facts))}
        with zipfile.ZipFile(self._path, "w") as archive:
            for name, array in arrays.items():
                with archive.open(f"{name}.npy", "w") as member:
                    np.lib.format.write_array(member, array, allow_pickle=False)
            with archive.open("embedding.npy", "w", force_zip64=True) as member:
                header = {"descr": "<f4", "fortran_order": False, "shape": (count, self._width)}
                np.lib.format.write_array_header_1_0(member, header)
                self._rows.seek(0)
                shutil.copyfileobj(self._rows, member, 1 << 20)
        self._rows.close()


class Csv:
    """Columns file, time_s, e0, e1, ...; numbers have the digits that give back their every bit."""

    def __init__(self, path: Path, files: Sequence[str], width: int, facts: dict[str, Any]):
        self._files = files
        self._out = open(path, "w", newline="", encoding="utf-8", errors="surrogateescape")  # noqa: SIM115, held until close
        self._writer = csv.writer(self._out)
        self._writer.writerow(["file", "time_s", *(f"e{column}" for column in range(width))])

    def add(self, file: np.ndarray, time_s: np.ndarray, embedding: np.ndarray) -> None:
        for place, time, row in zip(file, time_s.tolist(), embedding.astype(np.str_), strict=True):
            self._writer.writerow([self._files[place], time, *row])

    def close(self, failures: Sequence[Failure]) -> None:
        self._out.close()


class Parquet:
    """Columns file (string), time_s (double), embedding (list of D floats), in row groups of 16 MB."""

    def __init__(self, path: Path, files: Sequence[str], width: int, facts: dict[str, Any]):
        try:
            import pyarrow
            import pyarrow.parquet
        except ImportError as error:
            raise errors.ConfigError("--format=parquet needs pyarrow, which is not installed: pip install pyarrow.") from error
        self._arrow, self._width = pyarrow, width
        # Names of files are bytes; Parquet's strings are UTF-8.
        self._files = [os.fsencode(name).decode("utf-8", "replace") for name in files]
        self._schema = pyarrow.schema(
            [("file", pyarrow.string()), ("time_s", pyarrow.float64()), ("embedding", pyarrow.list_(pyarrow.float32(), width))],
            metadata={"avc_jax": json.dumps(facts)})
        self._writer = pyarrow.parquet.ParquetWriter(path, self._schema)
        self._waiting: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []

    def add(self, file: np.ndarray, time_s: np.ndarray, embedding: np.ndarray) -> None:
        self._waiting.append((file, time_s, embedding))
        if sum(rows.nbytes for _, _, rows in self._waiting) >= _ROW_GROUP_BYTES:
            self._flush()

    def _flush(self) -> None:
        file, time_s, embedding = map(np.concatenate, zip(*self._waiting, strict=True))
        arrow = self._arrow
        vectors = arrow.FixedSizeListArray.from_arrays(arrow.array(embedding.reshape(-1)), self._width)
        names = arrow.array([self._files[place] for place in file], arrow.string())
        self._writer.write_table(arrow.Table.from_arrays([names, arrow.array(time_s), vectors], schema=self._schema))
        self._waiting = []

    def close(self, failures: Sequence[Failure]) -> None:
        if self._waiting:
            self._flush()
        self._writer.close()


FORMATS: dict[str, Callable[..., Writer]] = {"npz": Npz, "csv": Csv, "parquet": Parquet}
