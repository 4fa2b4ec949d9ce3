"""The command: trains a system, evaluates a checkpoint, or plans a run on accelerators that are not here.

    python -m avc_jax.main --config=configs/flickr.py --workdir=runs/flickr --config.data.root=/videos
    python -m avc_jax.main --config=configs/flickr.py --workdir=runs/flickr --config.data.root=/videos --mode=evaluate
    python -m avc_jax.main --config=configs/flickr.py --mode=plan --topology=v5e:16x16

Several processes train as one: --processes=8 runs them on this machine; a JobSet, Slurm, MPI and TPU VMs are recognised.

Exit codes: 0 done; 64 bad flag, config or incompatible checkpoint; 65 bad data; 66 missing input; 70 diverged or
internal error; 74 cannot write; 75 stopped, the same command resumes; 134 stuck, or a process is missing: start again.
"""

import contextlib
import os
import shlex
import sys

from absl import flags

from avc_jax import command, errors
from avc_jax import config as configs
from avc_jax.parallel import init, local
from avc_jax.parallel.plan import command as plan
from avc_jax.train.guard import Guard
from avc_jax.train.watchdog import Watchdog

_CONFIG = configs.define_flag()
_WORKDIR = flags.DEFINE_string("workdir", "", "Folder for checkpoints, metrics, results and the report.")
_MODE = flags.DEFINE_enum("mode", "train", ["train", "evaluate", "plan"],
                          "train: train, or resume. evaluate: score the newest checkpoint of the workdir. plan: what the run "
                          "would need and take on --topology (docs/plan.md).")

_PROCESSES = flags.DEFINE_integer("processes", 1, "Run so many processes on this machine, which share its GPUs.", lower_bound=1)
_COORDINATOR = flags.DEFINE_string("coordinator", "", "HOST:PORT of process 0, where it is not found.")
_PROCESS = flags.DEFINE_integer("process", -1, "Number of this process, where it is not found.")
_NUM_PROCESSES = flags.DEFINE_integer("num_processes", 0, "Processes of the run, where that is not found.")


def main(argv: list[str]) -> int:
    """Runs the command and returns its exit code; what went wrong is said on stderr. See `end`."""
    return command.run(lambda: _run(argv))


def _run(argv: list[str]) -> int:
    if command.show_help(argv, __name__):
        return 0
    with Guard() as guard:
        guard.nothing_to_lose = True
        return _run_guarded(argv, guard)


def _run_guarded(argv: list[str], guard: Guard) -> int:
    config = configs.parse_flags(argv, _CONFIG)
    if _MODE.value == "plan":
        plan.run(config)
        return 0
    if _MODE.value == "evaluate" and not os.path.isdir(_WORKDIR.value):
        raise errors.MissingInputError(f"--workdir={_WORKDIR.value}: there is no such folder, so nothing to evaluate.")
    if _PROCESSES.value > 1:
        guard.nothing_to_lose = False  # the processes themselves know
        return local.run([sys.executable, "-m", "avc_jax.main", *argv[1:], "--processes=1"], _PROCESSES.value, guard)
    place = init.find(os.environ, coordinator=_COORDINATOR.value, process=_PROCESS.value, count=_NUM_PROCESSES.value)
    peers = init.start(place, config, guard)
    with peers.together(), Watchdog(guard, config.train.watchdog_s):
        _open(argv, config, guard)
    return 0


def _open(argv: list[str], config, guard: Guard) -> None:
    # What follows imports JAX's checkpoints and TensorFlow, which take seconds: whatever can be told without is told first.
    from avc_jax.data import sources
    from avc_jax.train.workdir import Workdir

    peers = guard.peers
    with contextlib.ExitStack() as stack:
        with peers.one_before_the_others():  # it takes the folder, and may render clips
            workdir = stack.enter_context(contextlib.closing(Workdir(_WORKDIR.value, owned=peers.process == 0)))
            source = sources.open_source(config)
            if _MODE.value == "train":
                if config.train.steps:
                    source.select(config.data.split)
                workdir.claim(config, source.sha256())
        guard.raise_if_stopped()
        _train_or_evaluate(config, workdir, source, guard, _typed(argv))


def _typed(argv: list[str]) -> str:
    """The command, without what only says which of its processes this is."""
    own = tuple(f"--{name}=" for name in ("processes", "coordinator", "process", "num_processes"))
    return shlex.join(["python", "-m", "avc_jax.main", *(argument for argument in argv[1:] if not argument.startswith(own))])


def _train_or_evaluate(config, workdir, source, guard: Guard, typed: str) -> None:
    from avc_jax.train.loop import train
    from avc_jax.train.results import evaluate_checkpoint
    from avc_jax.train.run import Run

    with contextlib.closing(Run(config, workdir, source, guard, typed)) as run:
        if _MODE.value == "train":
            train(run)
        else:
            evaluate_checkpoint(run)


if __name__ == "__main__":
    init.end(main(sys.argv))
