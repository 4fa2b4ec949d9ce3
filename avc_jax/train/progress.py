"""The line that says how a run is doing."""

import sys
import time
from typing import TextIO

from avc_jax import stderr


class Progress:
    """Rates over the stretch since the last report, and the line made of them.

    On a terminal the line is rewritten in place; elsewhere each report is a line of its own.
    """

    def __init__(self, steps: int, pairs_per_step: int, *, stream: TextIO | None = None, silent: bool = False,
                 clock=time.monotonic):
        """
        Args:
          steps: the last step.
          pairs_per_step: pairs scored by one step.
          stream: where lines go; stderr by default.
          silent: nothing is printed, as in processes that another one speaks for.
          clock: seconds.
        """
        self._steps, self.pairs_per_step, self._clock = steps, pairs_per_step, clock
        self._stream = stream or sys.stderr
        self._silent = silent
        self._tty = self._stream.isatty()
        self._done = 0
        self._since = clock()

    def begin(self, step: int) -> None:
        """Starts a stretch at a step: at the beginning, and after whatever is not training (evaluation)."""
        self._done, self._since = step, self._clock()

    def measure(self, step: int, waited_s: float) -> dict[str, float]:
        """steps_per_s, pairs_per_s and data_wait (share of the time) since `begin`, in which waited_s went by waiting."""
        elapsed = max(self._clock() - self._since, 1e-9)
        rate = (step - self._done) / elapsed
        return {"steps_per_s": rate, "pairs_per_s": rate * self.pairs_per_step, "data_wait": min(1.0, waited_s / elapsed)}

    def report(self, step: int, values: dict[str, float]) -> None:
        """Prints one line from the averaged metrics and the rates."""
        left = (self._steps - step) / max(values["steps_per_s"], 1e-9)
        parts = [f"step {step}/{self._steps}"]
        parts += [f"{name} {values[name]:.3f}" for name in ("loss", "accuracy") if name in values]
        parts += [f"{values['steps_per_s']:.2f} steps/s", f"{values['pairs_per_s']:.0f} pairs/s",
                  f"data wait {100 * values['data_wait']:.0f}%", f"left {_clock_text(left)}"]
        line = "  ".join(parts)
        self._write(f"\r\x1b[K{line}" if self._tty else line + "\n")

    def say(self, text: str) -> None:
        """Prints a line that stays."""
        self._write(("\r\x1b[K" if self._tty else "") + text + "\n")

    def _write(self, text: str) -> None:
        if not self._silent:
            stderr.write(text, self._stream)


def _clock_text(seconds: float) -> str:
    hours, rest = divmod(int(seconds), 3600)
    return f"{hours}:{rest // 60:02d}:{rest % 60:02d}" if hours else f"{rest // 60}:{rest % 60:02d}"
