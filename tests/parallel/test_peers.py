"""What processes agree on, here as threads with real sockets between them."""

import concurrent.futures
import random
import socket
import subprocess
import sys
import textwrap
import threading
import time

import jax
import pytest

from avc_jax import errors
from avc_jax.parallel.line import Line
from avc_jax.parallel.peers import Peers, _joint_failure


def connected(count: int) -> list[Peers]:
    """Peers of `count` processes, all of them in this one."""
    pairs = {}
    with socket.create_server(("127.0.0.1", 0)) as server:
        for process in range(1, count):
            there = socket.create_connection(server.getsockname())
            pairs[process] = server.accept()[0], there
    hub = Peers(0, count, Line({process: pair[0] for process, pair in pairs.items()}))
    return [hub, *(Peers(process, count, Line({0: pair[1]})) for process, pair in pairs.items())]


@pytest.mark.parametrize("seed", range(6))
def test_all_stop_at_the_same_call_whenever_whoever_is_signalled(seed):
    draw = random.Random(seed)
    count, victim, moment = draw.randint(2, 6), draw.randrange(2), draw.uniform(0, 0.2)
    together = threading.Barrier(count)
    began = time.monotonic()

    def run(peers: Peers) -> tuple[int, str]:
        own = random.Random(100 * seed + peers.process)
        for call in range(1, 100_000):
            time.sleep(own.uniform(0, 0.01))
            signalled = peers.process == victim and time.monotonic() > began + moment
            if reason := peers.stopped("SIGTERM" if signalled else None):
                return call, reason
            if call % 7 == 0:
                together.wait(timeout=60)  # a step with a collective operation
        raise AssertionError("never stopped")

    with concurrent.futures.ThreadPoolExecutor(count) as pool:
        ends = list(pool.map(run, connected(count)))
    assert len(set(ends)) == 1
    assert ends[0][1] == f"Stopped by SIGTERM to process {victim}."


def test_two_signals_at_once_give_one_decision():
    with concurrent.futures.ThreadPoolExecutor(3) as pool:
        def run(peers):
            calls = 0
            while True:
                calls += 1
                if peers.stopped("SIGINT"):
                    return calls

        assert len(set(pool.map(run, connected(3)))) == 1


def test_a_process_that_waits_for_data_tells_the_others():
    one, two = connected(2)
    two.tell_of("SIGTERM")
    calls = 0
    while not one.stopped(None):
        calls += 1
        time.sleep(0.01)
        assert calls < 1000
    for _ in range(calls):
        assert two.stopped("SIGTERM") is None
    assert two.stopped("SIGTERM") == "Stopped by SIGTERM to process 1."


def test_alone_the_signal_stops_at_once():
    peers = Peers()
    assert peers.stopped(None) is None
    assert peers.stopped("SIGTERM") == "Stopped by SIGTERM."


def test_process_0_goes_first_and_meetings_wait_for_all():
    order, lock = [], threading.Lock()

    def run(peers):
        for turn in range(20):
            with peers.one_before_the_others():
                time.sleep(random.uniform(0, 0.005))
                with lock:
                    order.append((turn, peers.process))
            peers.meet()

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        list(pool.map(run, connected(4)))
    assert [turn for turn, _ in order] == sorted(turn for turn, _ in order)
    assert all(order[4 * turn] == (turn, 0) for turn in range(20))


def test_bad_files_of_all_processes_reach_process_0():
    heard, told = [], threading.Event()
    hub, other = connected(2)

    def on_bad(*found):
        heard.append(found)
        told.set()

    hub.on_bad = on_bad
    other.tell_bad("a.mp4", "unreadable", "It cannot be read.")
    assert told.wait(30)
    assert heard == [("a.mp4", "unreadable", "It cannot be read.")]


# How processes end, in processes that can ----------------------------------------------------------------------------------

PROGRAM = """
    import sys, time, os, signal
    from avc_jax import command, errors
    from avc_jax.parallel import line
    from avc_jax.parallel.peers import Peers

    process, port = int(sys.argv[1]), int(sys.argv[2])
    hello = {"process": process, "host": "here"}
    opened = (line.answer("127.0.0.1", port, hello, 60, lambda: None) if process
              else line.gather("127.0.0.1", port, 3, hello, 60, lambda: None))
    peers = Peers(process, 3, opened)

    def work():
        with peers.together():
            peers.meet()
            BODY

    peers.exit(command.run(work))
"""


