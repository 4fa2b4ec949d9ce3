"""The ledger of files that cannot be used, and the budget of how many may be."""

import collections
import json
import os
import threading
from collections.abc import Callable
from pathlib import Path

from avc_jax import errors


class Quarantine:
    """Bad files, each once, kept in `quarantine.jsonl` as {"path", "kind", "reason"}. Safe to use from many threads.

    The ledger counts and tells; it does not decide. Each visit tries its file anew, because a file can be good at one moment and
    damaged at another: if the ledger kept it out, the order in which threads met it would change the samples.
    """

    def __init__(self, ledger: Path | None, num_files: int, budget: float, *, setting: str = "config.data.quarantine_budget",
                 tell: Callable[[str, str, str], None] | None = None):
        """
        Args:
          ledger: the file to append to; None keeps the list in memory.
          num_files: how many files there are in all.
          budget: share of them that may be bad. One bad file is always allowed, unless the budget is 0.
          setting: what the user calls the budget.
          tell: called with (path, kind, reason) of each new bad file, where another process of the run keeps the ledger.
        """
        self._ledger, self._lock, self._tell = ledger, threading.Lock(), tell
        self._num_files, self._setting = num_files, setting
        self._allowed = max(1, int(budget * num_files + 1e-6)) if budget > 0 else 0
        self.reasons: dict[str, tuple[str, str]] = {}
        self._unwritten: errors.CannotWriteError | None = None
        self._before = ""  # what a new line needs in front
        if ledger is not None and ledger.exists():
            text = ledger.read_text(errors="replace")
            self._before = "" if text.endswith("\n") or not text else "\n"
            for line in text.splitlines():
                try:
                    row = json.loads(line)
                    self.reasons[row["path"]] = (row["kind"], row["reason"])
                except (ValueError, KeyError, TypeError):
                    continue  # a line cut short by a kill; its file will be found bad again

    def add(self, path: str, error: errors.BadMedia) -> None:
        """Records a bad file.

        Raises:
          DataError: the budget is exceeded.
        """
        with self._lock:
            if path not in self.reasons:
                self.reasons[path] = (error.kind, str(error))
                self._append(path)
                if self._tell is not None:
                    self._tell(path, error.kind, str(error))
        self.check()

    def hear(self, path: str, kind: str, reason: str) -> None:
        """Records a bad file that another process of the run has met; what that leads to, the next `check` raises."""
        try:
            self.add(path, errors.BadMedia(kind, reason))
        except errors.DataError:
            pass  # `check` finds it again
        except errors.CannotWriteError as error:
            self._unwritten = error

    def _append(self, path: str) -> None:
        if self._ledger is None:
            return
        kind, reason = self.reasons[path]
        try:
            with open(self._ledger, "a") as file:
                file.write(self._before + json.dumps({"path": path, "kind": kind, "reason": reason}) + "\n")
                file.flush()
                os.fsync(file.fileno())
            self._before = ""
        except OSError as error:
            raise errors.CannotWriteError(f"{self._ledger} cannot be written: {error.strerror}.") from error

    def check(self) -> None:
        """Raises DataError, with the commonest reasons and an example of each, if too many files are bad.

        Raises CannotWriteError if what was heard of could not be written.
        """
        if self._unwritten is not None:
            raise self._unwritten
        if len(self.reasons) <= self._allowed:
            return
        with self._lock:
            reasons = dict(self.reasons)
        kinds = collections.Counter(kind for kind, _ in reasons.values())
        lines = []
        for kind, count in kinds.most_common(5):
            path, reason = next((path, reason) for path, (own, reason) in reasons.items() if own == kind)
            lines.append(f"  {count} x {kind}, e.g. {path}: {reason}")
        raise errors.DataError(
            f"Found {len(reasons)} of {self._num_files} files unusable, expected at most {self._allowed} "
            f"({self._setting}). The reasons:\n" + "\n".join(lines)
            + (f"\nAll of them are in {self._ledger}." if self._ledger else ""))
