"""What cannot be said changes neither how a command ends nor what it saves."""

import os
import subprocess
import sys
import threading
import types

import pytest

from avc_jax import stderr

COMMAND = """
import sys
from avc_jax import command, errors

def work():
    raise errors.{error}("Why.")

command.end(command.run(work))
"""


@pytest.mark.parametrize(("error", "code"), [("CannotWriteError", 74), ("Stopped", 75)])
@pytest.mark.parametrize("where", ["full", "closed"])
def test_exit_code_is_that_of_the_error_where_nobody_hears_of_it(where, error, code):
    if where == "full":
        with open("/dev/full", "w") as full:
            assert _end(COMMAND.format(error=error), full) == code
        return
    heard, told = os.pipe()
    os.close(heard)  # as where `tee` is gone
    with os.fdopen(told, "w") as closed:
        assert _end(COMMAND.format(error=error), closed) == code


def test_closed_stderr_is_no_defect():
    program = COMMAND.format(error="Stopped")
    ended = subprocess.run(["sh", "-c", 'exec "$0" -c "$1" 2>&-', sys.executable, program], timeout=60, check=False)
    assert ended.returncode == 75


def _end(program: str, where) -> int:
    return subprocess.run([sys.executable, "-c", program], stderr=where, timeout=60, check=False).returncode


class Broken:
    def write(self, text):
        raise BrokenPipeError

    def flush(self):
        pass


def test_line_that_cannot_be_written_is_dropped():
    stderr.say("text", Broken())


def test_who_is_about_to_end_waits_for_no_reader(monkeypatch):
    read, written = threading.Event(), []
    stream = types.SimpleNamespace(write=lambda text: written.append(read.wait(60)), flush=lambda: None)
    monkeypatch.setattr(sys, "stderr", stream)
    stderr.say_in_time("text", 0.3)
    assert not written  # it came back before the reader took anything
    read.set()


def test_stacks_are_of_all_threads():
    over = threading.Event()

    def waits_in_here():
        over.wait(60)

    thread = threading.Thread(target=waits_in_here)
    thread.start()
    try:
        said = stderr.stacks()
    finally:
        over.set()
        thread.join()
    assert "waits_in_here" in said and "test_stacks_are_of_all_threads" in said
