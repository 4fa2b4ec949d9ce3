"""Feeds damaged files to the readers of avc_jax, and counts what comes of them.

    PYTHONPATH=.:tests python -m fuzz.run                     all targets, as `make fuzz` does
    PYTHONPATH=.:tests python -m fuzz.run --only=media --begin=5000 --count=1000
    PYTHONPATH=.:tests python -m fuzz.run --only=media --begin=5123 --count=1 --keep=FOLDER

A target is a module beside this one. Its n-th input is always the same damaged file, which may be read or refused, in time. For
media files alone it may also end a decoder's process, hang it or want too much memory, as such a process holds nothing; that is
counted. All else is a failure: an error that is none of avc_jax's, a process that ends or hangs, and garbage.
Garbage is what differs from the reading of the good file although there is a checksum, or although the damage lies elsewhere.
"""

import argparse
import collections
import concurrent.futures
import dataclasses
import importlib
import os
import sys
import tempfile
import threading
import time
import traceback
from pathlib import Path
from typing import Any

from avc_jax import errors
from avc_jax.data import decoders, limits, processes

# Target -> inputs of a whole run.
COUNTS = {"media": 12_000, "records": 6_000, "tracks": 3_000, "verify": 1_000, "manifests": 1_000, "checkpoints": 1_200}
LIMITS = limits.Limits(decode_s=10.0, memory_mb=2048, patience_s=0.0)
_LIMIT_S = 30.0  # of an input that is read in one process with its check; some targets import JAX first


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What came of an input.

    Attributes:
      kind: read, the kind of a refusal, or FAILED.
      seconds: that it took.
      detail: of a failure.
    """

    kind: str
    seconds: float
    detail: str = ""


def prepare(name: str, folder: Path) -> None:
    """Writes the good files of a target."""
    (folder / name).mkdir(parents=True, exist_ok=True)
    _target(name).prepare(folder / name)


def one(name: str, folder: Path, number: int, keep: Path | None = None) -> Outcome:
    """Tries one input."""
    began = time.monotonic()
    try:
        if _target(name).APART:
            kind = decoders.call(_check, name, folder, number, keep, limit_s=_LIMIT_S)
        else:
            kind = _check(name, folder, number, keep)
    except Exception:  # whatever it is, it is a finding
        return Outcome("FAILED", time.monotonic() - began, traceback.format_exc(limit=-6))
    return Outcome(kind, time.monotonic() - began)


def _check(name: str, folder: Path, number: int, keep: Path | None) -> str:
    """read, or the kind of a refusal; in a scratch folder of this thread."""
    limits.use(LIMITS)
    scratch = folder / f"{name}-{os.getpid()}-{threading.get_ident()}"
    scratch.mkdir(exist_ok=True)
    try:
        return _target(name).check(folder / name, scratch, number, keep)
    except errors.AvcError as error:
        if isinstance(error, errors.Stopped) or type(error) is errors.AvcError:
            raise
        return type(error).__name__


def _target(name: str) -> Any:
    """Its module: APART (whether an input and its check need a process of their own), prepare(folder), and check(folder, scratch,
    number, keep), which says "read" or the kind of a refusal."""
    return importlib.import_module(f"fuzz.{name}")


def run(name: str, begin: int, count: int, *, jobs: int, keep: Path | None = None) -> list[Outcome]:
    """Tries inputs begin, begin + 1, ...; returns what came of each."""
    before = limits.use(LIMITS)
    try:
        with tempfile.TemporaryDirectory(prefix="fuzz") as folder, concurrent.futures.ThreadPoolExecutor(jobs) as pool:
            prepare(name, Path(folder))
            return list(pool.map(lambda number: one(name, Path(folder), number, keep), range(begin, begin + count)))
    finally:
        limits.use(before)


def describe(name: str, begin: int, outcomes: list[Outcome]) -> str:
    """A line for a target, and one for each failure."""
    counts = collections.Counter(outcome.kind for outcome in outcomes)
    slowest = max(range(len(outcomes)), key=lambda place: outcomes[place].seconds)
    lines = [f"{name}: {len(outcomes):,} inputs: " + ", ".join(f"{count:,} {kind}" for kind, count in counts.most_common())
             + f"; slowest {outcomes[slowest].seconds:.1f} s (input {begin + slowest})."]
    lines += [f"{name}, input {begin + place} FAILED:\n{outcome.detail}" for place, outcome in enumerate(outcomes)
              if outcome.kind == "FAILED"]
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=tuple(COUNTS), action="append", help="this target; may be given again")
    parser.add_argument("--begin", type=int, default=0, help="number of the first input")
    parser.add_argument("--count", type=int, default=None, help="inputs of each target")
    parser.add_argument("--jobs", type=int, default=processes.count_cores())
    parser.add_argument("--keep", type=Path, help="folder to write the damaged files into")
    args = parser.parse_args()
    failed = 0
    for name in args.only or COUNTS:
        outcomes = run(name, args.begin, args.count or COUNTS[name], jobs=args.jobs, keep=args.keep)
        print(describe(name, args.begin, outcomes), flush=True)
        failed += sum(outcome.kind == "FAILED" for outcome in outcomes)
    return 1 if failed else 0


if __name__ == "__main__":
    from fuzz import run as as_others_see_it  # what a process is given to call must not be of a script

    sys.exit(as_others_see_it.main())
