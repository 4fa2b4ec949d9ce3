"""--processes=N: runs a command as N processes on this machine."""

import ctypes
import glob
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Sequence

from avc_jax import errors, stderr
from avc_jax.parallel.init import share_of_gpus
from avc_jax.train.guard import Guard

_POLL_S = 0.05
_GRACE_S = 15.0  # For the others when one process has failed; JAX's heartbeat may take longer to find out.
_PR_SET_PDEATHSIG = 1
_STOPPED = {-signal.SIGTERM, -signal.SIGINT, errors.Stopped.exit_code}


def run(command: Sequence[str], count: int, guard: Guard) -> int:
    """Runs a command `count` times with the flags that make its processes one run, and returns an exit code.

    What they print is printed with their numbers before it. Signals are passed on to all of them. When one fails, the others end
    by themselves, or are killed soon.

    Args:
      command: a program and its arguments, which takes --coordinator, --process and --num_processes.
      count: how many.
      guard: entered.

    Returns:
      The exit code of the first that failed, 128 + the number of the signal that killed it, 75 if all were stopped, or 0.
    """
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
    children: list[subprocess.Popen] = []
    try:
        for number in range(count):
            flags = [f"--coordinator={address}", f"--process={number}", f"--num_processes={count}"]
            children.append(_start([*command, *flags], number, count))
        printers = [_print(child, number) for number, child in enumerate(children)]
        code = _wait(children, guard)
    finally:
        for child in children:
            child.kill()
            child.wait()
    for printer in printers:
        printer.join(timeout=_GRACE_S)
    return code


def _start(command: list[str], number: int, count: int) -> subprocess.Popen:
    environment = dict(os.environ)
    share = share_of_gpus((number, count), os.environ) if glob.glob("/dev/nvidia[0-9]*") else None
    if share is not None:
        seen = [gpu for gpu in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if gpu]
        environment["CUDA_VISIBLE_DEVICES"] = ",".join(seen[gpu] if seen else str(gpu) for gpu in share)
    # In sessions of their own, so that the terminal's Ctrl-C reaches them once, by this process.
    return subprocess.Popen(command, env=environment, start_new_session=True, text=True, errors="replace",
                            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                            preexec_fn=_end_with_parent if sys.platform == "linux" else None)


def _end_with_parent() -> None:
    """In the child: Linux sends it SIGTERM when the parent is gone, however that ended."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _print(child: subprocess.Popen, number: int) -> threading.Thread:
    def work() -> None:
        assert child.stdout is not None
        for text in child.stdout:
            stderr.write(f"[{number}] {text}")

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread


def _wait(children: list[subprocess.Popen], guard: Guard) -> int:
    """The exit code of the first that failed, when all have ended or the grace is over; 75 if all were stopped."""
    running, first, until, passed_on = list(children), 0, float("inf"), False
    while running and time.monotonic() < until:
        if guard.should_stop and not passed_on:
            passed_on = True
            for child in running:
                child.send_signal(signal.Signals[guard.signal_name or "SIGTERM"])
        for child in [child for child in running if child.poll() is not None]:
            running.remove(child)
            if child.returncode and not first:
                first, until = child.returncode, time.monotonic() + _GRACE_S
        time.sleep(_POLL_S)
    # Who has not set up its guard yet is killed by a signal that is passed on.
    if guard.should_stop and {child.returncode for child in children} <= _STOPPED:
        return errors.Stopped.exit_code
    return first if first >= 0 else 128 - first
