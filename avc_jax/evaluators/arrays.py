"""Arrays in files beside a run: written whole or not at all, and read only if they are whole."""

import os
import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from avc_jax import errors


def write(path: Path, arrays: Mapping[str, Any], *, compress: bool = False) -> None:
    """Writes an .npz so that a reader sees the old file or the new one, never half of it.

    Raises:
      CannotWriteError: it cannot be written.
    """
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(temporary, "wb") as file:
            (np.savez_compressed if compress else np.savez)(file, allow_pickle=False, **arrays)
        os.replace(temporary, path)
    except OSError as error:
        raise errors.CannotWriteError(f"{path} cannot be written: {error.strerror}.") from error


def read(path: Path, say: Callable[[str], None]) -> dict[str, np.ndarray] | None:
    """The arrays of an .npz, whose checksums are compared; None if there is no file, or, which is said, a damaged one."""
    try:
        with np.load(path, allow_pickle=False) as found:
            return {name: found[name] for name in found.files}
    except FileNotFoundError:
        return None
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile, zlib.error) as error:
        say(f"{path} is damaged ({error}) and is made anew.")
        return None
