"""Checks the folder of a data set, counts what it holds, and writes the manifest that training, prepare and evaluation take.

    python -m avc_jax.datasets --name=kinetics_sounds --root=R --out=R/manifest.csv

docs/datasets says how each folder is laid out. Exit codes are those of avc_jax.main.
"""

import collections
import csv
import io
import math
import sys
from pathlib import Path
from typing import Any

from absl import flags

from avc_jax import command, datasets, errors
from avc_jax.data.records.layout import write_text
from avc_jax.datasets.layout import Item

_NAMES = (*datasets.SOUNDS, *datasets.VIDEOS)
_NAME = flags.DEFINE_enum("name", None, _NAMES, "The data set.")
_ROOT = flags.DEFINE_string("root", "", "Its folder.")
_OUT = flags.DEFINE_string("out", "", "CSV to write; empty: none, only check and count.")
_VARIANT = flags.DEFINE_string("variant", "", "Which reading of what the paper leaves open (see docs/datasets); empty: the usual.")
_TABLE = flags.DEFINE_string("table", "labels.csv", "Of labelled_audio and labelled_media: the CSV, absolute or relative to --root.")
_BUDGET = flags.DEFINE_float("missing_budget", 0.0, "Of kinetics_sounds and flickr_soundnet: share of the listed videos that may "
                             "be missing; they are left out.", lower_bound=0.0, upper_bound=1.0)
_SEED = flags.DEFINE_integer("seed", 0, "Of flickr_soundnet: seed of the draw.")
_OF_SOME = {"variant": _VARIANT, "table": _TABLE, "missing_budget": _BUDGET, "seed": _SEED}
_TAKES = {
    "labelled_audio": ("table",), "labelled_media": ("table",), "kinetics_sounds": ("variant", "missing_budget"),
    "flickr_soundnet": ("variant", "missing_budget", "seed"),
}  # fmt: skip


def main(argv: list[str]) -> int:
    """Runs the command and returns its exit code."""
    return command.run(lambda: _run(argv))


def _run(argv: list[str]) -> None:
    if command.show_help(argv, __name__):
        return
    command.parse_flags(argv)
    if not _NAME.value or not _ROOT.value:
        raise errors.ConfigError(f"--{'root' if _NAME.value else 'name'} is missing: --name is one of {', '.join(_NAMES)}, "
                                 "--root its folder.")
    module = (datasets.SOUNDS | datasets.VIDEOS)[_NAME.value]
    items = module.read(Path(_ROOT.value), **_options())
    print(count(items, module.CLASSES))
    if _OUT.value:
        text = manifest(items, "fold" if _NAME.value in datasets.SOUNDS else "split")
        try:
            write_text(Path(_OUT.value), text)
        except OSError as error:
            raise errors.CannotWriteError(f"--out={_OUT.value} cannot be written: {error.strerror}.") from error
        print(f"Wrote {_OUT.value}")


def _options() -> dict[str, Any]:
    takes = _TAKES.get(_NAME.value, ("variant",))
    for name, flag in _OF_SOME.items():
        if flag.present and name not in takes:
            raise errors.ConfigError(f"--{name}={flag.value} is nothing that --name={_NAME.value} knows; leave it out.")
    return {name: _OF_SOME[name].value for name in takes}


def count(items: list[Item], classes: tuple[str, ...] = ()) -> str:
    """A table of the items by class and by fold or split, and the classes of which there is none."""
    cells = collections.Counter((item.label, item.fold_or_split) for item in items)
    groups = sorted({item.fold_or_split for item in items})
    labels = sorted({item.label for item in items} - {""})
    rows = [(label, [cells[label, group] for group in groups]) for label in labels]
    rows.append(("all", [sum(item.fold_or_split == group for item in items) for group in groups]))
    width = max(len(label) for label, _ in rows) + 1
    lines = [" " * width + "".join(f"{group:>12}" for group in groups)]
    lines += [f"{label:<{width}}" + "".join(f"{number:>12,}" for number in numbers) for label, numbers in rows]
    if absent := [label for label in classes if label not in labels]:
        lines.append(f"Classes without a clip: {', '.join(absent)}.")
    return "\n".join(lines)


def manifest(items: list[Item], group: str) -> str:
    """The items as CSV.

    Args:
      items: what to list.
      group: name of the column of fold_or_split.
    """
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(("path", group, "label", "start_s", "end_s"))
    for item in items:
        times = ("" if math.isinf(time_s) else f"{time_s:g}" for time_s in (item.start_s, item.end_s))
        rows.writerow((item.path, item.fold_or_split, item.label, *times))
    return text.getvalue()


if __name__ == "__main__":
    sys.exit(main(sys.argv))
