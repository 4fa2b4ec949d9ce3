"""The ways in which a run can end, as exceptions with exit codes.

A message says what was found, what was expected, and what to do about it. `main` turns each into one line on
stderr and the exit code, so that a scheduler can act on it: 75 and 134 are worth retrying, 64 to 74 are not.
"""

import errno

# Where these are not told more precisely, they are still no defect.
_UNWRITABLE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG)


class AvcError(Exception):
    """Base of the errors that end a command with a message instead of a traceback."""

    exit_code = 70


class ConfigError(AvcError):
    """A bad flag, a bad config value, or a checkpoint that does not belong to this config."""

    exit_code = 64


class DataError(AvcError):
    """The data are there but unusable: too many bad files, or none that can be read."""

    exit_code = 65


class MissingInputError(AvcError):
    """A file or folder that was named does not exist or is empty."""

    exit_code = 66


class DivergedError(AvcError):
    """Losses or gradients stayed non-finite past the budget."""

    exit_code = 70


class CannotWriteError(AvcError):
    """The work directory cannot be written."""

    exit_code = 74


class Stopped(AvcError):
    """The run was asked to stop (SIGTERM, Ctrl-C) and can be resumed by the same command."""

    exit_code = 75


class LostError(AvcError):
    """Other processes of the run are missing, gone or stuck; starting all of them again may help."""

    exit_code = 134


class Ended(AvcError):
    """This process ends because another one did, which has said why.

    Attributes:
      exit_code: the other's.
    """

    def __init__(self, exit_code: int, message: str = ""):
        super().__init__(message)
        self.exit_code = exit_code


class BadMedia(Exception):
    """One file cannot give what was asked of it; the input layer quarantines the file and goes on.

    Attributes:
      kind: short machine-readable reason, e.g. "unreadable", "no_audio", "no_video", "too_short", "incomplete",
        "damaged", "silent", "hangs", "too_large", "crashed".
    """

    def __init__(self, kind: str, detail: str):
        super().__init__(detail)
        self.kind = kind


def exit_code(error: BaseException) -> int:
    """The exit code with which a command ends for an error."""
    if isinstance(error, KeyboardInterrupt):
        return Stopped.exit_code
    if isinstance(error, OSError) and error.errno in _UNWRITABLE:
        return CannotWriteError.exit_code
    return error.exit_code if isinstance(error, AvcError) else AvcError.exit_code
