"""A direction of retrieval: which clips ask for which, also where several of them, spoken captions, share a picture.

Rows of one picture are equal, so its captions would push each other out of the first place, and a picture would miss where it
finds another one of its captions. Therefore a picture asks once and is one candidate, and each of its captions is right for it.
"""

import dataclasses
from typing import NamedTuple

import numpy as np

from avc_jax.data.sources import Source
from avc_jax.evaluators import ranking
from avc_jax.evaluators.nearness import Nearness
from avc_jax.evaluators.ranking import Counts

PICTURE = "video"  # The modality of `System.embed` that clips share; "audio+video" is of one clip.


class Ranked(NamedTuple):
    """Where q queries find what is right for them.

    Attributes:
      counts: of the nearest right item of each.
      items: number of candidates.
      right: int64[q], how many of them are right.
    """

    counts: Counts
    items: int
    right: np.ndarray


def pictures(source: Source) -> np.ndarray:
    """int64[n]: for each clip of a source the first that has its picture; the clip itself where pictures are not shared.

    Clips of one film have pictures of their own.
    """
    first: dict[str, int] = {}
    names = [getattr(clip, "image", "") for clip in source.clips]  # only items have one
    return np.array([first.setdefault(name, place) if name else place for place, name in enumerate(names)], np.int64)


@dataclasses.dataclass(frozen=True)
class Direction:
    """n clips that ask with one modality for another.

    Attributes:
      query, item: the modalities.
      near: how near they are.
      picture: int[n], the same number for clips that share a picture.
      asking, there: bool[n], the clips that have the query, and that have the item.
    """

    query: str
    item: str
    near: Nearness
    picture: np.ndarray
    asking: np.ndarray
    there: np.ndarray

    @property
    def asks(self) -> np.ndarray:
        """int[n]: who asks for each clip, the first with its picture or itself."""
        return self._speaker(self.query)

    @property
    def answers(self) -> np.ndarray:
        """int[n]: who is the candidate for each clip."""
        return self._speaker(self.item)

    def _speaker(self, modality: str) -> np.ndarray:
        if modality != PICTURE:
            return np.arange(len(self.picture))
        _, first, of = np.unique(self.picture, return_index=True, return_inverse=True)
        return first[of]

    def find_own(self, among: np.ndarray, *, complete: bool) -> Ranked:
        """Clips that look for their own items.

        Args:
          among: bool[n], the clips that there are.
          complete: only those that have both are candidates.
        """
        asking, there = self.asking & among, self.there & among
        if complete:
            there = there & asking
        known, items = np.flatnonzero(asking & there), np.unique(self.answers[there])
        if not len(known):
            return Ranked(Counts(np.zeros(0, np.int64), np.zeros(0, np.int64)), len(items), np.zeros(0, np.int64))
        asks = self.asks[known]
        counts = self.near.count(asks, items, np.searchsorted(items, self.answers[known]))
        return Ranked(ranking.best(counts, asks), len(items), np.unique(asks, return_counts=True)[1])
