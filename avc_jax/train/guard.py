"""Turns SIGTERM and Ctrl-C into a flag that the loop reads, so that a run stops between two steps and saves.

Python runs signal handlers only in the main thread, and only when that is in Python: a compilation may keep it outside for
minutes, longer than a scheduler waits. So a thread hears of signals too, and ends the process where nothing is lost by that.
"""

import contextlib
import os
import signal
import sys
import threading
import time
from typing import Any

from avc_jax import errors

_PATIENCE_S = 2.0  # in which the main thread may end the process in good order


class Guard:
    """Context manager that catches SIGTERM and SIGINT. The second Ctrl-C interrupts at once, as users expect.

    Attributes:
      nothing_to_lose: whether all that is worth keeping is on the disk. A signal then ends the process within seconds, whatever
        the main thread is doing. Whoever enters the guard sets it.
    """

    def __init__(self):
        self.signal_name: str | None = None
        self.nothing_to_lose = False
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> "Guard":
        for number in (signal.SIGTERM, signal.SIGINT):
            self._previous[number] = signal.signal(number, self._catch)
        heard, self._bell = os.pipe()
        os.set_blocking(self._bell, False)
        self._other_bell = signal.set_wakeup_fd(self._bell, warn_on_full_buffer=False)
        threading.Thread(target=self._listen, args=(heard,), name="guard", daemon=True).start()
        return self

    def __exit__(self, *exc) -> None:
        self.nothing_to_lose = False  # what follows has an exit code of its own
        signal.set_wakeup_fd(self._other_bell)
        os.close(self._bell)  # which ends the thread
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _catch(self, number, frame) -> None:
        if self.signal_name and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.signal_name = signal.Signals(number).name

    def _listen(self, heard: int) -> None:
        with os.fdopen(heard, "rb", buffering=0) as bell:
            while number := bell.read(1):
                if number[0] not in self._previous:
                    continue
                time.sleep(_PATIENCE_S)
                if self.nothing_to_lose:
                    self._leave(signal.Signals(number[0]).name)

    def _leave(self, name: str) -> None:
        """Ends the process without Python's and XLA's clean-up, which would wait for the main thread or crash beside it."""
        with contextlib.suppress(OSError):
            os.write(sys.stderr.fileno(), f"Stopped by {name}, with nothing to save; the same command goes on.\n".encode())
        os._exit(errors.Stopped.exit_code)

    @property
    def should_stop(self) -> bool:
        return self.signal_name is not None

    def raise_if_stopped(self) -> None:
        """Raises Stopped once a signal has come; for waits and long evaluations."""
        if self.should_stop:
            raise errors.Stopped(f"Stopped by {self.signal_name}.")
