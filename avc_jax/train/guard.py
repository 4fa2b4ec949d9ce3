"""Turns SIGTERM and Ctrl-C into a flag that the loop reads, so that a run stops between two steps and saves."""

import signal
from typing import Any

from avc_jax import errors


class Guard:
    """Context manager that catches SIGTERM and SIGINT. The second Ctrl-C interrupts at once, as users expect."""

    def __init__(self):
        self.signal_name: str | None = None
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> "Guard":
        for number in (signal.SIGTERM, signal.SIGINT):
            self._previous[number] = signal.signal(number, self._catch)
        return self

    def __exit__(self, *exc) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _catch(self, number, frame) -> None:
        if self.signal_name and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.signal_name = signal.Signals(number).name

    @property
    def should_stop(self) -> bool:
        return self.signal_name is not None

    def raise_if_stopped(self) -> None:
        """Raises Stopped once a signal has come; for waits and long evaluations."""
        if self.should_stop:
            raise errors.Stopped(f"Stopped by {self.signal_name}.")
