"""Commands in processes of their own, with a limit on every wait."""

import dataclasses
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

from end_to_end import command

LIMIT_S = 240  # for what takes seconds on a free machine

# Three checkpoints, a line for each step, and nothing but training.
TRAIN = (*command.TINY, "--config.train.steps=9", "--config.train.checkpoint_every=3", "--config.train.log_every=1",
         *(f"--config.evaluators.{name}=off" for name in ("avc", "transfer", "clustering", "concepts", "probe", "retrieval",
                                                          "dimensions", "pictures")))


@dataclasses.dataclass(frozen=True)
class Ended:
    """How a command ended.

    Attributes:
      code: its exit code; minus the number of the signal that killed it.
      printed: all it wrote, stdout and stderr.
      seconds: from the call that waited for it.
    """

    code: int
    printed: str
    seconds: float


class Command:
    """A command that runs; its output is read as it comes. As a context manager it is killed at the end, whatever happened."""

    def __init__(self, cache: Path, *args: str, module: str = "avc_jax.main", inject: tuple[str, ...] = (), environment=None):
        """
        Args:
          cache: of compiled programs.
          args: of the command.
          module: which command.
          inject: what tests/faults/inject.py shall do inside it; see there.
          environment: variables on top of those of `end_to_end.command.environment`.
        """
        start = [str(Path(__file__).parent / "inject.py"), *inject, module] if inject else ["-m", module]
        self.process = subprocess.Popen([sys.executable, *start, *args], cwd=command.ROOT, text=True,
                                        env=command.environment(cache) | (environment or {}), start_new_session=True,
                                        stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        self._lines: list[str] = []
        self._news = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def __enter__(self) -> "Command":
        return self

    def __exit__(self, *exc) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(timeout=LIMIT_S)
        self._reader.join(timeout=LIMIT_S)

    def _read(self) -> None:
        for line in self.process.stdout:
            with self._news:
                self._lines.append(line)
                self._news.notify_all()
        with self._news:
            self._news.notify_all()

    @property
    def printed(self) -> str:
        with self._news:
            return "".join(self._lines)

    def wait_for(self, pattern: str, limit_s: float = LIMIT_S) -> re.Match:
        """Waits until a line matches a regular expression (`re.search`); fails with the output if none does in time."""
        until, seen = time.monotonic() + limit_s, 0
        with self._news:
            while True:
                for line in self._lines[seen:]:
                    if found := re.search(pattern, line):
                        return found
                seen = len(self._lines)
                ended, left = not self._reader.is_alive(), until - time.monotonic()
                assert not ended and left > 0, (f"no line with {pattern!r} {'before the end' if ended else f'in {limit_s} s'}:\n"
                                                + "".join(self._lines))
                self._news.wait(min(left, 1.0))

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def end(self, limit_s: float = LIMIT_S) -> Ended:
        """Waits for the end; fails with the output if it does not come in time."""
        began = time.monotonic()
        try:
            code = self.process.wait(timeout=limit_s)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"still running after {limit_s} s:\n{self.printed}") from None
        self._reader.join(timeout=limit_s)
        return Ended(code, self.printed, time.monotonic() - began)


def run(cache: Path, *args: str, expect: int = 0, limit_s: float = LIMIT_S, **options) -> Ended:
    """Runs a command to its end; fails with what it printed if its exit code is not the expected one."""
    with Command(cache, *args, **options) as running:
        ended = running.end(limit_s)
    assert ended.code == expect, f"exit code {ended.code}, expected {expect}:\n{ended.printed}"
    return ended


def params_sha256(workdir: Path) -> str:
    """The digest of the parameters that a run ended with."""
    return command.results(workdir)["train"]["params_sha256"]


def wait_until(holds, what: str, limit_s: float = LIMIT_S) -> None:
    """Waits until a function returns something true; fails with `what` if it does not in time."""
    until = time.monotonic() + limit_s
    while not holds():
        assert time.monotonic() < until, f"no {what} in {limit_s} s"
        time.sleep(0.01)
