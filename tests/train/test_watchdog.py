"""A run that is stuck ends with the stacks of its threads."""

import subprocess
import sys
import time

BODY = """
import time, threading
from avc_jax.train.guard import Guard
from avc_jax.train.watchdog import Watchdog

def stuck_here(): time.sleep(60)

with Guard() as guard, Watchdog(guard, {limit}):
    for _ in range({calls}):
        guard.raise_if_stopped()
        time.sleep(0.2)
    {then}
"""


def run(limit: float, calls: int, then: str) -> subprocess.CompletedProcess:
    program = BODY.format(limit=limit, calls=calls, then=then)
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)


def test_silence_ends_the_process_with_its_stacks():
    began = time.monotonic()
    ended = run(0.5, 0, "stuck_here()")
    assert ended.returncode == 134
    assert "no step and no batch of an evaluation for 0.5 s (config.train.watchdog_s)" in ended.stderr
    assert "stuck_here" in ended.stderr
    assert time.monotonic() - began < 20


def test_signs_of_life_keep_it_quiet_and_so_does_the_end():
    ended = run(1.0, 10, "pass\ntime.sleep(2)")
    assert (ended.returncode, ended.stderr) == (0, "")


def test_polls_for_a_batch_are_no_signs_of_life_but_a_wait_with_a_limit_of_its_own_is():
    polls = "for _ in range(150):\n        guard.{call}()\n        time.sleep(0.02)"
    ended = run(1.0, 0, polls.format(call="raise_while_waiting"))
    assert ended.returncode == 134
    assert run(1.0, 0, polls.format(call="show_life")).returncode == 0


def test_zero_turns_it_off():
    assert run(0, 0, "time.sleep(1)").returncode == 0
