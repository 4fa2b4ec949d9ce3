"""Runs a command of avc_jax in which something happens at a named place: a real signal to itself, or a sleep.

    python tests/faults/inject.py --at=avc_jax.train.loop:_compile --do=SIGTERM --after=0.1 avc_jax.main --config=...

`--at` names a function or `Class.method`; what happens, happens `--after` seconds after its `--nth` call begins (counted from
1), while the call goes on. A signal comes from a thread, so it meets the call wherever it is by then. `--do=sleep` blocks the
call itself for `--after` seconds, then lets it go on. `--do=limit:N` forbids this process, from that call on, to write files of
more than N bytes, as on a full disk; where `--after` is not 0, room is made after so many seconds.
"""

import argparse
import functools
import importlib
import os
import resource
import runpy
import signal
import sys
import threading
import time


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--at", required=True)
    parser.add_argument("--do", required=True)
    parser.add_argument("--nth", type=int, default=1)
    parser.add_argument("--after", type=float, default=0.0)
    options, command = parser.parse_known_args()
    place, *path = options.at.split(":")
    holder = importlib.import_module(place)
    *classes, name = path[0].split(".")
    for part in classes:
        holder = getattr(holder, part)
    setattr(holder, name, _with_fault(getattr(holder, name), options))
    module, sys.argv[1:] = command[0], command[1:]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


def _with_fault(function, options):
    calls = 0

    @functools.wraps(function)
    def called(*args, **kwargs):
        nonlocal calls
        calls += 1
        if calls == options.nth:
            _happen(options.do, options.after)
        return function(*args, **kwargs)

    return called


def _happen(what: str, after: float) -> None:
    if what == "sleep":
        time.sleep(after)
    elif what.startswith("limit:"):
        hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
        # Python ignores the signal that goes with it, so writing fails with an error.
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(what.removeprefix("limit:")), hard))
        if after:
            _later(after, lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard)))
    else:
        _later(after, lambda: os.kill(os.getpid(), signal.Signals[what]))


def _later(after: float, act) -> None:
    timer = threading.Timer(after, act)
    timer.daemon = True
    timer.start()


if __name__ == "__main__":
    main()
