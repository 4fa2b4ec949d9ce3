"""Checks the folder of a data set, counts what it holds, and writes the manifest that training, prepare and evaluation take.

    python -m avc_jax.datasets --name=kinetics_sounds --root=R --out=R/manifest.csv

docs/datasets says how each folder is laid out. Exit codes are those of avc_jax.main.
"""

import sys
from pathlib import Path
from typing import Any

from absl import flags

from avc_jax import command, datasets, errors
from avc_jax.data.records.layout import write_text
from avc_jax.datasets import manifest

_NAMES = (*datasets.SOUNDS, *datasets.VIDEOS)
_FLAGS = flags.FlagValues()  # of this command alone, so that others can be imported beside it
_NAME = flags.DEFINE_enum("name", None, _NAMES, "The data set.", flag_values=_FLAGS)
_ROOT = flags.DEFINE_string("root", "", "Its folder.", flag_values=_FLAGS)
_OUT = flags.DEFINE_string("out", "", "CSV to write; empty: none, only check and count.", flag_values=_FLAGS)
_VARIANT = flags.DEFINE_string("variant", "", "Which reading of what the paper leaves open, see docs/datasets; empty: the first.",
                               flag_values=_FLAGS)
_TABLE = flags.DEFINE_string("table", "labels.csv", "Of labelled_audio, labelled_media: the CSV, absolute or relative to --root.",
                             flag_values=_FLAGS)
_BUDGET = flags.DEFINE_float("missing_budget", 0.0, "Of kinetics_sounds, flickr_soundnet: share of the listed videos that may "
                             "be missing; they are left out.", lower_bound=0.0, upper_bound=1.0, flag_values=_FLAGS)
_SEED = flags.DEFINE_integer("seed", 0, "Of flickr_soundnet: seed of the draw.", flag_values=_FLAGS)
_OPTIONS = {"variant": _VARIANT, "table": _TABLE, "missing_budget": _BUDGET, "seed": _SEED}


def main(argv: list[str]) -> int:
    """Runs the command and returns its exit code."""
    return command.run(lambda: _run(argv))


def _run(argv: list[str]) -> None:
    if command.show_help(argv, __name__, _FLAGS):
        return
    command.parse_flags(argv, _FLAGS)
    name, root, out = _NAME.value, _ROOT.value, _OUT.value
    if not name or not root:
        raise errors.ConfigError(f"--{'root' if name else 'name'} is missing: --name is one of {', '.join(_NAMES)}, and --root "
                                 "its folder.")
    module = (datasets.SOUNDS | datasets.VIDEOS)[name]
    items = module.read(Path(root), **_options(module))
    print(manifest.count(items, module.CLASSES))
    if out:
        try:
            write_text(Path(out), manifest.to_csv(items, "fold" if name in datasets.SOUNDS else "split"))
        except OSError as error:
            raise errors.CannotWriteError(f"--out={out} cannot be written: {error.strerror}.") from error
        print(f"Wrote {out}")


def _options(module) -> dict[str, Any]:
    """The flags that the module's `read` takes.

    Raises:
      ConfigError: one was given that it does not take.
    """
    takes = module.read.__annotations__
    for name, flag in _OPTIONS.items():
        if flag.present and name not in takes:
            raise errors.ConfigError(f"--{name}={flag.value}: --name={_NAME.value} does not know this flag; leave it out.")
    return {name: flag.value for name, flag in _OPTIONS.items() if name in takes}


if __name__ == "__main__":
    sys.exit(main(sys.argv))
