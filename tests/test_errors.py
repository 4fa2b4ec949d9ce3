"""Each way to end has its exit code."""

import errno

from avc_jax import errors


def test_exit_codes_are_those_of_the_documentation():
    assert {name: kind.exit_code for name, kind in vars(errors).items()
            if isinstance(kind, type) and issubclass(kind, errors.AvcError)} == {
        "AvcError": 70, "ConfigError": 64, "DataError": 65, "MissingInputError": 66, "DivergedError": 70, "CannotWriteError": 74,
        "Stopped": 75, "LostError": 134, "Ended": 70}
    assert errors.Ended(65).exit_code == 65


def test_bad_media_is_no_end_of_the_run():
    error = errors.BadMedia("silent", "Not a sound.")
    assert not isinstance(error, errors.AvcError)
    assert (error.kind, str(error)) == ("silent", "Not a sound.")


def test_every_process_ends_with_the_same_code_for_a_full_disk_and_for_a_defect():
    assert errors.exit_code(OSError(errno.ENOSPC, "No space left on device")) == errors.CannotWriteError.exit_code
    assert errors.exit_code(OSError(errno.ENOENT, "No such file")) == errors.AvcError.exit_code
    assert errors.exit_code(KeyboardInterrupt()) == errors.Stopped.exit_code
    assert errors.exit_code(errors.DataError("Bad.")) == errors.DataError.exit_code
