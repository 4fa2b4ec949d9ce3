"""Hands out a model in the formats that others read, with a model card.

    python -m avc_jax.export --checkpoint=runs/flickr --out=exported/flickr

Every format is read back in a process of its own, without avc_jax's code, and compared with the live model, before anything
lies in the folder. Where one fails, nothing is written. It computes on the CPU, so that it disturbs no run. Exit codes are those
of avc_jax.main.
"""

import importlib
import os
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from absl import flags

from avc_jax import command, errors
from avc_jax.schema import nearest

FORMATS = ("orbax", "safetensors", "stablehlo", "savedmodel")

_FLAGS = flags.FlagValues()  # of this command alone, so that others can be imported beside it
_CHECKPOINT = flags.DEFINE_string("checkpoint", "", "Work directory of a run, or a model folder.", flag_values=_FLAGS)
_OUT = flags.DEFINE_string("out", "", "Folder to write; an earlier export there is replaced.", flag_values=_FLAGS)
_FORMATS = flags.DEFINE_list("formats", list(FORMATS), "What to write.", flag_values=_FLAGS)


def export(checkpoint: str | Path, out: str | Path, formats: Sequence[str] = FORMATS,
           say: Callable[[str], None] = lambda line: None) -> Path:
    """Writes a model in every format that is asked for, reads each back, and describes what came out.

    Comparisons hold on a CPU; other devices round products of float32 more coarsely.

    Args:
      checkpoint: workdir of a run, of which the newest valid checkpoint is taken, or a model folder; it is only read.
      out: the folder: the formats, `use_<format>.py` for each, `model.json`, and the model card `README.md`.
      formats: some of FORMATS.
      say: prints a line.

    Returns:
      The folder, absolute.

    Raises:
      MissingInputError: checkpoint is not that of a run with a checkpoint.
      ConfigError: a format is unknown or its library is not installed, or out holds something else.
      CannotWriteError: out cannot be written, or what was written reads back differently; out is as it was.
    """
    _check_names(formats)
    from avc_jax import model as models
    from avc_jax.exporting import card, check, facts
    from avc_jax.exporting.programs import programs_of

    model = models.load(checkpoint)
    programs = programs_of(model.system, model.variables)
    written: dict[str, Any] = {}
    description = facts.origin(checkpoint) | model.describe() | {
        "programs": {program.name: program.describe() for program in programs}, "formats": written, "versions": facts.versions()}
    with models.replacing(out) as folder:
        forms = {name: _module(name) for name in formats}
        models.write_description(folder, description)  # the scripts read it
        trials = check.make_trials(model, programs)
        for name, form in forms.items():
            before = _files(folder)
            form.write(folder, model, programs)
            total = sum(_files(folder).values()) - sum(before.values())
            shutil.copy(Path(__file__).with_name("exporting") / f"use_{name}.py", folder)
            difference = check.read_back(form, folder, model, trials)
            written[name] = {"holds": form.HOLDS, "bytes": total, "largest_difference": difference}
            say(f"{name}: {card.size(total)}, largest difference from the live model {difference:.2g} of the largest value.")
        models.write_description(folder, description)
        (folder / "README.md").write_text(card.render(description))
    return Path(out).absolute()


def _check_names(formats: Sequence[str]) -> None:
    if not formats:
        raise errors.ConfigError(f"--formats is empty; expected some of {', '.join(FORMATS)}.")
    for name in formats:
        if name not in FORMATS:
            raise errors.ConfigError(f"--formats: found {name!r}, expected some of {', '.join(FORMATS)}.{nearest(name, FORMATS)}")


def _module(name: str) -> ModuleType:
    """The module of a format, which imports its library."""
    try:
        return importlib.import_module(f"avc_jax.exporting.{name}")
    except ModuleNotFoundError as error:
        raise errors.ConfigError(f"--formats: {name} needs the package {error.name}, which is not installed; install "
                                 f"it, or leave {name} out.") from error


def _files(folder: Path) -> dict[Path, int]:
    """The size in bytes of every file below a folder."""
    return {path: path.stat().st_size for path in folder.rglob("*") if path.is_file()}


def main(argv: list[str]) -> int:
    """Runs the command and returns its exit code."""
    return command.run_with(argv, __name__, _FLAGS, _run)


def _run() -> None:
    os.environ["JAX_PLATFORMS"] = "cpu"
    print(f"Exported and read back: {export(_CHECKPOINT.value, _OUT.value, _FORMATS.value, print)}")


if __name__ == "__main__":
    command.end(main(sys.argv))