def end(body: str) -> list[tuple[int, str]]:
    """Runs a body as three processes; their exit codes and what each printed."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    program = textwrap.dedent(PROGRAM).replace("BODY", body)
    running = [subprocess.Popen([sys.executable, "-c", program, str(process), str(port)], stdout=subprocess.PIPE,
                                stderr=subprocess.STDOUT, text=True) for process in range(3)]
    try:
        printed = [process.communicate(timeout=60)[0] for process in running]
    finally:
        for process in running:
            process.kill()
    return [(process.returncode, text) for process, text in zip(running, printed, strict=True)]


@pytest.mark.parametrize("who", [0, 2])
def test_one_failure_ends_all_with_its_code_and_one_message(who):
    ends = end(f"if process == {who}: raise errors.DataError('All files are bad.')\n        time.sleep(60)")
    assert [code for code, _ in ends] == [65, 65, 65]
    for process, (_, printed) in enumerate(ends):
        other = f"Process {who} of 3 ended with exit code 65, so process {process} ends, too."
        assert printed.strip() == ("Error: All files are bad." if process == who else other)


def test_the_same_failure_everywhere_is_told_once():
    ends = end("raise errors.DataError('All files are bad.')")
    assert [code for code, _ in ends] == [65, 65, 65]
    assert sum("All files are bad." in printed for _, printed in ends) == 1


@pytest.mark.parametrize("who", [0, 1])
def test_a_kill_ends_the_others_at_once_and_is_worth_a_restart(who):
    began = time.monotonic()
    ends = end(f"if process == {who}: os.kill(os.getpid(), signal.SIGKILL)\n        time.sleep(60)")
    assert time.monotonic() - began < 30
    assert sorted(code for code, _ in ends) == [-9, 134, 134]
    assert sum(f"Process {who} of 3 is gone" in printed for _, printed in ends) == 2


def test_a_failed_computation_of_all_is_blamed_on_who_is_gone():
    ends = end("class JaxRuntimeError(RuntimeError): pass\n"
               "        if process == 1: os.kill(os.getpid(), signal.SIGKILL)\n"
               "        try: raise JaxRuntimeError('Connection closed by peer')\n"
               "        except RuntimeError as error: raise errors.CannotWriteError('No checkpoint.') from error")
    assert [code for code, _ in ends] == [134, -9, 134]
    for process in (0, 2):
        assert f"Process 1 of 3 is gone, so process {process} ends, too." in ends[process][1]
        assert "No checkpoint." not in ends[process][1]


def test_a_failed_computation_without_a_death_is_told_and_worth_a_restart():
    ends = end("class JaxRuntimeError(RuntimeError): pass\n        raise JaxRuntimeError('Connection closed by peer')")
    assert [code for code, _ in ends] == [134, 134, 134]
    assert sum("Connection closed by peer" in printed for _, printed in ends) == 1


@pytest.mark.parametrize(("said", "is_joint"), [
    ("INVALID_ARGUMENT: Mismatched shapes", False), ("UNIMPLEMENTED: No such operation", False),
    ("RESOURCE_EXHAUSTED: Out of memory", False), ("FAILED_PRECONDITION: Gloo all-reduce failed", True),
    ("UNAVAILABLE: Connection reset by peer", True), ("INTERNAL: NCCL operation failed", True)])
def test_what_a_process_always_fails_with_on_its_own_is_not_blamed_on_others(said, is_joint):
    error = errors.CannotWriteError("No checkpoint.")
    error.__cause__ = jax.errors.JaxRuntimeError(said)
    assert (_joint_failure(error) is not None) is is_joint


def test_a_defect_is_a_defect_also_of_several():
    ends = end("if process == 1: 1 / 0\n        time.sleep(60)")
    assert [code for code, _ in ends] == [70, 70, 70]
    assert "ZeroDivisionError" in ends[1][1] and "Traceback" not in ends[0][1]


def test_a_stop_is_told_by_process_0_alone():
    ends = end("peers.tell_of('SIGTERM' if process == 1 else None)\n"
               "        while not (reason := peers.stopped(None)): time.sleep(0.01)\n"
               "        raise errors.Stopped(reason)")
    assert [code for code, _ in ends] == [75, 75, 75]
    assert [printed.strip() for _, printed in ends] == ["Stopped by SIGTERM to process 1.", "", ""]


def test_a_good_end_waits_for_process_0_and_its_failure_still_counts():
    ends = end("if process == 0: time.sleep(1); raise errors.CannotWriteError('No page.')")
    assert [code for code, _ in ends] == [74, 74, 74]
    assert [code for code, _ in end("time.sleep(0.2 * process)")] == [0, 0, 0]
