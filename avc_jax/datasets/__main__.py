"""Checks the folder of a data set, counts what it holds, and writes the manifest that training, prepare and evaluation take.

    python -m avc_jax.datasets --name=kinetics_sounds --root=R --out=R/manifest.csv

Sets of features and of spoken captions need no manifest: for these it prints the flags to train and to evaluate with.
docs/datasets says how each folder is laid out. Exit codes are those of avc_jax.main.
"""

import sys
from pathlib import Path
from typing import Any

from absl import flags

from avc_jax import command, datasets, errors
from avc_jax.data.records.layout import write_text
from avc_jax.datasets import manifest, opened
from avc_jax.datasets.layout import Item

_NAMES = (*datasets.SOUNDS, *datasets.VIDEOS, *datasets.ITEMS)
_FLAGS = flags.FlagValues()  # of this command alone, so that others can be imported beside it
_NAME = flags.DEFINE_enum("name", None, _NAMES, "The data set.", flag_values=_FLAGS)
_ROOT = flags.DEFINE_string("root", "", "Its folder.", flag_values=_FLAGS)
_OUT = flags.DEFINE_string("out", "", "CSV to write; empty: none, only check and count.", flag_values=_FLAGS)
_VARIANT = flags.DEFINE_string("variant", "", "Which reading of what the paper leaves open, see docs/datasets; empty: the first.",
                               flag_values=_FLAGS)
_TABLE = flags.DEFINE_string("table", "labels.csv", "Of labelled_audio, labelled_media: the CSV, absolute or relative to --root. "
                             "Of howto100m: the published list of paths, with --out.", flag_values=_FLAGS)
_BUDGET = flags.DEFINE_float("missing_budget", 0.0, "Of all sets but those of sounds: share of the listed files that may be "
                             "missing; they are left out.", lower_bound=0.0, upper_bound=1.0, flag_values=_FLAGS)
_SEED = flags.DEFINE_integer("seed", 0, "Of flickr_soundnet: seed of the draw.", flag_values=_FLAGS)
_OPTIONS = {"variant": _VARIANT, "table": _TABLE, "missing_budget": _BUDGET, "seed": _SEED}


def main(argv: list[str]) -> int:
    """Runs the command and returns its exit code."""
    return command.run_with(argv, __name__, _FLAGS, _run)


def _run() -> None:
    name, root, out = _NAME.value, _ROOT.value, _OUT.value
    if not name or not root:
        raise errors.ConfigError(f"--{'root' if name else 'name'} is missing: --name is one of {', '.join(_NAMES)}, and --root "
                                 "its folder.")
    if name in datasets.ITEMS and not out:
        _check_items(name, Path(root))
        return
    module = (datasets.SOUNDS | datasets.VIDEOS | datasets.ITEMS)[name]
    if not hasattr(module, "read"):
        raise errors.ConfigError(f"--out={out}: {name} needs no manifest; leave it out, and the flags to train with are printed.")
    items = module.read(Path(root), **_options(module.read))
    print(manifest.count(items, getattr(module, "CLASSES", ())))
    if out:
        _write(Path(out), manifest.to_csv(items, "fold" if name in datasets.SOUNDS else "split"))
    if name in datasets.ITEMS:
        _tell_flags(opened.settings(name, Path(root)) | {"manifest": str(Path(out).absolute())})


def _check_items(name: str, root: Path) -> None:
    """Opens a set as training does, and prints what it holds and how to train on it."""
    given = _options(opened.check)
    source = opened.check(name, root, **given)
    print(manifest.count([Item(item.path, item.label, item.split) for item in source.items]))
    print(opened.tracks(source), *source.notes, sep="\n")
    _tell_flags(opened.settings(name, root, given.get("variant", "")))


def _write(out: Path, text: str) -> None:
    try:
        write_text(out, text)
    except OSError as error:
        raise errors.CannotWriteError(f"--out={out} cannot be written: {error.strerror}.") from error
    print(f"Wrote {out}")


def _tell_flags(settings: dict[str, Any]) -> None:
    print(f"Train and evaluate with {opened.flags(settings)}")


def _options(function) -> dict[str, Any]:
    """The flags that a function takes.

    Raises:
      ConfigError: one was given that it does not take.
    """
    takes = function.__annotations__
    for name, flag in _OPTIONS.items():
        if flag.present and name not in takes:
            raise errors.ConfigError(f"--{name}={flag.value}: --name={_NAME.value} does not know this flag; leave it out.")
    return {name: flag.value for name, flag in _OPTIONS.items() if name in takes}


if __name__ == "__main__":
    command.end(main(sys.argv))
