"""Turns SIGTERM and Ctrl-C into a flag that the loop reads, so that a run stops between two steps and saves."""

import signal
from typing import Any

from avc_jax import errors
from avc_jax.parallel.peers import Peers


class Guard:
    """Context manager that catches SIGTERM and SIGINT. The second Ctrl-C interrupts at once, as users expect.

    Attributes:
      signal_name: of the signal that this process has received, or None.
      peers: the processes that stop together.
      calls: of `raise_if_stopped`; a sign of life.
    """

    def __init__(self):
        self.signal_name: str | None = None
        self.peers = Peers()
        self.calls = 0
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

    def join(self, peers: Peers) -> None:
        """From now on all processes of a run stop together."""
        self.peers = peers

    @property
    def should_stop(self) -> bool:
        return self.signal_name is not None

    def raise_if_stopped(self) -> None:
        """Raises Stopped once a signal has come to any of the processes; for the loop and for long evaluations.

        Every process has to call this equally often, and all raise at the same call.
        """
        self.calls += 1
        if reason := self.peers.stopped(self.signal_name):
            raise errors.Stopped(reason)

    def raise_while_waiting(self) -> None:
        """As `raise_if_stopped`, for waits that are not the same in all processes; raises only where there is but one."""
        if self.peers.count == 1:
            self.raise_if_stopped()
        else:
            self.peers.tell_of(self.signal_name)
