"""Items of a data set, and the folder that has to hold what its lists name."""

import dataclasses
import logging
import math
from collections.abc import Iterable, Sequence
from pathlib import Path

from avc_jax import errors
from avc_jax.data import sources

_NAMED = 10  # missing files that a message names


@dataclasses.dataclass(frozen=True)
class Item:
    """One sound or video of a data set.

    Attributes:
      path: relative to the folder, with forward slashes.
      label: class; empty where there is none.
      fold_or_split: the fold ("1") or the split ("train") that it belongs to.
      start_s, end_s: the stretch on the file's clock.
    """

    path: str
    label: str
    fold_or_split: str
    start_s: float = -math.inf
    end_s: float = math.inf


@dataclasses.dataclass(frozen=True)
class Folder:
    """A folder that the user laid out.

    Attributes:
      root: the folder.
      page: name of the page in docs/datasets that says how.
    """

    root: Path
    page: str

    def absent(self, expected: str, path: str = "", found: str = "") -> errors.MissingInputError:
        """The error that says what was expected where, and what was found, which is usually nothing."""
        where = self.root / path
        found = found or ("none" if where.exists() else "nothing there" if self.root.is_dir() else f"no folder {self.root}")
        return errors.MissingInputError(f"{where}: expected {expected}, found {found}. {self.help}")

    def wrong(self, path: str, what: str) -> errors.DataError:
        """The error that says what is wrong with a file."""
        return errors.DataError(f"{self.root / path}: {what} {self.help}")

    @property
    def help(self) -> str:
        return f"docs/datasets/{self.page}.md says how to lay out {self.root}."

    def rows(self, path: str, columns: Sequence[str]) -> list[dict[str, str]]:
        """The rows of a CSV that has to have some columns and a value in each of them.

        Raises:
          MissingInputError: there is no such file.
          DataError: it is no CSV, lacks a column or a value, or has no rows.
        """
        if not (self.root / path).is_file():
            raise self.absent(f"a CSV with the columns {', '.join(columns)}", path)
        rows = sources.read_csv(self.root / path)
        if not rows:
            raise self.wrong(path, "it has no rows.")
        lacking = [column for column in columns if column not in rows[0]]
        if lacking:
            raise self.wrong(path, f"found columns {', '.join(map(str, rows[0]))}; expected also {', '.join(lacking)}.")
        for number, row in enumerate(rows, start=2):
            for column in columns:
                if not row[column]:
                    raise self.wrong(path, f"row {number} has no {column}.")
        return rows

    def videos(self) -> list[str]:
        """The paths of all videos below root, sorted.

        Raises:
          MissingInputError: there are none.
        """
        if not self.root.is_dir():
            raise self.absent("a folder of lists and videos")
        try:
            return [clip.path for clip in sources.open_folder(str(self.root), "", (1.0, 0.0, 0.0), settings=("root", "")).clips]
        except errors.MissingInputError as error:
            raise errors.MissingInputError(f"{error} {self.help}") from error

    def require(self, items: Iterable[Item]) -> list[Item]:
        """The items, each of whose files is there.

        Raises:
          MissingInputError: with the first that are not.
        """
        items = list(items)
        missing = list(dict.fromkeys(item.path for item in items if not (self.root / item.path).is_file()))
        self.tell(missing, len(items))
        return items

    def tell(self, missing: Sequence[str], listed: int, budget: float = 0.0) -> None:
        """Names the first missing files: as a warning, or if more than the budget's share is missing, as an error.

        Args:
          missing: where they were expected, relative to root.
          listed: how many there should be.
          budget: share of them that may be missing.

        Raises:
          MissingInputError: too many are missing.
        """
        if not missing:
            return
        first = ", ".join(missing[:_NAMED]) + (f" and {len(missing) - _NAMED} more" if len(missing) > _NAMED else "")
        told = f"{self.root}: {len(missing)} of {listed} listed files are missing: {first}."
        if len(missing) > budget * listed:
            allowed = f" At most a share of {budget:g} may be." if budget else ""
            raise errors.MissingInputError(f"{told}{allowed} {self.help}")
        logging.warning(told)


def choose(variant: str, variants: dict[str, str]) -> str:
    """The variant, or the first where none is named.

    Raises:
      ConfigError: there is none of that name.
    """
    if variant and variant not in variants:
        raise errors.ConfigError(f"Found variant {variant!r}; expected one of {', '.join(variants)}.")
    return variant or next(iter(variants))
