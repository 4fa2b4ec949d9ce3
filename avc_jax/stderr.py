"""What a command says. A log on a full disk, or a reader that is gone, costs lines, and never the run or its exit code."""

import contextlib
import faulthandler
import os
import sys
import threading
from typing import TextIO

_PIPE_BYTES = 1 << 16  # what a pipe holds on Linux


def say(text: str, stream: TextIO | None = None) -> None:
    """Writes a line to stderr, or to another stream; see `write`."""
    write(f"{text}\n", stream)


def write(text: str, stream: TextIO | None = None) -> None:
    """Writes text at once, if it can be written."""
    stream = stream or sys.stderr
    with contextlib.suppress(OSError):
        stream.write(text)
        stream.flush()


def say_in_time(text: str, limit_s: float = 5.0) -> None:
    """As `say`, but waits no longer than that for a reader who has stopped reading: for whoever is about to end the process."""
    thread = threading.Thread(target=say, args=(text,), daemon=True)
    thread.start()
    thread.join(limit_s)


def stacks() -> str:
    """The stacks of all threads. By a pipe that never blocks: faulthandler holds Python's lock while it writes."""
    heard, told = os.pipe()
    os.set_blocking(told, False)
    with os.fdopen(heard, "rb") as reader:
        with os.fdopen(told, "wb") as writer:
            faulthandler.dump_traceback(writer, all_threads=True)
        return reader.read(_PIPE_BYTES).decode(errors="replace")
