"""A second place for the state, on a disk of this machine, for when the work directory cannot be written."""

import contextlib
import logging
import shutil
from pathlib import Path

import jax

from avc_jax import errors
from avc_jax.train.checkpoint import Checkpoints
from avc_jax.train.state import State

logger = logging.getLogger(__name__)


class Emergency:
    """One checkpoint of a run, with its digest, below config.train.emergency_folder, if the config names one.

    Only where one process holds the whole state: a disk of one machine is of no use to the others.
    """

    def __init__(self, folder: str, run_id: str):
        """
        Args:
          folder: config.train.emergency_folder; empty: there is no second place.
          run_id: tells the copies of several runs apart, also of runs in a work directory that was removed and made anew.

        Raises:
          CannotWriteError: the folder cannot be made.
        """
        self._folder = Path(folder).absolute() / f"avc_jax-{run_id}" if folder and jax.process_count() == 1 else None
        if self._folder is not None:
            try:
                self._folder.parent.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise errors.CannotWriteError(f"config.train.emergency_folder={folder} cannot be made: {error.strerror}."
                                              ) from error

    def __bool__(self) -> bool:
        return self._folder is not None

    def save(self, state: State, error: errors.CannotWriteError) -> errors.CannotWriteError:
        """Saves what cannot be saved in the work directory, and returns the error with what became of that."""
        if self._folder is None:
            return error
        try:
            with contextlib.closing(Checkpoints(self._folder, keep=1)) as checkpoints:
                checkpoints.finish(state, patient=False)
        except errors.AvcError as second:
            return errors.CannotWriteError(f"{error} Nor is there an emergency copy: {second}")
        return errors.CannotWriteError(f"{error} Step {int(state.step)} is kept in {self._folder}; on this machine, the same "
                                       "command resumes from it.")

    def restore_newer(self, than: State | None, template: State) -> State | None:
        """The copy, if there is a valid one of a later step than that of another state."""
        if self._folder is None or not self._folder.is_dir():
            return None
        with contextlib.closing(Checkpoints(self._folder, keep=1)) as checkpoints:
            if max(checkpoints.steps(), default=-1) <= (-1 if than is None else int(than.step)):
                return None
            try:
                return checkpoints.restore_newest_valid(template)
            except errors.ConfigError as error:
                logger.warning("The emergency copy is not used. %s", error)
                return None

    def remove(self) -> None:
        """Removes the copy, once the work directory holds what is newer."""
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)


def restore_newest(checkpoints: Checkpoints, emergency: Emergency, template: State) -> State | None:
    """The newest valid state of both places; None if no save was ever finished.

    Raises:
      ConfigError: there are checkpoints, but none is whole and of this model.
    """
    refusal, state = None, None
    try:
        state = checkpoints.restore_newest_valid(template)
    except errors.ConfigError as error:
        refusal = error
    newer = emergency.restore_newer(state, template)
    if newer is None and refusal is not None:
        raise refusal
    return state if newer is None else newer
