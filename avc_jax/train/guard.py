"""Turns SIGTERM and Ctrl-C into a flag that the loop reads, so that a run stops between two steps and saves.

Python runs signal handlers only in the main thread, and only when that is in Python: a compilation may keep it outside for
minutes, longer than a scheduler waits. So a thread hears of signals too, and ends the process where nothing is lost by that.
"""

import os
import signal
import threading
from typing import Any

from avc_jax import errors
from avc_jax.parallel.peers import Peers

_PATIENCE_S = 2.0  # in which the main thread may end the process in good order


class Guard:
    """Context manager that catches SIGTERM and SIGINT. The second Ctrl-C interrupts at once, as users expect.

    Attributes:
      signal_name: of the signal that this process has received, or None.
      nothing_to_lose: whether all that is worth keeping is on the disk. A signal then ends the process within seconds, whatever
        the main thread is doing. Whoever enters the guard sets it.
      peers: the processes that stop together.
      signs: of life: calls of `raise_if_stopped` and `show_life`.
    """

    def __init__(self):
        self.signal_name: str | None = None
        self.nothing_to_lose = False
        self.peers = Peers()
        self.signs = 0
        self._over = threading.Event()
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
        self._over.set()  # what follows has an exit code of its own
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
                if number[0] in self._previous:
                    self._end_when_nothing_is_lost(signal.Signals(number[0]).name)

    def _end_when_nothing_is_lost(self, signal_name: str) -> None:
        """Returns at the end of the guard; ends the process before, once there was nothing to lose for a while."""
        there_was_nothing = self.nothing_to_lose
        while not self._over.wait(_PATIENCE_S):
            if self.nothing_to_lose and there_was_nothing:
                # Without Python's and XLA's clean-up, which would wait for the main thread or crash beside it.
                self.peers.abort(errors.Stopped.exit_code,
                                 f"Stopped by {signal_name}, with nothing to save; the same command goes on.")
            there_was_nothing = self.nothing_to_lose

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
        self.show_life()
        self._raise_if_stopped()

    def _raise_if_stopped(self) -> None:
        if reason := self.peers.stopped(self.signal_name):
            raise errors.Stopped(reason)

    def show_life(self) -> None:
        """Tells the watchdog that a wait has a limit of its own; from any thread."""
        self.signs += 1

    def raise_while_waiting(self) -> None:
        """As `raise_if_stopped`, for waits that are not the same in all processes; raises only where there is but one.

        It is no sign of life: what is waited for may never come.
        """
        if self.peers.count == 1:
            self._raise_if_stopped()
        else:
            self.peers.tell_of(self.signal_name)
