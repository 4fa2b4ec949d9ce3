"""Commands that are several processes."""

import contextlib
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path

from faults.process import LIMIT_S, Command, Ended


def free_address() -> str:
    """A HOST:PORT of this machine where nothing listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return f"127.0.0.1:{server.getsockname()[1]}"


@contextlib.contextmanager
def started(cache: Path, count: int, *args: str, devices: int = 1, inject: Mapping[int, tuple[str, ...]] | None = None,
            environment: Mapping[str, str] | None = None, **options) -> Iterator[list[Command]]:
    """A command as `count` processes that find each other by flags; killed at the end, whatever happened.

    Args:
      cache, args: see `Command`.
      count: processes.
      devices: forced devices of each.
      inject: number of a process -> what happens in it, see inject.py.
      environment: more variables.
      options: more for `Command`.
    """
    variables = {"XLA_FLAGS": f"--xla_backend_optimization_level=1 --xla_force_host_platform_device_count={devices}"}
    shared = (f"--coordinator={free_address()}", f"--num_processes={count}")
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(Command(
            cache, *args, *((*shared, f"--process={process}") if count > 1 else ()), inject=(inject or {}).get(process, ()),
            environment=variables | dict(environment or {}), **options)) for process in range(count)]


def ends(running: list[Command], limit_s: float = LIMIT_S) -> list[Ended]:
    """Waits for the ends of all."""
    return [command.end(limit_s) for command in running]


def run(cache: Path, count: int, *args: str, expect: int = 0, **options) -> list[Ended]:
    """Runs a command as several processes to their ends; fails with what they printed if an exit code is not the expected one."""
    with started(cache, count, *args, **options) as running:
        found = ends(running)
    assert {ended.code for ended in found} == {expect}, said(found)
    return found


def said(found: list[Ended]) -> str:
    return "\n".join(f"process {number}, exit code {ended.code}:\n{ended.printed}" for number, ended in enumerate(found))
