"""The command: trains a system, evaluates a checkpoint, or plans a run on accelerators that are not here.

    python -m avc_jax.main --config=configs/flickr.py --workdir=runs/flickr --config.data.root=/videos
    python -m avc_jax.main --config=configs/flickr.py --workdir=runs/flickr --config.data.root=/videos --mode=evaluate
    python -m avc_jax.main --config=configs/flickr.py --mode=plan --topology=v5e:16x16

Exit codes: 0 done; 64 bad flag, config or incompatible checkpoint; 65 bad data; 66 missing input; 70 diverged or
internal error; 74 cannot write; 75 stopped, the same command resumes.
"""

import contextlib
import os
import shlex
import sys

from absl import flags

from avc_jax import command, errors
from avc_jax import config as configs
from avc_jax.parallel.plan import command as plan
from avc_jax.train.guard import Guard

_CONFIG = configs.define_flag()
_WORKDIR = flags.DEFINE_string("workdir", "", "Folder for checkpoints, metrics, results and the report.")
_MODE = flags.DEFINE_enum("mode", "train", ["train", "evaluate", "plan"],
                          "train: train, or resume. evaluate: score the newest checkpoint of the workdir. plan: what the run "
                          "would need and take on --topology (docs/plan.md).")


def main(argv: list[str]) -> int:
    """Runs the command and returns its exit code; what went wrong is said on stderr."""
    return command.run(lambda: _run(argv))


def _run(argv: list[str]) -> None:
    if command.show_help(argv, __name__):
        return
    with Guard() as guard:
        _run_guarded(argv, guard)


def _run_guarded(argv: list[str], guard: Guard) -> None:
    config = configs.parse_flags(argv, _CONFIG)
    if _MODE.value == "plan":
        plan.run(config)
        return
    if _MODE.value == "evaluate" and not os.path.isdir(_WORKDIR.value):
        raise errors.MissingInputError(f"--workdir={_WORKDIR.value}: there is no such folder, so nothing to evaluate.")
    # What follows imports JAX's checkpoints and TensorFlow, which take seconds: whatever can be told without is told first.
    from avc_jax.data import sources
    from avc_jax.train.workdir import Workdir

    with contextlib.closing(Workdir(_WORKDIR.value)) as workdir:
        source = sources.open_source(config)
        if _MODE.value == "train":
            source.select(config.data.split)
            workdir.claim(config, source.sha256())
        guard.raise_if_stopped()
        _train_or_evaluate(config, workdir, source, guard, shlex.join(["python", "-m", "avc_jax.main", *argv[1:]]))


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
    sys.exit(main(sys.argv))
