"""Where the time of a run went, over all the processes that worked on it one after the other, also those that were killed.

Each process adds lines to `goodput.jsonl` while it lives, at most a hundredth of its life apart: the seconds that it has spent on
each part, and the step it has reached. What it had done beyond the step from which a later process went on is lost.
"""

import contextlib
import json
import math
import os
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

# What each process measures: exactly one is going on at any time, so they add up to its life.
MEASURED = ("init", "compile", "data_wait", "step", "evaluate", "save")
PARTS = (*MEASURED, "lost")
_REDONE = ("data_wait", "step", "evaluate", "save")
_SHARE, _LEAST_S = 0.01, 1.0  # of its life so far, and seconds: how old the last line of a process may be


class Goodput:
    """The ledger of one run; the first part, `init`, began with this process."""

    def __init__(self, path: Path | None, *, clock=time.monotonic, age_s: float | None = None):
        """
        Args:
          path: the file to add lines to; None for none.
          clock: seconds.
          age_s: how long ago this process began; None asks the system.
        """
        self._path, self._clock = path, clock
        self._since = self._began = clock() - (process_age_s() if age_s is None else age_s)
        self._spent = dict.fromkeys(MEASURED, 0.0)
        self._part = "init"
        self._first: int | None = None
        self._earlier = _read(path) if path is not None else []
        self._id = uuid.uuid4().hex  # not a clock and a pid: containers share pids, and clocks are coarse
        self._lock, self._closed = threading.Lock(), threading.Event()
        self.step: int | None = None

    def begin(self, step: int) -> None:
        """Says which step this process goes on from, and starts to write."""
        self._first = self.step = step
        self.write()
        if self._path is not None:
            threading.Thread(target=self._keep_writing, name="goodput", daemon=True).start()

    def _keep_writing(self) -> None:
        while not self._closed.wait(max(_LEAST_S, _SHARE * (self._clock() - self._began))):
            self.write()

    @contextlib.contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Counts the time inside as that of a part, and not of the one around it."""
        outer = self._switch(name)
        try:
            yield
        finally:
            self._switch(outer)

    def _switch(self, part: str) -> str:
        with self._lock:
            now = self._clock()
            self._spent[self._part] += now - self._since
            self._since, before, self._part = now, self._part, part
        return before

    def _line(self) -> dict[str, Any]:
        with self._lock:
            now = self._clock()
            spent = self._spent | {self._part: self._spent[self._part] + now - self._since}
        return {"process": self._id, "from": self._first, "at": self.step, "wall": round(now - self._began, 3),
                **{part: round(seconds, 3) for part, seconds in spent.items()}}

    def write(self) -> None:
        """Adds a line. Call it when a step was saved, as from there on what is done may be lost."""
        # A full disk is told of by what matters more. The newline comes first, as the last line may be cut short.
        if self._path is not None:
            with contextlib.suppress(OSError), open(self._path, "a") as file:
                file.write("\n" + json.dumps(self._line()))

    def close(self) -> None:
        """Adds the last line, if this process came as far as to begin."""
        self._closed.set()
        if self.step is not None:
            self.write()

    def summary(self) -> dict[str, Any]:
        """`wall_s`: seconds of all processes so far; `processes`: how many there were; `parts`: the seconds of each of PARTS."""
        return add_up([*self._earlier, [self._line()]])


def add_up(processes: list[list[dict[str, Any]]]) -> dict[str, Any]:
    """What `Goodput.summary` gives, of the lines of each process, the oldest first."""
    total, resumed = dict.fromkeys(PARTS, 0.0), math.inf
    for lines in reversed(processes):
        last = lines[-1]
        for part in MEASURED:
            total[part] += last[part]
        if last["at"] is not None and last["at"] > resumed:
            before = [line for line in lines if line["at"] is not None and line["at"] <= resumed]
            for part in _REDONE:
                lost = last[part] - (before[-1][part] if before else 0.0)
                total[part] -= lost
                total["lost"] += lost
        resumed = min(resumed, math.inf if last["from"] is None else last["from"])
    return {"wall_s": round(sum(lines[-1]["wall"] for lines in processes), 3), "processes": len(processes),
            "parts": {part: round(seconds, 3) for part, seconds in total.items()}}


def in_words(summary: dict[str, Any]) -> str:
    """A line of progress."""
    wall_s = summary["wall_s"]
    parts = ", ".join(f"{part.replace('_', ' ')} {100 * seconds / max(wall_s, 1e-9):.1f}%"
                      for part, seconds in summary["parts"].items())
    return f"Time: {wall_s:.0f} s in {summary['processes']} process(es): {parts}."


def process_age_s() -> float:
    """Seconds since this process began, where /proc tells; otherwise 0."""
    try:
        ticks = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
        return time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
    except (OSError, AttributeError):
        return 0.0


def _read(path: Path) -> list[list[dict[str, Any]]]:
    """The lines of each process, in the order in which they began; lines cut short by a kill are left out."""
    processes: dict[str, list[dict[str, Any]]] = {}
    text = path.read_text() if path.exists() else ""
    for line in text.splitlines():
        try:
            row = json.loads(line)
            if all(isinstance(row[part], (int, float)) for part in (*MEASURED, "wall")) and {"from", "at"} <= row.keys():
                processes.setdefault(row["process"], []).append(row)
        except (ValueError, KeyError, TypeError):
            continue
    return list(processes.values())
