"""The line between process 0 of a run and each of the others: lines of JSON over TCP, and news of who is gone.

A roll call opens it. JAX's own start waits for a missing process without saying which, and then ends the others by an abort that
Python cannot catch; so JAX starts once everybody is there, on the port that the roll call has used.
"""

import contextlib
import errno
import json
import logging
import selectors
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

from avc_jax import errors

logger = logging.getLogger(__name__)

Message = dict[str, Any]

_POLL_S = 0.2
_SEND_S = 5.0
_HELLO_BYTES = 1 << 16  # More comes only from what is no process of ours.
_LOOPBACK = ("127.0.0.1", "localhost")


def split_address(address: str) -> tuple[str, int]:
    """The host and the port of HOST:PORT.

    Raises:
      ConfigError: it is no such thing.
    """
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit() or not 0 < int(port) < 1 << 16:
        raise errors.ConfigError(f"Found coordinator {address!r}, expected HOST:PORT of process 0, such as 10.0.0.1:8482.")
    return host.strip("[]"), int(port)


def bind_host(host: str) -> str:
    """Where process 0 listens: on every interface, unless all are on this machine."""
    return "127.0.0.1" if host in _LOOPBACK else ""


class Line:
    """Open connections, one with each other process for process 0, one with process 0 for the others."""

    def __init__(self, connections: dict[int, socket.socket]):
        self._connections, self._open = connections, set(connections)
        self._sending = threading.Lock()
        for connection in connections.values():
            connection.settimeout(_SEND_S)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            if hasattr(socket, "TCP_KEEPIDLE"):  # what lies between may forget a connection that is silent for long
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 60)

    def send(self, message: Message) -> None:
        """Sends to everybody at the other ends; who is gone by now is left out, and who does not take it in time is gone."""
        data = _encode(message)
        for connection in self._connections.values():
            with self._sending:
                try:
                    connection.sendall(data)
                except OSError:
                    _shut(connection)  # half a message may be on its way

    def listen(self, receive: Callable[[int, Message], None], gone: Callable[[int], None]) -> None:
        """Starts a thread that calls receive(process, message) for all that comes, and gone(process) when a connection ends."""
        threading.Thread(target=self._read, args=(receive, gone), name="line", daemon=True).start()

    def _read(self, receive, gone) -> None:
        with selectors.DefaultSelector() as selector:
            rest = dict.fromkeys(self._connections, b"")
            for process, connection in self._connections.items():
                selector.register(connection, selectors.EVENT_READ, process)
            while self._open:
                for key, _ in selector.select():
                    process, data = key.data, b""
                    with contextlib.suppress(OSError):
                        data = key.fileobj.recv(1 << 16)  # type: ignore[union-attr]
                    *lines, rest[process] = (rest[process] + data).split(b"\n")
                    try:
                        for line in lines:
                            receive(process, json.loads(line))
                    except Exception:  # nothing that follows can be relied on, and this thread has to go on
                        logger.exception("Process %d said what cannot be understood.", process)
                        data = b""
                        _shut(key.fileobj)  # type: ignore[arg-type]
                    if not data:
                        selector.unregister(key.fileobj)
                        self._open.discard(process)
                        gone(process)

    def wait_for_ends(self, limit_s: float) -> None:
        """Waits until all other ends have closed; not to be called by the thread that reads."""
        until = time.monotonic() + limit_s
        while self._open and time.monotonic() < until:
            time.sleep(0.01)


def gather(host: str, port: int, count: int, hello: Message, limit_s: float, on_wait: Callable[[], None]) -> Line:
    """Process 0's part of the roll call: waits until all others have said hello.

    Args:
      host, port: where the others look for this process.
      count: processes in all.
      hello: what this process would say. `host` and `process` tell who it is; all else has to be the same everywhere.
      limit_s: seconds to wait.
      on_wait: called several times a second; it may raise to end the wait.

    Raises:
      LostError: some are missing, which are named.
      ConfigError: one of them was started otherwise, or the port cannot be had.
    """
    until = time.monotonic() + limit_s
    with _listen(host, port, until, on_wait) as server, selectors.DefaultSelector() as selector:
        selector.register(server, selectors.EVENT_READ)
        present: dict[int, socket.socket] = {}
        said: dict[socket.socket, bytes] = {}
        while len(present) < count - 1 or selector.select(0):  # what has come may be that one has left again
            try:
                on_wait()
                if time.monotonic() > until:
                    raise errors.LostError(_missing(present, count, limit_s))
                for key, _ in selector.select(_POLL_S):
                    if key.fileobj is server:
                        connection = server.accept()[0]
                        said[connection] = b""
                        selector.register(connection, selectors.EVENT_READ)
                    else:
                        _hear(key.fileobj, selector, said, present, count, hello)
            except errors.AvcError as error:
                for connection in present.values():
                    _tell(connection, {"refused": str(error), "code": error.exit_code})
                raise
    for connection in present.values():
        _tell(connection, {"go": True})
    return Line(present)


