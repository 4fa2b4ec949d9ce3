"""Work directory to plain structures; what is missing or broken becomes a note, never an exception."""

import dataclasses
import json
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from avc_jax import errors
from avc_jax.report import text


@dataclasses.dataclass
class Run:
    """What a run left behind.

    Attributes:
      workdir: the folder.
      metrics: one dict a step, ascending in "step"; values finite floats, or None where not finite.
      results: results.json, {} where absent.
      config: config.json or the config in results.json, {} where absent.
      quarantine: dicts with "path", "kind" and "reason" (text), in file order.
      notes: sentences about files that could not be read in full.
    """

    workdir: Path
    metrics: list[dict[str, float | None]] = dataclasses.field(default_factory=list)
    results: dict[str, Any] = dataclasses.field(default_factory=dict)
    config: dict[str, Any] = dataclasses.field(default_factory=dict)
    quarantine: list[dict[str, str]] = dataclasses.field(default_factory=list)
    notes: list[str] = dataclasses.field(default_factory=list)

    def part(self, *names: str) -> dict[str, Any]:
        """The dict at results[name][name]..., {} where there is none."""
        found: Any = self.results
        for name in names:
            found = found.get(name) if isinstance(found, dict) else None
        return found if isinstance(found, dict) else {}

    def series(self, key: str) -> tuple[list[float], list[float | None]]:
        """Steps at which `key` was recorded, and its values (None: not finite)."""
        rows = [row for row in self.metrics if key in row]
        return [row["step"] or 0.0 for row in rows], [row[key] for row in rows]

    def arrays(self, name: str, ranks: Mapping[str, int]) -> dict[str, np.ndarray] | None:
        """The arrays of an .npz file, cut to the length of the shortest; None if it is absent, with a note if it is damaged.

        Args:
          name: of the file, below the work directory.
          ranks: array -> its number of axes; those with any share the first one, and none of the others is empty.
        """
        try:
            with np.load(self.workdir / name, allow_pickle=False) as stored:
                found = {key: stored[key] for key in ranks}
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError, EOFError, zlib.error, zipfile.BadZipFile) as error:
            self.notes.append(f"{name} could not be read ({type(error).__name__}: {error}).")
            return None
        if any(found[key].ndim != rank or 0 in found[key].shape[1:] or (not rank and found[key].dtype.kind not in "iuf")
               for key, rank in ranks.items()):
            self.notes.append(f"{name} holds arrays of unexpected shapes.")
            return None
        length = min((len(found[key]) for key, rank in ranks.items() if rank), default=0)
        return {key: array[:length] if array.ndim else array for key, array in found.items()}

    def evaluation_names(self) -> list[str]:
        """Names of the evaluations with an accuracy, in the curves or in the results; "avc" first."""
        names = {name for name, found in self.part("evaluate").items() if isinstance(found, dict)}
        for row in self.metrics:
            names.update(
                k.split("/")[1] for k in row if k.startswith("evaluate/") and k.endswith("/accuracy")
            )
        return sorted(names, key=lambda name: (name != "avc", name))


def read(workdir: str | Path) -> Run:
    """Reads everything but the pairs (see pairs.py).

    Raises:
      MissingInputError: if `workdir` is not a folder.
    """
    path = Path(workdir)
    if not path.is_dir():
        found = "is a file" if path.exists() else "does not exist"
        raise errors.MissingInputError(
            f"The work directory {path} {found}; expected the folder that a run was given as --workdir."
        )
    run = Run(path)
    run.results = _read_object(run, "results.json")
    run.config = _read_object(run, "config.json") or run.part("config")
    seen: dict[tuple[str, str], dict[str, str]] = {}
    run.metrics = merge(_read_lines(run, "metrics.jsonl"))
    for row in _read_lines(run, "quarantine.jsonl"):
        entry = {key: str(row.get(key) or "") for key in ("path", "kind", "reason")}
        # A resumed run may meet, and write down, the same file again.
        seen[entry["path"], entry["kind"]] = entry
    run.quarantine = list(seen.values())
    return run


def merge(rows: Iterator[dict[str, Any]] | list[dict[str, Any]]) -> list[dict[str, float | None]]:
    """Lines of metrics.jsonl, in file order, to one dict a step, ascending.

    A line adds its keys to its step, and a later line wins. A training line that does not go beyond the one
    before it marks a resume from an earlier checkpoint: what the abandoned attempt had recorded beyond that
    step is dropped, since the parameters it describes no longer exist.
    """
    steps: dict[float, dict[str, float | None]] = {}
    last = -1.0
    for row in rows:
        step = text.number(row.get("step"))
        if step is None:
            continue
        if any(key.startswith("train/") for key in row):
            if step <= last:
                steps = {old: kept for old, kept in steps.items() if old <= step}
            last = step
        merged = steps.setdefault(step, {"step": step})
        for key, value in row.items():
            # Text is no metric; null and NaN are: they say that a value was not finite.
            if key != "step" and (value is None or isinstance(value, (int, float))):
                merged[key] = text.number(value)
    return [steps[step] for step in sorted(steps)]


def _read_object(run: Run, name: str) -> dict[str, Any]:
    """A file that holds one JSON object; {} with a note if it holds anything else, {} if it is absent."""
    try:
        found = json.loads((run.workdir / name).read_text(encoding="utf-8", errors="replace"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError) as error:
        run.notes.append(f"{name} could not be read ({type(error).__name__}).")
        return {}
    if not isinstance(found, dict):
        run.notes.append(f"{name} holds no JSON object.")
        return {}
    return found


def _read_lines(run: Run, name: str) -> list[dict[str, Any]]:
    """A file of one JSON object a line; lines that are none are counted in a note, [] if it is absent."""
    try:
        lines = (run.workdir / name).read_text(encoding="utf-8", errors="replace").split("\n")
    except FileNotFoundError:
        return []
    except OSError as error:
        run.notes.append(f"{name} could not be read ({type(error).__name__}).")
        return []
    rows, bad = [], 0
    for index, line in enumerate(lines):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            row = None
        if isinstance(row, dict):
            rows.append(row)
        elif index < len(lines) - 1:
            # The last line has no newline while a run is writing it, or after a crash: nothing to report.
            bad += 1
    if bad:
        run.notes.append(f"{name}: {text.plural(bad, 'unreadable line')} skipped.")
    return rows
