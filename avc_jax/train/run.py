"""The parts of a run, put together from its config."""

import contextlib
import dataclasses
import functools
import hashlib
import logging
import os
import socket
from pathlib import Path
from typing import TYPE_CHECKING

import jax
import numpy as np
from jax.experimental import multihost_utils

from avc_jax import errors
from avc_jax.data import presence, sources
from avc_jax.data.moments import make_format
from avc_jax.data.quarantine import Quarantine
from avc_jax.evaluators import avc
from avc_jax.parallel import mesh as meshes
from avc_jax.train import initial
from avc_jax.train import optimizer as optimizers
from avc_jax.train.checkpoint import Checkpoints
from avc_jax.train.emergency import Emergency
from avc_jax.train.goodput import Goodput
from avc_jax.train.guard import Guard
from avc_jax.train.program import Program
from avc_jax.train.progress import Progress
from avc_jax.train.state import State
from avc_jax.train.workdir import Workdir

if TYPE_CHECKING:
    from avc_jax.train.analyses import Analyses

logger = logging.getLogger(__name__)


class Run:
    """Config, work directory, devices, data, system and checkpoints, in the order in which they depend on each other."""

    def __init__(self, config, workdir: Workdir, source: sources.Source, guard: Guard, command: str):
        """
        Args:
          config: checked.
          workdir: open, and claimed if this run is to train.
          source: every clip.
          guard: entered.
          command: what the user typed, for the report.

        Raises:
          AvcError: something is wrong with devices, data or work directory; nothing has been changed.
        """
        self.config, self.workdir, self.source, self.guard, self.command = config, workdir, source, guard, command
        self.mesh = meshes.make_mesh(config.mesh.data, config.mesh.fsdp, tensor=config.mesh.tensor)
        if config.train.compilation_cache:
            _keep_compiled_programs()
        _check_shared(workdir)
        self.is_first = guard.peers.process == 0  # who alone writes, but for the arrays of checkpoints, and speaks
        self.quarantine = Quarantine(workdir.path / "quarantine.jsonl" if self.is_first else None, self.source.num_files,
                                     config.data.quarantine_budget, tell=None if self.is_first else guard.peers.tell_bad)
        guard.peers.on_bad = self.quarantine.hear
        presence.while_waiting(guard.show_life)
        self.form = make_format(config)
        self.program = Program(config, self.mesh)
        self.system, self.objective, self.optimizer = self.program.system, self.program.objective, self.program.optimizer
        self.schedule = optimizers.make_schedule(config)
        self.shardings, self.template = self.program.shardings, self.program.template
        initial.check_patterns(config, {"params": self.template.params, **self.template.collections})
        self._draw_state = jax.jit(self.program.init, out_shardings=self.shardings)
        self.progress = Progress(config.train.steps, config.train.batch_size * (2 if config.data.pairing == "shared" else 1),
                                 silent=not self.is_first)
        self.checkpoints = Checkpoints(workdir.path, keep=config.train.keep_checkpoints, on_wait=guard.show_life)
        self.emergency = Emergency(config.train.emergency_folder, workdir.run_id)
        self.goodput = Goodput(workdir.path / "goodput.jsonl" if self.is_first else None)

    def close(self) -> None:
        self.checkpoints.close()

    def initial_state(self) -> State:
        """The state before the first step: as the system draws it, or from config.train.init_from, which is read once.

        Raises:
          ConfigError, MissingInputError: the checkpoint does not fit or is not there.
        """
        if not self.config.train.init_from:
            return self._draw_state()
        with contextlib.closing(initial.kept(self.workdir.path)) as kept:
            state = kept.restore_newest_valid(self.template)
            if state is None:
                state, facts = initial.start(self.config, self._draw_state())
                state = jax.device_put(state, self.shardings)
                kept.finish(state)
                self.workdir.update_results(init=facts)
                for line in initial.in_words(facts):
                    self.progress.say(line)
        return state

    def announce(self) -> None:
        """Says what is about to be trained, on what.

        Raises:
          ConfigError: the batch does not fit the devices.
        """
        config = self.config
        meshes.check_train_batch(config, self.mesh, jax.process_count())
        devices = self.mesh.devices.reshape(-1)
        parameters = sum(leaf.size for leaf in jax.tree.leaves(self.template.params))
        shared = f" of {jax.process_count()} processes" if jax.process_count() > 1 else ""
        self.progress.say(f"{config.system.name}: {parameters:,} parameters on {devices.size} x {devices[0].device_kind}"
                          f"{shared}, mesh {dict(self.mesh.shape)}.")
        trained_on = f"training on {config.data.split}" if config.train.steps else "no training"
        self.progress.say(f"{self.source.root}: {len(self.source.clips)} clips, {self.source.count_splits()}; {trained_on}.")
        for note in self.source.notes:
            self.progress.say(note)
        if self.no_pairs and config.evaluators.avc != "off":
            self.progress.say(f"No avc: {self.no_pairs}.")
        self.analyses.announce()

    @functools.cached_property
    def heldout(self) -> sources.Source:
        """The clips that evaluation scores."""
        return self.source.select(self.config.data.evaluate_split, beside=self.config.data.split)

    @functools.cached_property
    def trained_on(self) -> sources.Source:
        """The clips of config.data.split; none where a checkpoint is evaluated on other clips, which lack that split."""
        split = self.config.data.split
        if split in ("all", *self.source.count_splits()):
            return self.source.select(split)
        return dataclasses.replace(self.source, clips=())

    @functools.cached_property
    def analyses(self) -> "Analyses":
        """What is asked of the network besides the correspondence of pairs."""
        from avc_jax.train.analyses import Analyses

        return Analyses(self)

    @functools.cached_property
    def no_pairs(self) -> str | None:
        """Why no pairs can be scored, or None; see `avc.missing`."""
        return avc.missing(self.system, self.heldout, self.config)

    @functools.cached_property
    def evaluator(self) -> avc.AVC | None:
        """None where it is off, or there is nothing to ask."""
        if self.config.evaluators.avc == "off" or self.no_pairs:
            return None
        return avc.AVC(self.system, self.config, self.heldout, self.mesh, self.quarantine)


def _check_shared(workdir: Workdir) -> None:
    """Raises ConfigError in a process whose work directory is of another run than that of process 0."""
    own = np.frombuffer(hashlib.sha256(workdir.run_id.encode()).digest(), np.uint8)
    if not np.array_equal(multihost_utils.broadcast_one_to_all(own), own):
        raise errors.ConfigError(f"--workdir={workdir.path} is not the same folder on {socket.gethostname()} as for process 0: "
                                 "name one on storage that all machines share.")


def _keep_compiled_programs() -> None:
    """Points JAX's compilation cache at a folder of the user's, unless the environment named one already."""
    if jax.config.jax_compilation_cache_dir:
        return
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "avc_jax" / "compiled"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        logger.warning("Compiled programs are not kept: %s: %s.", folder, error.strerror)
        return
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 1.0)
