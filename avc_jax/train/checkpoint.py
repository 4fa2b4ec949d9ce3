"""Checkpoints: Orbax writes them asynchronously, a digest beside each tells whether it is whole.

Orbax alone restores a flipped bit without a word, tells of a failed save only when it is asked to wait, and leaves the remains of
failed and killed saves. So every step gets `digests/<step>.json` with the sha256 of each of its files, written after the
commit, and older steps go only then. A step without a digest was not finished; one that does not match is set aside in
`damaged/`, never deleted. A save that failed is noticed at the next step, and tried again a few times.
"""

import concurrent.futures
import contextlib
import hashlib
import json
import logging
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np
import orbax.checkpoint as ocp
from jax.experimental import multihost_utils

from avc_jax import errors
from avc_jax.train import state as states
from avc_jax.train.patterns import name_of
from avc_jax.train.state import State

logger = logging.getLogger(__name__)

_UNFINISHED = "it has no digest, so its saving was not finished"
_FAILURES = (OSError, ValueError, RuntimeError)  # what Orbax and TensorStore raise where a disk is full, gone or read-only
_PAUSES_S = (1.0, 3.0, 9.0)  # before the second, third and fourth attempt to save; together within the grace of a preemption
_PATIENCE_S = 10.0  # what is waited for longer is said
_LIMIT_S = 3600  # a save that takes longer has failed
_NONE, _REFUSED = -1, -2


