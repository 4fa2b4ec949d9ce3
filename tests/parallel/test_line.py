"""The roll call, with real sockets: who is missing, who is a stranger, who came twice."""

import concurrent.futures
import contextlib
import json
import socket
import time

import pytest

from avc_jax import errors
from avc_jax.parallel import line

HOST = "127.0.0.1"


def hello(process: int, **said):
    return {"process": process, "host": f"host{process}", "avc_jax": "1", **said}


@pytest.fixture
def port():
    with socket.create_server((HOST, 0)) as server:
        return server.getsockname()[1]


@pytest.fixture
def call(port):
    """A function that starts a process's part in a thread, and returns the future of its line."""
    with concurrent.futures.ThreadPoolExecutor(8) as pool:

        def start(process: int, count: int, limit_s: float = 20.0, on_wait=lambda: None, **said):
            if process == 0:
                return pool.submit(line.gather, HOST, port, count, hello(0, **said), limit_s, on_wait)
            return pool.submit(line.answer, HOST, port, hello(process, **said), limit_s, on_wait)

        yield start


def test_everybody_gets_a_line_when_all_are_there_in_any_order(call):
    calls = {process: call(process, 4) for process in (2, 0, 3, 1)}
    lines = {process: made.result(timeout=30) for process, made in calls.items()}
    heard = concurrent.futures.Future()
    lines[0].listen(lambda process, message: heard.set_result((process, message)), lambda process: None)
    lines[2].send({"kind": "test"})
    assert heard.result(timeout=30) == (2, {"kind": "test"})


def test_what_process_0_says_at_once_is_not_lost(call):
    zero, one = call(0, 2), call(1, 2)
    zero.result(timeout=30).send({"kind": "first"})
    heard = concurrent.futures.Future()
    one.result(timeout=30).listen(lambda process, message: heard.set_result((process, message)), lambda process: None)
    assert heard.result(timeout=30) == (0, {"kind": "first"})


def test_port_is_free_for_jax_while_the_lines_stay_open(call, port):
    zero, one = call(0, 2), call(1, 2)
    lines = zero.result(timeout=30), one.result(timeout=30)
    with socket.create_server(("", port)):
        pass
    del lines


def test_all_who_came_name_who_is_missing(call):
    calls = [call(process, 5, 1.0) for process in (0, 1, 3)]
    for made in calls:
        with pytest.raises(errors.LostError, match=r"missing after 1 s .*: process 2, 4 of 5"):
            made.result(timeout=30)


def test_an_absent_coordinator_is_named_with_its_address_and_the_reason(call, port):
    began = time.monotonic()
    with pytest.raises(errors.LostError, match=rf"process 0, which is expected at {HOST}:{port} \(Connection refused\)"):
        call(1, 2, 1.0).result(timeout=30)
    assert time.monotonic() - began < 5


def test_a_port_where_something_else_answers_is_told(call, port):
    with socket.create_server((HOST, port)) as other, concurrent.futures.ThreadPoolExecutor(1) as pool:

        def greet():
            with contextlib.suppress(OSError):
                while True:
                    with other.accept()[0] as connection:
                        connection.sendall(b"SSH-2.0-OpenSSH_9.2\r\n")

        pool.submit(greet)
        with pytest.raises(errors.LostError, match="what answers there is no process of this run"):
            call(1, 2, 1.0).result(timeout=30)
        other.shutdown(socket.SHUT_RDWR)


def test_strangers_and_who_left_again_do_not_count(call, port):
    zero = call(0, 2)
    for said in (b"GET / HTTP/1.1\r\n\r\n", b"\n", b"[1]\n", b'{"process": "1"}\n', b"\xff" * 70_000,
                 json.dumps(hello(1)).encode() + b"\n"):
        with contextlib.closing(_connect(port)) as stranger, contextlib.suppress(OSError):
            stranger.sendall(said)
    silent = _connect(port)
    time.sleep(0.5)
    assert not zero.done()
    one = call(1, 2)
    assert zero.result(timeout=30) and one.result(timeout=30)
    silent.close()


def _connect(port: int) -> socket.socket:
    until = time.monotonic() + 20
    while True:
        try:
            return socket.create_connection((HOST, port), timeout=5)
        except OSError:
            assert time.monotonic() < until
            time.sleep(0.05)


def test_the_second_of_one_number_is_refused_and_the_run_begins_without_it(call):
    zero, one = call(0, 3), call(1, 3)
    time.sleep(0.5)
    twin = call(1, 3)
    with pytest.raises(errors.ConfigError, match="a process 1 of 3 already, and now another on host1"):
        twin.result(timeout=30)
    two = call(2, 3)
    assert all(made.result(timeout=30) for made in (zero, one, two))


def test_another_command_is_named_key_by_key_and_everybody_hears_of_it(call):
    zero, two = call(0, 3, steps=5), call(2, 3, steps=5)
    time.sleep(0.5)
    one = call(1, 3, steps=6)
    for made in (zero, one, two):
        with pytest.raises(errors.ConfigError, match=r"process 1 on host1 was started otherwise than .*: steps is 6, not 5"):
            made.result(timeout=30)


def test_a_signal_ends_the_wait_and_the_others_hear_why(call):
    def stop():
        raise errors.Stopped("Stopped by SIGTERM.")

    one = call(1, 3)
    time.sleep(0.3)
    began = time.monotonic()

    def soon():
        if time.monotonic() > began + 1:
            stop()

    zero = call(0, 3, on_wait=soon)
    with pytest.raises(errors.Stopped):
        zero.result(timeout=30)
    with pytest.raises(errors.LostError, match="Stopped by SIGTERM"):
        one.result(timeout=30)


def test_a_port_in_use_is_waited_for_and_then_told(call, port):
    with socket.create_server((HOST, port)), pytest.raises(errors.ConfigError, match=f"cannot listen on port {port}"):
        call(0, 2, 1.0).result(timeout=30)


@pytest.mark.parametrize("address", ["host", "host:", ":1", "host:0", "host:65536", "host:x"])
def test_addresses_are_checked(address):
    with pytest.raises(errors.ConfigError, match="expected HOST:PORT"):
        line.split_address(address)


def test_addresses_of_ipv6_keep_their_colons():
    assert line.split_address("[fe80::1]:8482") == ("fe80::1", 8482)


@pytest.fixture
def ends():
    """Two ends of a connection."""
    with socket.create_server((HOST, 0)) as server:
        there = socket.create_connection(server.getsockname())
        here = server.accept()[0]
    yield here, there
    here.close()
    there.close()


@pytest.mark.parametrize("said", [b"\xff\n", b"{half\n", b'{"kind": "unknown"}\n'])
def test_who_says_what_cannot_be_understood_is_gone(ends, said):
    gone, heard = concurrent.futures.Future(), []

    def receive(process, message):
        if message["kind"] != "known":
            raise KeyError(message["kind"])
        heard.append(message)

    line.Line({3: ends[0]}).listen(receive, gone.set_result)
    ends[1].sendall(b'{"kind": "known"}\n' + said)
    assert gone.result(timeout=30) == 3
    assert heard == [{"kind": "known"}]
    assert ends[1].recv(1) == b""  # and the other side knows


def test_who_does_not_take_what_is_sent_is_gone(ends, monkeypatch):
    monkeypatch.setattr(line, "_SEND_S", 0.2)
    gone = concurrent.futures.Future()
    opened = line.Line({3: ends[0]})
    opened.listen(lambda process, message: None, gone.set_result)
    opened.send({"kind": "x" * 50_000_000})
    assert gone.result(timeout=30) == 3
