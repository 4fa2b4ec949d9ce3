"""Runs a command of avc_jax in which something happens at a named place: a real signal to itself, or a sleep.

    python tests/faults/inject.py --at=avc_jax.train.loop:_compile --do=SIGTERM --after=0.1 avc_jax.main --config=...

`--at` names a function or `Class.method`; what happens, happens `--after` seconds after its `--nth` call begins (counted from
1), while the call goes on. What `--do` may be:

  SIGTERM, SIGKILL, ...   a signal, from a thread, so that it meets the call wherever it is by then
  sleep                   the call begins `--after` seconds later
  busy                    the same, spent in compiled code, where Python's main thread hears no signal
  limit:N                 files may not become larger than N bytes, as on a full disk, until the place `--until` is called
  nan:3,4                 at avc_jax.train.step:_gradients: loss and gradients of these steps, counted from 0, are not numbers
"""

import argparse
import functools
import hashlib
import importlib
import os
import resource
import runpy
import signal
import sys
import threading
import time


def main() -> None:
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument("--at", required=True)
    parser.add_argument("--do", required=True)
    parser.add_argument("--nth", type=int, default=1)
    parser.add_argument("--after", type=float, default=0.0)
    parser.add_argument("--until")
    options, command = parser.parse_known_args()
    if options.do.startswith("nan:"):
        steps = [int(step) for step in options.do.removeprefix("nan:").split(",")]
        _replace(options.at, lambda gradients: _poisoned(gradients, steps))
    else:
        _replace(options.at, lambda function: _before(function, lambda: _happen(options.do, options.after), options.nth))
    if options.until:
        _replace(options.until, lambda function: _before(function, _make_room, 1))
    module, sys.argv[1:] = command[0], command[1:]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


def _replace(place: str, changed) -> None:
    module, path = place.split(":")
    holder = importlib.import_module(module)
    *classes, name = path.split(".")
    for part in classes:
        holder = getattr(holder, part)
    setattr(holder, name, changed(getattr(holder, name)))


def _before(function, act, nth: int):
    """The function, whose nth call begins with an act."""
    calls = 0

    @functools.wraps(function)
    def called(*args, **kwargs):
        nonlocal calls
        calls += 1
        if calls == nth:
            act()
        return function(*args, **kwargs)

    return called


def _happen(what: str, after: float) -> None:
    if what == "sleep":
        time.sleep(after)
    elif what == "busy":
        hashlib.pbkdf2_hmac("sha256", b"", b"", int(after * 1e6))  # about a million a second, and other threads may run
    elif what.startswith("limit:"):
        hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
        # Python ignores the signal that goes with it, so writing fails with an error.
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(what.removeprefix("limit:")), hard))
    else:
        timer = threading.Timer(after, os.kill, (os.getpid(), signal.Signals[what]))
        timer.daemon = True
        timer.start()


def _make_room() -> None:
    hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))


def _poisoned(gradients, steps: list[int]):
    """`_gradients`, whose loss and gradients are not numbers at some steps of a run with seed 0."""
    import jax
    import jax.numpy as jnp

    def called(system, params, collections, batch, rng):
        bad = jnp.stack([jax.random.key_data(jax.random.fold_in(jax.random.key(0), step)) for step in steps])
        is_bad = (jax.random.key_data(rng) == bad).all(axis=-1).any()
        grads, new, loss, metrics = gradients(system, params, collections, batch, rng)
        poison = jnp.where(is_bad, jnp.nan, 1.0)
        return jax.tree.map(lambda grad: grad * poison, grads), new, loss * poison, metrics

    return called


if __name__ == "__main__":
    main()
