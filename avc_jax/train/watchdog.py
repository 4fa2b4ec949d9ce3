"""Ends a run that is stuck, with the stacks of its threads: nothing else would notice, and a scheduler starts it again."""

import threading

from avc_jax import errors, stderr
from avc_jax.train.guard import Guard


class Watchdog:
    """Context manager in which signs of life have to come now and then: those of the guard.

    Of several processes each has its own, and the first that barks ends them all: who waits for one that is stuck is stuck, too.
    """

    def __init__(self, guard: Guard, limit_s: float):
        """
        Args:
          guard: entered, and told of the other processes.
          limit_s: seconds without a sign of life that are too many; 0: never.
        """
        self._guard, self._limit_s = guard, limit_s
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)

    def __enter__(self) -> "Watchdog":
        if self._limit_s:
            self._thread.start()
        return self

    def __exit__(self, *exc) -> None:
        self._over.set()

    def _watch(self) -> None:
        # In turns of its own, so that a laptop that was asleep is not taken for one that was stuck.
        turn_s = min(self._limit_s / 20, 5.0)
        seen, silent_s = self._guard.signs, 0.0
        while not self._over.wait(turn_s):
            silent_s = silent_s + turn_s if self._guard.signs == seen else 0.0
            seen = self._guard.signs
            if silent_s >= self._limit_s:
                self._bark()

    def _bark(self) -> None:
        # Whoever reads what is said may be what is stuck.
        stderr.say_in_time(
            f"Error: no step and no batch of an evaluation for {self._limit_s:g} s (config.train.watchdog_s), so this run is "
            f"stuck and ends. The stacks of its threads say where; start it again to resume.\n{stderr.stacks()}")
        self._guard.peers.abort(errors.LostError.exit_code)
