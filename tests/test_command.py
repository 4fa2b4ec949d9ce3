"""How a command ends."""

import os
import subprocess
import sys

import pytest

ENDS = """
import atexit, sys, threading, time
from avc_jax import command

def late():
    time.sleep(0.5)
    print("a thread")

class Kept:
    def __del__(self):
        print("taken apart")

kept = Kept()
atexit.register(print, "a handler")
threading.Thread(target=late).start()
command.end(command.run(lambda: print("the work") or CODE))
"""

BREAKS = """
from avc_jax import command

def work():
    raise BrokenPipeError

command.end(command.run(work))
"""


def end(code: int, **streams) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-c", ENDS.replace("CODE", str(code))], text=True, timeout=60, check=False, **streams)


@pytest.mark.parametrize("code", [0, 75])
def test_threads_and_exit_handlers_come_to_their_end_and_nothing_is_taken_apart(code):
    ended = end(code, stdout=subprocess.PIPE)
    assert (ended.returncode, ended.stdout.splitlines()) == (code, ["the work", "a thread", "a handler"])


@pytest.mark.parametrize("buffered", [True, False])  # whether it fails at the end, or where it is printed
@pytest.mark.parametrize("reader", ["is gone", "has no room"])
def test_what_was_asked_for_and_cannot_be_written_is_a_failure(reader, buffered):
    heard, told = os.pipe()
    os.close(heard)
    environment = {**os.environ, "PYTHONUNBUFFERED": "" if buffered else "1"}
    with os.fdopen(told, "w") as closed, open("/dev/full", "w") as full:
        ended = end(0, stdout=closed if reader == "is gone" else full, stderr=subprocess.PIPE, env=environment)
    assert ended.returncode == 74 and "defect" not in ended.stderr


def test_other_pipes_that_break_are_defects():
    ended = subprocess.run([sys.executable, "-c", BREAKS], capture_output=True, text=True, timeout=60)
    assert ended.returncode == 70 and "BrokenPipeError" in ended.stderr


def test_nobody_has_to_listen():
    ended = subprocess.run(["sh", "-c", 'exec "$0" -c "$1" >&-', sys.executable, ENDS.replace("CODE", "0")], timeout=60)
    assert ended.returncode == 0