class Checkpoints:
    """The checkpoints of one work directory."""

    def __init__(self, workdir: Path, *, keep: int = 3, read_only: bool = False, on_wait: Callable[[], None] = lambda: None):
        """
        Args:
          workdir: checkpoints go to `workdir/checkpoints/<step>`.
          keep: how many of the newest are kept.
          read_only: change nothing, so that a run that is under way is not disturbed.
          on_wait: called now and then while a save is waited for, as long as it may still succeed.

        Raises:
          CannotWriteError: the folder cannot be made.
        """
        self.folder = Path(workdir).absolute() / "checkpoints"
        self._digests, self._damaged = self.folder / "digests", self.folder / "damaged"
        self._keep, self._read_only, self._on_wait = keep, read_only, on_wait
        if not read_only and jax.process_index() == 0:
            try:
                self._digests.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise errors.CannotWriteError(f"{self.folder} cannot be written: {error.strerror}.") from error
            self._remove_remains()
        # Where a folder cannot be made by a thread, the others wait minutes for it.
        options = ocp.options.AsyncOptions(timeout_secs=_LIMIT_S, create_directories_asynchronously=False)
        self._saver = ocp.AsyncCheckpointer(ocp.CompositeCheckpointHandler(), async_options=options)
        self._thread = concurrent.futures.ThreadPoolExecutor(1, "checkpoint")
        self._under_way: tuple[int, concurrent.futures.Future] | None = None
        # Kept in memory, so that all processes skip or take part in the same saves.
        self._finished = {step for step in self.steps() if self._digest_path(step).exists()}
        self._failures, self._retry_at = 0, 0.0
        self._told_slow = False

    def _remove_remains(self) -> None:
        """Removes what saves that failed or were killed left behind; what cannot be removed goes another time."""
        for remains in (*self.folder.glob("*orbax-checkpoint-tmp*"), *self._digests.glob("*.tmp")):
            with contextlib.suppress(OSError):
                shutil.rmtree(remains) if remains.is_dir() else remains.unlink()

    def steps(self) -> list[int]:
        """The committed steps, oldest first."""
        if not self.folder.is_dir():
            return []
        return sorted(int(path.name) for path in self.folder.iterdir() if path.name.isdigit())

    def save(self, state: State) -> None:
        """Starts to save a state that is not saved yet, and returns once its arrays are copied. Waits for the save before.

        Raises:
          CannotWriteError: this or the save before failed, and too many did in a row; see `must_retry`.
          DivergedError: the state is not finite.
        """
        step = int(state.step)
        self._settle()
        if step in self._finished:
            self._failures = 0
            return
        if not states.is_finite(state):
            raise errors.DivergedError(f"Parameters or statistics are not finite after step {step}, so they are not saved. "
                                       "Lower config.optimizer.lr or set config.optimizer.clip_norm; the last checkpoint is from "
                                       "before.")
        if self._failures:
            self._remove_remains()  # also what Orbax went on to write after it had failed
        try:
            self._saver.save(self.folder / str(step), args=ocp.args.Composite(default=ocp.args.StandardSave(state)), force=True)
            self._under_way = step, self._thread.submit(self._complete, step)
        except _FAILURES as error:
            self._failed(error)

    def must_retry(self) -> bool:
        """Whether the last save failed, and it is time to try again. Costs nothing: asked after every step, it notices soon.

        Raises:
          CannotWriteError: too many saves failed in a row.
        """
        if self._under_way is not None and self._under_way[1].done():
            self._settle()
        return self._under_way is None and self._failures > 0 and time.monotonic() >= self._retry_at

    def finish(self, state: State, *, patient: bool = True) -> None:
        """Saves a state and returns when it is on the disk.

        Args:
          state: what to save; nothing is done if it is saved already.
          patient: whether to try again where it fails.

        Raises:
          CannotWriteError: it cannot be saved.
        """
        self._settle()
        if not patient:
            self._failures = len(_PAUSES_S)  # the next is one too many
        self.save(state)
        self._settle()
        while self._failures:
            time.sleep(max(0.0, self._retry_at - time.monotonic()))
            self.save(state)
            self._settle()

    def _settle(self) -> None:
        """Waits for the save under way and notes what became of it."""
        if self._under_way is None:
            return
        (step, under_way), self._under_way = self._under_way, None
        until = time.monotonic() + _LIMIT_S
        while time.monotonic() < until and not concurrent.futures.wait([under_way], timeout=_PATIENCE_S).done:
            if not self._told_slow:
                self._told_slow = True
                logger.warning("Waiting for a checkpoint: %s is slow. A larger config.train.checkpoint_every waits less often.",
                               self.folder)
            self._on_wait()
        try:
            under_way.result()
            self._failures = 0
            self._finished.add(step)
        except _FAILURES as error:
            self._failed(error)

    def _failed(self, error: Exception) -> None:
        """Counts a failed save; raises CannotWriteError after too many, or where other processes know nothing of it."""
        self._remove_remains()
        self._failures += 1
        said = f"A checkpoint cannot be written to {self.folder}: {' '.join(str(error).split())[:300]}."
        if self._failures > len(_PAUSES_S) or jax.process_count() > 1:
            raise errors.CannotWriteError(f"{said} Earlier checkpoints are untouched; make room, or the folder writable, and "
                                          "run the same command to resume.") from error
        pause_s = _PAUSES_S[self._failures - 1]
        self._retry_at = time.monotonic() + pause_s
        logger.warning("%s Trying again in %.0f s.", said, pause_s)

    def _complete(self, step: int) -> None:
        """In a thread: waits for Orbax to commit a step, writes its digest, and removes the steps that are not kept."""
        self._saver.wait_until_finished()
        if jax.process_index() == 0:
            self._write_digest(step)
            self._prune()

    def _write_digest(self, step: int) -> None:
        path = self._digest_path(step)
        temporary = path.with_suffix(".tmp")
        temporary.write_text(json.dumps(_digest(self.folder / str(step)), indent=1))
        os.replace(temporary, path)

    def _prune(self) -> None:
        """Removes what is older than the newest `keep` finished steps, and digests of steps that are gone."""
        steps = self.steps()
        finished = [step for step in steps if self._digest_path(step).exists()]
        old = [step for step in steps if step < finished[-self._keep:][0]]
        try:
            for step in old:
                self._digest_path(step).unlink(missing_ok=True)  # first: without it, half a step is no checkpoint
                shutil.rmtree(self.folder / str(step))
            for path in self._digests.glob("*.json"):
                if int(path.stem) not in steps:
                    path.unlink(missing_ok=True)
        except OSError as error:  # the new one is saved, whatever becomes of these
            logger.warning("A checkpoint that is not kept cannot be removed: %s.", error)

    def _digest_path(self, step: int) -> Path:
        return self._digests / f"{step}.json"

    def close(self) -> None:
        """Lets the save under way come to its end; whoever needs to know how calls `finish` first."""
        self._thread.shutdown()
        with contextlib.suppress(*_FAILURES):
            self._saver.close()

    def restore_newest_valid(self, template: State) -> State | None:
        """The newest checkpoint whose files match their digests, or None if no checkpoint was ever finished.

        Newer steps that were not finished or are damaged are set aside, once there is one to go back to.

        Args:
          template: shapes, dtypes and shardings to restore to; any mesh will do.

        Raises:
          ConfigError: the arrays are of another model, or every checkpoint is damaged.
        """
        step = self.newest_valid()
        if step is None:
            return None
        self._check_shapes(step, template)
        args = ocp.args.Composite(default=ocp.args.StandardRestore(template))
        return self._saver.restore(self.folder / str(step), args=args)["default"]

    def newest_valid(self) -> int | None:
        """The step that `restore_newest_valid` restores. Process 0 decides for all, so that all take the same."""
        step, refusal = _NONE, None
        if jax.process_index() == 0:
            try:
                step = self._choose()
            except errors.ConfigError as error:
                step, refusal = _REFUSED, error
        step = int(multihost_utils.broadcast_one_to_all(np.int32(step)))
        self._finished = {finished for finished in self._finished if finished <= step}
        if step == _REFUSED:
            raise refusal or errors.ConfigError(f"No checkpoint in {self.folder} is whole; process 0 says more.")
        return None if step == _NONE else step

    def _choose(self) -> int:
        """The newest valid step, or _NONE; sets aside what is newer."""
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
            step = _NONE
        for bad, problem in problems.items():
            logger.warning("Checkpoint %d is not used: %s.", bad, problem)
            if not self._read_only:
                self._set_aside(bad)
        return step

    def _check_shapes(self, step: int, template: State) -> None:
        """Raises ConfigError with a table of the arrays that differ between checkpoint and template."""
        metadata = ocp.StandardCheckpointHandler().metadata(self.folder / str(step) / "default")
        saved = {name_of(path): leaf.shape for path, leaf in
                 jax.tree_util.tree_leaves_with_path(metadata.tree) if leaf is not None}
        wanted = {name_of(path): leaf.shape for path, leaf in
                  jax.tree_util.tree_leaves_with_path(template) if leaf is not None}
        lines = [f"  {name}: checkpoint {saved.get(name, 'has none')}, config {wanted.get(name, 'has none')}"
                 for name in sorted(saved.keys() | wanted.keys())
                 if tuple(saved.get(name, (-1,))) != tuple(wanted.get(name, (-1,)))]
        if lines:
            more = [f"  and {len(lines) - 10} more"] if len(lines) > 10 else []
            raise errors.ConfigError(f"Checkpoint {step} of {self.folder} is of another model:\n" + "\n".join(lines[:10] + more))

    def _problem(self, step: int) -> str | None:
        """What is wrong with a step, or None."""
        path = self._digest_path(step)
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
        self._digest_path(step).unlink(missing_ok=True)


def _digest(folder: Path) -> dict[str, str]:
    """Relative path -> sha256 of every file below a folder."""
    digests = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        with open(path, "rb") as file:
            digests[path.relative_to(folder).as_posix()] = hashlib.file_digest(file, "sha256").hexdigest()
    return digests
