"""What every command of avc_jax shares: quiet libraries, flags, and exit codes."""

import logging
import os
import sys
import traceback
from collections.abc import Callable

from absl import flags

from avc_jax import errors


def run(command: Callable[[], int | None]) -> int:
    """Runs a command and returns its exit code, which is 0 where it gives none; what went wrong is said on stderr."""
    # TensorFlow's and Orbax's greetings would bury the lines that matter.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    logging.getLogger("absl").setLevel(logging.ERROR)
    try:
        return command() or 0
    except errors.AvcError as error:
        if str(error):
            print(f"{'' if isinstance(error, (errors.Stopped, errors.Ended)) else 'Error: '}{error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt as error:
        print("Interrupted. The same command goes on from the last checkpoint.", file=sys.stderr)
        return errors.exit_code(error)
    except Exception as error:
        traceback.print_exc()
        print("Error: this is a defect of avc_jax; the lines above say where.", file=sys.stderr)
        return errors.exit_code(error)


def show_help(argv: list[str], module: str, values: flags.FlagValues = flags.FLAGS) -> bool:
    """Prints what a command is for and its flags, if argv asks for that; returns whether it did."""
    asked = any(arg in ("--help", "-h", "--helpshort", "--helpfull") for arg in argv[1:])
    if asked:
        print(sys.modules[module].__doc__, values.module_help(sys.modules[module]), sep="\n")
    return asked


def parse_flags(argv: list[str], values: flags.FlagValues = flags.FLAGS) -> None:
    """Parses argv into the absl flags of a command.

    Raises:
      ConfigError: a flag is unknown or its value is not allowed.
    """
    try:
        extra = values(argv)[1:]
    except flags.Error as error:
        raise errors.ConfigError(str(error)) from error
    if extra:
        raise errors.ConfigError(f"Found {extra[0]!r}, which is no flag; flags look like --name=value.")
