"""What the pipeline asks of whoever reads a source, whatever its examples are made of."""

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from avc_jax.data.plan import Plan

Batch = dict[str, np.ndarray]  # field -> rows
Rows = Mapping[str, npt.ArrayLike]  # the same, where a field may yet have to be made an array, as `jpegs.Crops`
Shapes = Mapping[str, tuple[tuple[int, ...], Any]]  # field -> (shape without the leading axis of rows, dtype)


class Reader(Protocol):
    """Reads examples as dicts of arrays, whose leading axis is that of rows. Safe to use from several threads.

    Attributes:
      plan: what the visits are.
      shapes: of the fields, in the batches that come out of it; `clip` is one of them, the place of a row in the source.
      by_rows: it finds a row as fast as a visit, and so is asked for rows.
    """

    plan: Plan
    shapes: Shapes
    by_rows: bool

    def train(self, visits: Any, pairs: np.ndarray | None = None) -> Rows:
        """The rows of training visits, a pure function of (source, plan, visit); always as many as were asked for.

        Args:
          visits: int64[n], or one.
          pairs: int64[n], which row of each visit; None: all, visit by visit. Asked for only `by_rows`.
        """

    def whole(self, places: Any) -> Rows:
        """What evaluation looks at: a row of each clip at places int64[n] in the source, or one; none of a bad clip."""


def empty(shapes: Shapes) -> Batch:
    """No rows of these fields."""
    return {name: np.zeros((0, *shape), dtype) for name, (shape, dtype) in shapes.items()}
