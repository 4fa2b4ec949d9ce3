"""Real signals, to this very process or to one that they end."""

import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from avc_jax import errors
from avc_jax.train.guard import Guard


def send(number):
    os.kill(os.getpid(), number)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_sets_the_flag_and_is_raised_where_it_is_asked_for(number):
    with Guard() as guard:
        guard.raise_if_stopped()
        assert not guard.should_stop
        send(number)
        assert guard.should_stop
        with pytest.raises(errors.Stopped, match=f"Stopped by {number.name}"):
            guard.raise_if_stopped()


def test_second_ctrl_c_interrupts_at_once():
    with Guard() as guard:
        send(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            send(signal.SIGINT)
        assert guard.should_stop


def test_second_sigterm_waits_like_the_first():
    with Guard() as guard:
        send(signal.SIGTERM)
        send(signal.SIGTERM)
        assert guard.signal_name == "SIGTERM"


@pytest.mark.parametrize("fails", [False, True])
def test_handlers_are_put_back(fails):
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        with Guard():
            assert signal.getsignal(signal.SIGTERM) != before[signal.SIGTERM]
            if fails:
                raise RuntimeError
    except RuntimeError:
        pass
    assert {number: signal.getsignal(number) for number in before} == before


def test_stopped_is_an_exit_code_that_schedulers_retry():
    assert errors.Stopped.exit_code == 75


# The main thread is in compiled code, where no handler of Python runs.
BUSY = """
import hashlib
from avc_jax.train.guard import Guard
with Guard() as guard:
    guard.nothing_to_lose = {nothing}
    print("busy", flush=True)
    hashlib.pbkdf2_hmac("sha256", b"", b"", {rounds})
    guard.raise_if_stopped()
"""


@pytest.mark.parametrize(("nothing", "code"), [(True, 75), (False, 1)])
def test_signal_ends_a_busy_process_only_if_nothing_is_lost_by_that(nothing, code):
    rounds = 200_000_000 if nothing else 5_000_000  # minutes, or seconds
    with subprocess.Popen([sys.executable, "-c", BUSY.format(nothing=nothing, rounds=rounds)], stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "busy\n"
        time.sleep(0.2)
        process.send_signal(signal.SIGTERM)
        _, printed = process.communicate(timeout=60)
    assert process.returncode == code
    assert ("Stopped by SIGTERM, with nothing to save" in printed) == nothing, printed


def test_signal_ends_a_busy_process_also_when_nothing_is_left_to_lose_later(monkeypatch):
    monkeypatch.setattr("avc_jax.train.guard._PATIENCE_S", 0.05)
    with Guard() as guard:
        ended = threading.Event()
        guard.peers.abort = lambda *args: ended.set() or guard._over.set()
        send(signal.SIGTERM)
        assert not ended.wait(0.3)
        guard.nothing_to_lose = True  # as after the last save
        assert ended.wait(30)


def test_signal_that_came_before_the_end_does_not_change_how_the_process_ends():
    script = """
import os, signal, time
from avc_jax.train.guard import Guard
with Guard() as guard:
    guard.nothing_to_lose = True
    os.kill(os.getpid(), signal.SIGTERM)
time.sleep(3)
"""
    assert subprocess.run([sys.executable, "-c", script], check=False, timeout=60).returncode == 0
