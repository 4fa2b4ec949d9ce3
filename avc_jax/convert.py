"""Makes a model folder of a checkpoint that others have published, and such a checkpoint of a model.

    python -m avc_jax.convert --system=SYSTEM --source=openl3_audio_mel256_music.h5 --out=models/openl3
    python -m avc_jax.convert --checkpoint=runs/openl3 --to=openl3_audio_mel256 --out=openl3_audio_mel256_mine.h5

Reads Keras' HDF5, PyTorch's state dicts (without PyTorch, and without running what they bring along), safetensors and .npz, and
writes them. The folder takes the place of a run as --checkpoint of the other commands. Arrays that are missing, superfluous or of
another shape are named, and then nothing is written. Exit codes are those of avc_jax.main.
"""

import hashlib
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from absl import flags

from avc_jax import command, errors

if TYPE_CHECKING:
    from avc_jax.published.make import Published

BESIDE = "beside.safetensors"

_FLAGS = flags.FlagValues()  # of this command alone, so that others can be imported beside it
_SYSTEM = flags.DEFINE_string("system", "", "Which system --source is of: a file of avc_jax/systems.", flag_values=_FLAGS)
_SOURCE = flags.DEFINE_string("source", "", "The published file.", flag_values=_FLAGS)
_KIND = flags.DEFINE_string("kind", "", "Which of the system's published checkpoints --source is, where neither the names in it "
                            "nor its own name tell. An unknown kind is answered with a list.", flag_values=_FLAGS)
_CHECKPOINT = flags.DEFINE_string("checkpoint", "", "Instead of --source: the work directory of a run, or a model folder.",
                                  flag_values=_FLAGS)
_TO = flags.DEFINE_string("to", "", "What to make of --checkpoint: a kind of published checkpoint of its system.",
                          flag_values=_FLAGS)
_OUT = flags.DEFINE_string("out", "", "Folder to write, or with --checkpoint the file, whose name ends in .safetensors, .npz, "
                           ".pt (.pth, .tar, .bin) or .h5; an earlier one is replaced.", flag_values=_FLAGS)


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
    from safetensors.numpy import save_file

    from avc_jax import model
    from avc_jax.published import make, translate
    from avc_jax.published.read import read

    kinds = make.kinds_of(system)
    if kind:
        _check_kind("kind", kind, system, kinds)
    path = Path(source)
    arrays = read(path)
    kind = kind or make.choose(kinds, arrays, path)
    try:
        made, initial = make.make(system, kinds[kind], arrays)
    except errors.ConfigError as error:
        raise errors.ConfigError(f"{source} is no {kind}: {error}") from error
    with open(path, "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    with model.replacing(out) as folder:
        model.write(folder, made, source=path.name, source_sha256=digest, source_kind=kind, initial=initial)
        save_file(translate.kept_aside(arrays, kinds[kind]), folder / BESIDE)
    return Path(out).absolute()


def publish(checkpoint: str, kind: str, out: str) -> "Published":
    """Writes what a model has learned as a published checkpoint, under its names and in its layouts.

    Args:
      checkpoint: workdir of a run, of which the newest valid checkpoint is taken, or a model folder; it is only read.
      kind: a key of the `checkpoint_keys` of the model's system.
      out: the file; what its name ends in says the format.

    Returns:
      What was written.

    Raises:
      MissingInputError: there is no such checkpoint.
      ConfigError: the system knows no such kind, the model is another network or half of one, or out names no format.
      CannotWriteError: out cannot be written.
    """
    from safetensors.numpy import load_file

    from avc_jax import model
    from avc_jax.published import make
    from avc_jax.published.write import write
    from avc_jax.train.workdir import read_json

    net = model.load(checkpoint)
    kinds = make.kinds_of(net.config.system.name)
    _check_kind("to", kind, net.config.system.name, kinds)
    beside, about = Path(checkpoint) / BESIDE, Path(checkpoint) / model.DESCRIPTION
    kept = load_file(beside) if beside.is_file() and read_json(about).get("source_kind") == kind else {}
    try:
        published = make.unmake(net, kinds[kind], kept)
    except errors.ConfigError as error:
        raise errors.ConfigError(f"--to={kind} cannot be made of {checkpoint}: {error}") from error
    write(Path(out), published.arrays)
    return published


def _check_kind(flag: str, kind: str, system: str, kinds: Mapping[str, object]) -> None:
    if kind not in kinds:
        known = f"it knows {', '.join(kinds)}" if kinds else "it knows none"
        raise errors.ConfigError(f"--{flag}={kind}: {system} knows no such published checkpoint; {known}.")


def main(argv: list[str]) -> int:
    """Runs the command and returns its exit code."""
    return command.run_with(argv, __name__, _FLAGS, _run)


def _run() -> None:
    if _CHECKPOINT.value or _TO.value:
        _run_publish()
        return
    _require((_SYSTEM, "a system"), (_SOURCE, "the published file"), (_OUT, "the folder to write"))
    print(f"Converted and read back: {convert(_SYSTEM.value, _SOURCE.value, _OUT.value, _KIND.value)}")


def _run_publish() -> None:
    from avc_jax.published.write import how_to_load

    _require((_CHECKPOINT, "a run or a model folder"), (_TO, "the kind of published checkpoint"), (_OUT, "the file to write"))
    for flag in (_SYSTEM, _SOURCE, _KIND):
        if flag.value:
            raise errors.ConfigError(f"--{flag.name}={flag.value} is for reading a published file; --checkpoint writes one.")
    published = publish(_CHECKPOINT.value, _TO.value, _OUT.value)
    print(f"Written and read back: {_OUT.value}. It is loaded by {how_to_load(Path(_OUT.value))}.")
    if published.left_out:
        print(f"Not in it, as the reader makes them itself (strict=False in PyTorch): {', '.join(published.left_out)}.")
    for line in published.habits:
        print(f"Every array fits, but it was trained otherwise than others of its kind: {line}")


def _require(*needed: tuple[flags.FlagHolder, str]) -> None:
    for flag, meaning in needed:
        if not flag.value:
            raise errors.ConfigError(f"--{flag.name} is missing: name {meaning}.")


if __name__ == "__main__":
    command.end(main(sys.argv))