def _listen(host: str, port: int, until: float, on_wait: Callable[[], None]) -> socket.socket:
    both = not bind_host(host) and socket.has_dualstack_ipv6()
    while True:
        on_wait()
        try:
            # Where a run was just ended, its port may take some seconds to come free.
            return socket.create_server((bind_host(host), port), family=socket.AF_INET6 if both else socket.AF_INET,
                                        dualstack_ipv6=both, backlog=1024)
        except OSError as error:
            if error.errno != errno.EADDRINUSE or time.monotonic() > until:
                raise errors.ConfigError(f"Roll call: process 0 cannot listen on port {port}: {error.strerror}. End what listens "
                                         "there, or name another port.") from error
            time.sleep(_POLL_S)


def _hear(connection, selector, said, present, count: int, hello: Message) -> None:
    """Takes what a process says, or closes the connection with what is none."""
    data = b""
    with contextlib.suppress(OSError):
        data = connection.recv(_HELLO_BYTES)
    said[connection] += data
    if data and b"\n" not in said[connection] and len(said[connection]) < _HELLO_BYTES:
        return
    found = _decode(said[connection])
    process = found.get("process")
    if not data or not isinstance(process, int):  # gone, also after its hello; or a stranger
        for number in [number for number, other in present.items() if other is connection]:
            del present[number]
    elif other := [name for name in hello if name not in ("process", "host") and hello[name] != found.get(name)]:
        present[process] = connection
        raise errors.ConfigError(
            f"Roll call: process {process} on {found.get('host')} was started otherwise than process 0 on {hello['host']}: "
            + "; ".join(f"{name} is {found.get(name)!r}, not {hello[name]!r}" for name in other[:5])
            + ". Start all processes by the same command, of the same version.")
    elif process in present or not 0 < process < count:
        _tell(connection, {"refused": f"Roll call: there is a process {process} of {count} already, and now another on "
                                      f"{found.get('host')}.", "code": errors.ConfigError.exit_code})
    else:
        present[process] = connection
        return
    selector.unregister(connection)
    connection.close()
    del said[connection]


def _missing(present, count: int, limit_s: float) -> str:
    missing = [number for number in range(1, count) if number not in present]
    names = ", ".join(map(str, missing[:20])) + (f" and {len(missing) - 20} more" if len(missing) > 20 else "")
    return (f"Roll call: missing after {limit_s:g} s (config.processes.roll_call_s): process {names} of {count}. Start all of "
            "them, with the same coordinator.")


def answer(host: str, port: int, hello: Message, limit_s: float, on_wait: Callable[[], None]) -> Line:
    """The other processes' part of the roll call: says hello to process 0 and waits until everybody has. As `gather`.

    Raises:
      LostError: process 0 is missing, or says who is.
      ConfigError: process 0 says that this process was started otherwise.
    """
    until, problem = time.monotonic() + limit_s, ""
    while True:
        on_wait()
        left = until - time.monotonic()
        if left < 0:
            raise errors.LostError(
                f"Roll call: missing after {limit_s:g} s (config.processes.roll_call_s): process 0, which is expected at "
                f"{host}:{port} ({problem}). Start it there, or name its address by --coordinator.")
        try:
            connection = socket.create_connection((host, port), timeout=min(5.0, max(left, 0.1)))
        except OSError as error:
            problem = error.strerror or str(error)
            time.sleep(_POLL_S)
            continue
        _tell(connection, hello)
        # Process 0 knows who is missing and says so when its own time is over, which may have begun later.
        found = _decode(_read_line(connection, time.monotonic() + limit_s + _SEND_S, on_wait))
        if found.get("go"):
            return Line({0: connection})
        connection.close()
        if "refused" in found:
            raise _refusal(found)
        problem = "what answers there is no process of this run"
        time.sleep(_POLL_S)


def _refusal(found: Message) -> errors.AvcError:
    lost = found.get("code") != errors.ConfigError.exit_code
    return errors.LostError(found["refused"]) if lost else errors.ConfigError(found["refused"])


def _read_line(connection: socket.socket, until: float, on_wait: Callable[[], None]) -> bytes:
    """What comes, up to a whole line, the end or the limit."""
    connection.settimeout(_POLL_S)
    data = b""
    while b"\n" not in data and len(data) < _HELLO_BYTES and time.monotonic() < until:
        on_wait()
        try:
            part = connection.recv(1)  # what follows the line is for others to read
        except TimeoutError:
            continue
        except OSError:
            break
        if not part:
            break
        data += part
    return data


def _shut(connection: socket.socket) -> None:
    """Ends a connection for both sides, and whoever reads from it notices."""
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)


def _tell(connection: socket.socket, message: Message) -> None:
    with contextlib.suppress(OSError):
        connection.sendall(_encode(message))


def _encode(message: Message) -> bytes:
    return json.dumps(message).encode() + b"\n"


def _decode(data: bytes) -> Message:
    """The first line; empty if it is none of ours."""
    try:
        found = json.loads(data.partition(b"\n")[0])
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
