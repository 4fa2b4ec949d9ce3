"""The work directory: made, claimed by one run, checked to belong to this config; and the files of what it concluded."""

import errno
import fcntl
import json
import logging
import os
import secrets
import socket
import time
from pathlib import Path
from typing import Any

from avc_jax import config as configs
from avc_jax import errors

# What a checkpoint's network was shaped and fed by: evaluation may change the rest, but not these.
_NETWORK_SECTIONS = ("config.system.", "config.audio.", "config.data.frame", "config.data.window")


_SHOWN_S = 60.0  # A network file system may show a new file to other machines only after a while.
_HELD_S = 300.0  # The server of one may keep the lock of a machine that died for a while.
_POLL_S = 1.0

logger = logging.getLogger(__name__)


class Workdir:
    """One run's folder. Holds a lock while open, so that two runs cannot write into each other."""

    def __init__(self, path: str, *, flag: str = "--workdir", owned: bool = True):
        """
        Args:
          path: of the folder, made if it does not exist.
          flag: what the user calls it.
          owned: whether this is the process of its run that takes the lock and writes; in others, `write` does nothing.

        Raises:
          CannotWriteError: the folder cannot be made, written or locked.
          ConfigError: no folder was named, or another run of this machine is writing to it.
          Stopped: one of another machine is, and was for minutes; it may be a node that died, so trying again can help.
        """
        if not path:
            raise errors.ConfigError(f"{flag} is missing: name a folder to write to.")
        self.path, self._flag, self._owned = Path(path).absolute(), flag, owned
        if owned:
            self._take()

    def _take(self) -> None:
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._lock = open(self.path / "lock", "a+")  # noqa: SIM115, held until close
        except OSError as error:
            raise self._unwritable(error) from error
        until, told = time.monotonic() + _HELD_S, ""
        while not self._is_locked():
            process, host, machine = self._owner()
            used = f"{self._flag}={self.path} is in use by another run (process {process}"
            if machine == _machine():
                raise errors.ConfigError(f"{used}); wait for it or name another folder.")
            if time.monotonic() > until:
                raise errors.Stopped(f"{used} on {host}), for {_HELD_S:g} s already. Wait for it or name another folder; if that "
                                     "machine has died, its lock will end, and the same command goes on.")
            if told != machine:
                told = machine
                logger.warning("%s on %s). Waiting up to %.0f s, as that machine may have died.", used, host, _HELD_S)
            time.sleep(_POLL_S)
        try:
            self._lock.truncate(0)
            self._lock.write(f"{os.getpid()} {socket.gethostname()} {_machine()}")
            self._lock.flush()
        except OSError as error:
            raise self._unwritable(error) from error

    def _is_locked(self) -> bool:
        """Tries to take the lock."""
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
                return False
            raise errors.CannotWriteError(f"{self._flag}={self.path} cannot be locked ({error.strerror}), so two runs could "
                                          "write into each other. Name a folder on a file system with locks.") from error
        return True

    def _owner(self) -> tuple[str, str, str]:
        """Process, host and machine that hold the lock; this machine where it does not say."""
        self._lock.seek(0)
        said = self._lock.read().split()
        return said[0] if said else "unknown", *(said[1:3] if len(said) == 3 else (socket.gethostname(), _machine()))

    def _unwritable(self, error: OSError) -> errors.CannotWriteError:
        return errors.CannotWriteError(f"{self._flag}={self.path} cannot be written: {error.strerror}.")

    def close(self) -> None:
        if self._owned:
            self._lock.close()

    def claim(self, config, clips_sha256: str) -> None:
        """Records config and clips of a new run, or checks that they are those of the run that is resumed. Once the owner has
        done so, the other processes of a run check that they see the same.

        Raises:
          ConfigError: with a line for each key that may not change and did.
        """
        if not self._owned:
            self._wait_for_claim()
        old, data = self.read("config.json"), self.read("data.json")
        lines = configs.differences(old, config) if old else []
        if data and data.get("clips_sha256") != clips_sha256:
            lines.append("the videos: files or splits were added, removed or renamed since the run began" if self._owned else
                         f"the videos: {socket.gethostname()} has others than process 0")
        if lines:
            raise errors.ConfigError(f"--workdir={self.path} belongs to a run with another config:\n  " + "\n  ".join(lines)
                                     + "\nName a new workdir, or put these back to resume.")
        self.write("config.json", configs.to_dict(config))
        self.write("data.json", {"clips_sha256": clips_sha256, "run": data.get("run") or secrets.token_hex(8)})

    @property
    def run_id(self) -> str:
        """Random, given when the folder was first claimed; empty before that."""
        return self.read("data.json").get("run", "")

    def _wait_for_claim(self) -> None:
        """Raises ConfigError if this folder is not the one that the owner has claimed."""
        until = time.monotonic() + _SHOWN_S
        while not (self.path / "data.json").exists():
            if time.monotonic() > until:
                raise errors.ConfigError(f"--workdir={self.path} is not the same folder on {socket.gethostname()} as for process "
                                         "0: name one on storage that all machines share.")
            time.sleep(0.1)

    def check_network(self, config) -> None:
        """Raises ConfigError unless the config describes the network that this folder's checkpoints are of."""
        lines = [line for line in configs.differences(self.read("config.json"), config)
                 if line.startswith(_NETWORK_SECTIONS)]
        if lines:
            raise errors.ConfigError(f"The checkpoints of --workdir={self.path} are of another network:\n  " + "\n  ".join(lines))

    def read(self, name: str) -> dict[str, Any]:
        """A JSON file of the folder; empty if it is not there.

        Raises:
          ConfigError: it is damaged.
        """
        return read_json(self.path / name)

    def write(self, name: str, content: dict[str, Any]) -> None:
        """Writes a JSON file so that a reader sees the old or the new one, never half of it; only the owner does."""
        if not self._owned:
            return
        temporary = self.path / f".{name}.tmp"
        try:
            temporary.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n")
            os.replace(temporary, self.path / name)
        except OSError as error:
            raise errors.CannotWriteError(f"{self.path / name} cannot be written: {error.strerror}.") from error

    def update_results(self, **sections: Any) -> None:
        """Replaces sections of results.json and keeps the others."""
        self.write("results.json", self.read("results.json") | sections)

    def update_evaluation(self, name: str, result: dict[str, Any]) -> None:
        """Replaces the results of one evaluator in results.json and keeps those of the others."""
        self.update_results(evaluate=self.read("results.json").get("evaluate", {}) | {name: result})


def _machine() -> str:
    """Tells whose locks end with their processes here. A host's name is not enough: a pod keeps its name on another machine."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return socket.gethostname()


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file; empty if there is no file.

    Raises:
      ConfigError: the file is no JSON object.
    """
    try:
        found = json.loads(path.read_text())
        if not isinstance(found, dict):
            raise ValueError(f"found a {type(found).__name__}, expected an object")
        return found
    except FileNotFoundError:
        return {}
    except (ValueError, RecursionError) as error:
        raise errors.ConfigError(f"{path} is damaged ({error}); remove it or name a new workdir.") from error
