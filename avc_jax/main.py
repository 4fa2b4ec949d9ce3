"""The command: trains a system, or evaluates a checkpoint.

    python -m avc_jax.main --config=configs/flickr.py --workdir=runs/flickr --config.data.root=/videos
    python -m avc_jax.main --config=configs/flickr.py --workdir=runs/flickr --config.data.root=/videos --mode=evaluate

Exit codes: 0 done; 64 bad flag, config or incompatible checkpoint; 65 bad data; 66 missing input; 70 diverged or
internal error; 74 cannot write; 75 stopped, the same command resumes.
"""

import logging
import os
import shlex
import sys
import traceback

from absl import flags

from avc_jax import config as configs
from avc_jax import errors

_CONFIG = configs.define_flag()
_WORKDIR = flags.DEFINE_string("workdir", "", "Folder for checkpoints, metrics, results and the report.")
_MODE = flags.DEFINE_enum("mode", "train", ["train", "evaluate"],
                          "train: train, or resume. evaluate: score the newest checkpoint of the workdir.")


def main(argv: list[str]) -> int:
    """Runs the command and returns its exit code; what went wrong is said on stderr."""
    # TensorFlow's and XLA's greetings would bury the lines that matter.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    logging.getLogger("absl").setLevel(logging.ERROR)
    try:
        _run(argv)
        return 0
    except errors.AvcError as error:
        print(f"{'' if isinstance(error, errors.Stopped) else 'Error: '}{error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("Interrupted before anything could be saved; the same command goes on from the last checkpoint.", file=sys.stderr)
        return errors.Stopped.exit_code
    except Exception:
        traceback.print_exc()
        print("Error: this is a defect of avc_jax; the lines above say where.", file=sys.stderr)
        return errors.AvcError.exit_code


def _run(argv: list[str]) -> None:
    from avc_jax.train.guard import Guard
    from avc_jax.train.workdir import Workdir

    if any(arg in ("--help", "-h", "--helpshort", "--helpfull") for arg in argv[1:]):
        print(__doc__, flags.FLAGS.module_help(sys.modules[__name__]), sep="\n")
        return
    config = configs.parse_flags(argv, _CONFIG)
    workdir = Workdir(_WORKDIR.value)
    with Guard() as guard:
        try:
            _train_or_evaluate(config, workdir, guard, shlex.join(["python", "-m", "avc_jax.main", *argv[1:]]))
        finally:
            workdir.close()


def _train_or_evaluate(config, workdir, guard, command: str) -> None:
    # Imported here, because TensorFlow and JAX take seconds and a typo in a flag should be told at once.
    from avc_jax.train.loop import train
    from avc_jax.train.results import evaluate_checkpoint
    from avc_jax.train.run import Run

    run = Run(config, workdir, guard, command)
    try:
        if _MODE.value == "train":
            train(run)
        else:
            evaluate_checkpoint(run)
    finally:
        run.close()


if __name__ == "__main__":
    sys.exit(main(sys.argv))
