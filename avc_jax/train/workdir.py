"""The work directory: made, claimed by one run, checked to belong to this config; and the files of what it concluded."""

import fcntl
import json
import os
import socket
import time
from pathlib import Path
from typing import Any

from avc_jax import config as configs
from avc_jax import errors

# What a checkpoint's network was shaped and fed by: evaluation may change the rest, but not these.
_NETWORK_SECTIONS = ("config.system.", "config.audio.", "config.data.frame", "config.data.window")


_SHOWN_S = 60.0  # A network file system may show a new file to other machines only after a while.


class Workdir:
    """One run's folder. Holds a lock while open, so that two runs cannot write into each other."""

    def __init__(self, path: str, *, flag: str = "--workdir", owned: bool = True):
        """
        Args:
          path: of the folder, made if it does not exist.
          flag: what the user calls it.
          owned: whether this is the process of its run that takes the lock and writes; in others, `write` does nothing.

        Raises:
          CannotWriteError: the folder cannot be made or written.
          ConfigError: no folder was named, or another run is writing to it.
        """
        if not path:
            raise errors.ConfigError(f"{flag} is missing: name a folder to write to.")
        self.path, self._owned = Path(path).absolute(), owned
        if owned:
            self._take(path, flag)

    def _take(self, path: str, flag: str) -> None:
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._lock = open(self.path / "lock", "a+")  # noqa: SIM115, held until close
        except OSError as error:
            raise errors.CannotWriteError(f"{flag}={path} cannot be written: {error.strerror}.") from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self._lock.seek(0)
            owner = self._lock.read().strip() or "unknown"
            raise errors.ConfigError(f"{flag}={path} is in use by another run (process {owner}); wait for it or name "
                                     "another folder.") from error
        self._lock.truncate(0)
        self._lock.write(str(os.getpid()))
        self._lock.flush()

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
        self.write("data.json", {"clips_sha256": clips_sha256})

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


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file; empty if there is no file.

    Raises:
      ConfigError: the file is not JSON.
    """
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise errors.ConfigError(f"{path} is damaged ({error}); remove it or name a new workdir.") from error
