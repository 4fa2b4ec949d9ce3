"""What a data set holds, as a table for people and as the manifest for programs."""

import collections
import csv
import io
import math
from collections.abc import Sequence

from avc_jax.datasets.layout import Item


def count(items: Sequence[Item], classes: Sequence[str] = ()) -> str:
    """A table of the items by class and by fold or split, and those of the classes that have none."""
    cells = collections.Counter((item.label, item.fold_or_split) for item in items)
    groups = sorted({item.fold_or_split for item in items})
    labels = sorted({item.label for item in items} - {""})
    rows = [(label, [cells[label, group] for group in groups]) for label in labels]
    rows.append(("all", [sum(item.fold_or_split == group for item in items) for group in groups]))
    width = max(len(label) for label, _ in rows) + 1
    lines = [" " * width + "".join(f"{group:>12}" for group in groups)]
    lines += [f"{label:<{width}}" + "".join(f"{number:>12,}" for number in numbers) for label, numbers in rows]
    if absent := [label for label in classes if label not in labels]:
        lines.append(f"{len(absent)} classes without a clip: {', '.join(absent)}.")
    return "\n".join(lines)


def to_csv(items: Sequence[Item], group: str) -> str:
    """The manifest: path, fold or split, label, start_s, end_s; times that are those of the file are empty.

    Args:
      items: what to list.
      group: name of the column of fold_or_split, fold or split.
    """
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(("path", group, "label", "start_s", "end_s"))
    for item in items:
        times = ("" if math.isinf(time_s) else repr(time_s) for time_s in (item.start_s, item.end_s))
        rows.writerow((item.path, item.fold_or_split, item.label, *times))
    return text.getvalue()
