"""Makes a model folder of a checkpoint that others have published.

    python -m avc_jax.convert --system=l3net --source=openl3_audio_mel256_music.h5 --out=models/openl3

Reads Keras' HDF5, PyTorch's state dicts (without PyTorch, and without running what they bring along), safetensors and .npz. The
folder takes the place of a run as --checkpoint of the other commands. Arrays that are missing, superfluous or of another shape
are named, and then nothing is written. Exit codes are those of avc_jax.main.
"""

import hashlib
import sys
from pathlib import Path

from absl import flags

from avc_jax import command, errors

_FLAGS = flags.FlagValues()  # of this command alone, so that others can be imported beside it
_SYSTEM = flags.DEFINE_string("system", "", "Which system: a file of avc_jax/systems.", flag_values=_FLAGS)
_SOURCE = flags.DEFINE_string("source", "", "The published file.", flag_values=_FLAGS)
_KIND = flags.DEFINE_string("kind", "", "Which of the system's published checkpoints the file is, where neither the names in it "
                            "nor its own name tell. An unknown kind is answered with a list.", flag_values=_FLAGS)
_OUT = flags.DEFINE_string("out", "", "Folder to write; an earlier model there is replaced.", flag_values=_FLAGS)


def convert(system: str, source: str, out: str, kind: str = "") -> Path:
    """Writes a model folder with the arrays of a published checkpoint.

    Args:
      system: name of a system.
      source: the file.
      out: the folder.
      kind: a key of the system's `checkpoint_keys`; empty: what names in the file, or its own name, tell.

    Returns:
      The folder.

    Raises:
      MissingInputError: there is no such file.
      DataError: the file cannot be read.
      ConfigError: it is none of what the system knows, or arrays do not fit.
      CannotWriteError: out cannot be written.
    """
    from avc_jax import model
    from avc_jax.published import make
    from avc_jax.published.read import read

    kinds = make.kinds_of(system)
    if kind and kind not in kinds:
        raise errors.ConfigError(f"--kind={kind}: {system} knows no such published checkpoint; it knows {', '.join(kinds)}.")
    path = Path(source)
    arrays = read(path)
    kind = kind or make.choose(kinds, arrays, path)
    try:
        made, initial = make.make(system, kinds[kind], arrays)
    except errors.ConfigError as error:
        raise errors.ConfigError(f"{source} is no {kind}: {error}") from error
    with open(path, "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return model.save(out, made, source=path.name, source_sha256=digest, source_kind=kind, initial=initial)


def main(argv: list[str]) -> int:
    """Runs the command and returns its exit code."""

    def run() -> None:
        if command.show_help(argv, __name__, _FLAGS):
            return
        command.parse_flags(argv, _FLAGS)
        for flag, meaning in ((_SYSTEM, "a system"), (_SOURCE, "the published file"), (_OUT, "the folder to write")):
            if not flag.value:
                raise errors.ConfigError(f"--{flag.name} is missing: name {meaning}.")
        folder = convert(_SYSTEM.value, _SOURCE.value, _OUT.value, _KIND.value)
        print(f"Converted and read back: {folder}")

    return command.run(run)


if __name__ == "__main__":
    sys.exit(main(sys.argv))
