"""--processes=N, with commands that take no time."""

import functools
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from avc_jax.parallel import local
from avc_jax.train.guard import Guard

RUN = "import sys; from avc_jax.parallel import local; from avc_jax.train.guard import Guard\n" \
      "with Guard() as guard: sys.exit(local.run([sys.executable, '-c', sys.argv[2]], int(sys.argv[1]), guard))"
# What each child knows of itself.
HEAD = ("import os, signal, sys, time\n"
        "flags = dict(flag[2:].split('=') for flag in sys.argv[1:])\n"
        "process = int(flags['process'])\n")


def start(body: str, count: int = 3, **options) -> subprocess.Popen:
    return subprocess.Popen([sys.executable, "-c", RUN, str(count), HEAD + textwrap.dedent(body)], stdout=subprocess.PIPE,
                            stderr=subprocess.STDOUT, text=True, **options)


def run(body: str, count: int = 3) -> tuple[int, list[str]]:
    with start(body, count) as running:
        try:
            printed = running.communicate(timeout=60)[0]
        finally:
            running.kill()
    return running.returncode, printed.splitlines()


def test_children_know_their_places_and_speak_with_their_numbers():
    code, lines = run("print(flags['process'], flags['num_processes'], flags['coordinator'].split(':')[0])")
    assert code == 0
    assert sorted(lines) == [f"[{number}] {number} 3 127.0.0.1" for number in range(3)]


def test_all_meet_at_one_port():
    _, lines = run("print(flags['coordinator'])")
    assert len({line.split()[1] for line in lines}) == 1


@pytest.mark.parametrize(("ending", "code"), [
    ("sys.exit(65)", 65), ("os.kill(os.getpid(), signal.SIGKILL)", 137), ("os.abort()", 134)])
def test_the_first_failure_is_the_exit_code(ending, code):
    found, _ = run(f"time.sleep(0.5 * process)\nif process == 1: {ending}\nif process == 2: sys.exit(3)")
    assert found == code


def test_who_does_not_end_with_the_others_is_killed():
    assert run("if process: sys.exit(7)\nsignal.pause()")[0] == 7


def test_children_are_read_to_the_end_where_what_they_print_cannot_be_printed(monkeypatch):
    with open("/dev/full", "w") as full:
        monkeypatch.setattr(sys, "stderr", full)
        with subprocess.Popen([sys.executable, "-c", "print('x\\n' * 200_000)"], stdout=subprocess.PIPE, text=True) as child:
            local._print(child, 0).join(timeout=60)
            assert child.wait(timeout=60) == 0
        monkeypatch.undo()
        os.dup2(os.open(os.devnull, os.O_WRONLY), full.fileno())


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_are_passed_on_once(number):
    body = """
        def caught(number, frame):
            print("caught", signal.Signals(number).name, flush=True)
            time.sleep(0.5)
            sys.exit(75)

        signal.signal(signal.SIGTERM, caught)
        signal.signal(signal.SIGINT, caught)
        print("ready", flush=True)
        while True: time.sleep(0.1)
    """
    with start(body, 2, start_new_session=True) as running:
        try:
            assert {running.stdout.readline(), running.stdout.readline()} == {"[0] ready\n", "[1] ready\n"}
            os.killpg(running.pid, number)  # as a terminal does
            printed = running.communicate(timeout=60)[0]
        finally:
            running.kill()
    assert running.returncode == 75
    assert sorted(printed.splitlines()) == [f"[{process}] caught {number.name}" for process in range(2)]


@pytest.mark.parametrize(("ends", "code"), [
    (("kill -TERM $$", "exit 75"), 75), (("kill -INT $$", "kill -TERM $$"), 75), (("exit 75", "exit 75"), 75),
    (("kill -TERM $$", "exit 74"), 143), (("kill -KILL $$", "exit 75"), 137)])
def test_who_is_stopped_before_it_could_listen_was_stopped_all_the_same(ends, code):
    # Where the tests run in the background, SIGINT may be ignored, which children would inherit.
    listening = functools.partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    children = [subprocess.Popen(["sh", "-c", end], preexec_fn=listening) for end in ends]
    for child in children:
        child.wait(timeout=60)
    guard = Guard()
    guard.signal_name = "SIGTERM"
    assert local._wait(children, guard) == code


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells children")
def test_children_do_not_outlive_their_parent(tmp_path):
    body = f"open(f'{tmp_path}/{{process}}', 'w').write(str(os.getpid()))\nprint('ready', flush=True)\ntime.sleep(120)"
    with start(body, 2) as running:
        for _ in range(2):
            assert "ready" in running.stdout.readline()
        running.kill()
    pids = [int(path.read_text()) for path in tmp_path.iterdir()]
    until = time.monotonic() + 30
    while any(map(_lives, pids)):
        assert time.monotonic() < until
        time.sleep(0.1)


def _lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"
    except FileNotFoundError:
        return False
