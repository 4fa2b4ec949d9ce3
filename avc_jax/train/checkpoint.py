"""Checkpoints: Orbax writes them asynchronously, a digest beside each tells whether it is whole.

Orbax alone restores a flipped bit without a word and does not fall back from a damaged newest step, so every step gets
`digests/<step>.json` with the sha256 of each of its files, written after the commit. A step without a digest was not
finished; one that does not match is set aside in `damaged/`, never deleted.
"""

import hashlib
import json
import logging
import os
import shutil
from pathlib import Path

import jax
import orbax.checkpoint as ocp

from avc_jax import errors
from avc_jax.train.patterns import name_of
from avc_jax.train.state import State

logger = logging.getLogger(__name__)

_UNFINISHED = "it has no digest, so its saving was not finished"


class Checkpoints:
    """The checkpoints of one work directory."""

    def __init__(self, workdir: Path, *, keep: int = 3, read_only: bool = False):
        """
        Args:
          workdir: checkpoints go to `workdir/checkpoints/<step>`.
          keep: how many of the newest are kept.
          read_only: change nothing, so that a run that is under way is not disturbed.
        """
        self.folder = Path(workdir).absolute() / "checkpoints"
        self._digests, self._damaged = self.folder / "digests", self.folder / "damaged"
        self._keep, self._read_only = keep, read_only
        if not read_only:
            self._clean()
        self._manager = self._open()

    def _clean(self) -> None:
        """Makes the folders, and removes what saves that were killed left behind."""
        try:
            self._digests.mkdir(parents=True, exist_ok=True)
            for leftover in self.folder.glob("*orbax-checkpoint-tmp*"):
                shutil.rmtree(leftover)
        except OSError as error:
            raise errors.CannotWriteError(f"{self.folder} cannot be written: {error.strerror}.") from error

    def _open(self) -> ocp.CheckpointManager:
        options = ocp.CheckpointManagerOptions(
            max_to_keep=self._keep,
            read_only=self._read_only,
            async_options=ocp.options.AsyncOptions(post_finalization_callback=self._write_digests),
        )
        return ocp.CheckpointManager(self.folder, options=options, item_handlers=ocp.StandardCheckpointHandler())

    def steps(self) -> list[int]:
        """The committed steps, oldest first."""
        if not self.folder.is_dir():
            return []
        return sorted(int(path.name) for path in self.folder.iterdir() if path.name.isdigit())

    def save(self, state: State) -> None:
        """Starts to save; returns once the arrays are copied. Raises CannotWriteError if this or the last save failed."""
        step = int(state.step)
        if step in self.steps():
            return
        try:
            self._manager.save(step, args=ocp.args.StandardSave(state))
        except (OSError, ValueError, RuntimeError) as error:
            raise self._failed(error) from error

    def wait(self) -> None:
        """Waits for the save under way. Raises CannotWriteError if it failed."""
        try:
            self._manager.wait_until_finished()
            self._write_digests()
        except (OSError, ValueError, RuntimeError) as error:
            raise self._failed(error) from error

    def _failed(self, error: Exception) -> errors.CannotWriteError:
        return errors.CannotWriteError(f"A checkpoint cannot be written to {self.folder}: {error}. Earlier checkpoints are "
                                       "untouched; make room and run the same command to resume.")

    def close(self) -> None:
        self._manager.close()

    def restore_newest_valid(self, template: State) -> State | None:
        """The newest checkpoint whose files match their digests, or None if no checkpoint was ever finished.

        Newer steps that were not finished or are damaged are set aside, once there is one to go back to.

        Args:
          template: shapes, dtypes and shardings to restore to; any mesh will do.

        Raises:
          ConfigError: the arrays are of another model, or every checkpoint is damaged.
        """
        problems: dict[int, str] = {}
        for step in reversed(self.steps()):
            problem = self._problem(step)
            if problem is None:
                break
            problems[step] = problem
        else:
            # A kill during the first save of all leaves one step without a digest, and nothing is lost by starting over.
            if list(problems.values()) not in ([], [_UNFINISHED]):
                raise errors.ConfigError(f"No checkpoint in {self.folder} is whole. Tried "
                                         + "; ".join(f"step {bad}: {problem}" for bad, problem in problems.items())
                                         + ". Put a backup in place, or start again in a new workdir.")
            step = None
        for bad, problem in problems.items():
            logger.warning("Checkpoint %d is not used: %s.", bad, problem)
            if not self._read_only:
                self._set_aside(bad)
        if step is None:
            return None
        self._check_shapes(step, template)
        return self._manager.restore(step, args=ocp.args.StandardRestore(template))

    def _check_shapes(self, step: int, template: State) -> None:
        """Raises ConfigError with a table of the arrays that differ between checkpoint and template."""
        saved = {name_of(path): leaf.shape for path, leaf in
                 jax.tree_util.tree_leaves_with_path(self._manager.item_metadata(step).tree) if leaf is not None}
        wanted = {name_of(path): leaf.shape for path, leaf in
                  jax.tree_util.tree_leaves_with_path(template) if leaf is not None}
        lines = [f"  {name}: checkpoint {saved.get(name, 'has none')}, config {wanted.get(name, 'has none')}"
                 for name in sorted(saved.keys() | wanted.keys())
                 if tuple(saved.get(name, (-1,))) != tuple(wanted.get(name, (-1,)))]
        if lines:
            more = [f"  and {len(lines) - 10} more"] if len(lines) > 10 else []
            raise errors.ConfigError(f"Checkpoint {step} of {self.folder} is of another model:\n" + "\n".join(lines[:10] + more))

    def _write_digests(self) -> None:
        """Writes the digest of the step that was just committed; removes those of steps that are gone."""
        steps = self.steps()
        for step in steps[-1:]:
            path = self._digests / f"{step}.json"
            if not path.exists():
                temporary = path.with_suffix(".tmp")
                temporary.write_text(json.dumps(_digest(self.folder / str(step)), indent=1))
                os.replace(temporary, path)
        for path in self._digests.glob("*.json"):
            if int(path.stem) not in steps:
                path.unlink(missing_ok=True)

    def _problem(self, step: int) -> str | None:
        """What is wrong with a step, or None."""
        path = self._digests / f"{step}.json"
        if not path.exists():
            return _UNFINISHED
        try:
            expected = json.loads(path.read_text())
            found = _digest(self.folder / str(step))
        except (OSError, ValueError) as error:
            return f"it cannot be read: {error}"
        if not isinstance(expected, dict):
            return "its digest is damaged"
        for name in sorted(expected.keys() | found.keys()):
            if name not in found:
                return f"{name} is missing"
            if expected.get(name) != found[name]:
                return f"{name} is damaged, its sha256 is not the one it was written with"
        return None

    def _set_aside(self, step: int) -> None:
        self._damaged.mkdir(exist_ok=True)
        target, number = self._damaged / str(step), 0
        while target.exists():  # the same step, saved anew since and damaged again
            number += 1
            target = self._damaged / f"{step}.{number}"
        os.replace(self.folder / str(step), target)
        (self._digests / f"{step}.json").unlink(missing_ok=True)
        self._manager.close()
        self._manager = self._open()


def _digest(folder: Path) -> dict[str, str]:
    """Relative path -> sha256 of every file below a folder."""
    digests = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        with open(path, "rb") as file:
            digests[path.relative_to(folder).as_posix()] = hashlib.file_digest(file, "sha256").hexdigest()
    return digests
