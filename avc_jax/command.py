"""What every command of avc_jax shares: quiet libraries, flags, exit codes, and how it ends."""

import atexit
import logging
import os
import select
import sys
import traceback
from collections.abc import Callable
from typing import NoReturn, TextIO

from absl import flags

from avc_jax import errors, stderr


def run(command: Callable[[], int | None]) -> int:
    """Runs a command and returns its exit code, which is 0 where it gives none; what went wrong is said on stderr."""
    if sys.stderr is None:  # closed by whoever started this
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115, for the life of the process
    # TensorFlow's and Orbax's greetings would bury the lines that matter.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    # What Orbax fails at in its threads is raised, and told by us; their tracebacks would bury that.
    for library in ("absl", "asyncio"):
        logging.getLogger(library).setLevel(logging.CRITICAL)
    sys.unraisablehook = _without_given_up_writes
    try:
        return command() or 0
    except errors.AvcError as error:
        if str(error):
            stderr.say(f"{'' if isinstance(error, (errors.Stopped, errors.Ended)) else 'Error: '}{error}")
        return error.exit_code
    except KeyboardInterrupt as error:
        stderr.say("Interrupted. The same command goes on from the last checkpoint.")
        return errors.exit_code(error)
    except BrokenPipeError as error:
        # As where `head` has seen enough.
        return errors.CannotWriteError.exit_code if _reader_is_gone(sys.stdout) else _defect(error)
    except OSError as error:
        if errors.exit_code(error) != errors.CannotWriteError.exit_code:
            return _defect(error)
        stderr.say(f"Error: {error.filename or 'A file'} cannot be written: {error.strerror}. Make room, or the folder writable, "
                   "and run the same command again.")
        return errors.CannotWriteError.exit_code
    except Exception as error:
        return _defect(error)


def end(code: int) -> NoReturn:
    """Ends the process as sys.exit does, but lets the system take its memory back.

    Python would first take TensorFlow and JAX apart, which is seconds of each command.
    """
    atexit.register(_leave, code)  # the first of the exit handlers, after all threads that the end waits for
    sys.exit(code)


def _leave(code: int) -> NoReturn:
    atexit.unregister(_leave)
    atexit._run_exitfuncs()  # all others
    stderr.write("")  # lines that it cannot take are lost, and change no code
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError:  # there goes what was asked for
        code = code or errors.CannotWriteError.exit_code
    os._exit(code)


def _reader_is_gone(stream: TextIO | None) -> bool:
    if stream is None:
        return False
    poll = select.poll()
    poll.register(stream, 0)
    return any(event & select.POLLERR for _, event in poll.poll(0))


def _without_given_up_writes(unraisable) -> None:
    """Writes that a failed save has given up come to an end later, and have nobody to tell; each would print a traceback."""
    if str(unraisable.exc_value) != "Event loop is closed":
        sys.__unraisablehook__(unraisable)


def _defect(error: Exception) -> int:
    stderr.say(f"{traceback.format_exc()}Error: this is a defect of avc_jax; the lines above say where.")
    return errors.exit_code(error)


def run_with(argv: list[str], module: str, values: flags.FlagValues, command: Callable[[], None]) -> int:
    """As `run`, of a command with flags of its own: parses argv into them first, or shows help if it asks for that.

    Args:
      argv: what was typed.
      module: name of the command's module, whose docstring is its help.
      values: its flags.
      command: what it does.
    """
    def whole() -> None:
        if not show_help(argv, module, values):
            parse_flags(argv, values)
            command()

    return run(whole)


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
