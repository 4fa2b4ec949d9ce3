"""What the next sample is: arithmetic on (seed, position), with no state to save.

Positions count visits to clips. Epoch e is the positions [e * n, (e + 1) * n), and its order is a keyed permutation.
Only the raw output of a counter-based generator is used: NumPy promises its bits, not those of its distributions.
"""

import dataclasses
import functools
from typing import NamedTuple

import numpy as np

# The independent uses of a seed. The numbers are part of the promise of exact resume: never renumber.
ORDER, MOMENTS, LABELS, PARTNERS, SUBSTITUTES = range(5)


def _raw(seed: int, use: int, counter: int, count: int) -> np.ndarray:
    """uint64[count] of random bits for one use of a seed at one counter."""
    key = np.array([np.uint64(seed), np.uint64(use)])
    return np.random.Philox(key=key, counter=np.array([0, 0, 0, counter], np.uint64)).random_raw(count)


def uniforms(seed: int, use: int, counter: int, count: int) -> np.ndarray:
    """float64[count] in [0, 1), a pure function of the arguments."""
    return (_raw(seed, use, counter, count) >> np.uint64(11)) * 2.0**-53


@functools.lru_cache(maxsize=4)
def epoch_order(seed: int, epoch: int, num_clips: int) -> np.ndarray:
    """int64[num_clips]: the permutation of an epoch."""
    return np.argsort(_raw(seed, ORDER, epoch, num_clips), kind="stable")


class Draws(NamedTuple):
    """Random numbers of one visit, each float64[k, 2] in [0, 1): (frame, sound) of the clip, (y, x) of the crop, and
    (frame, sound) of the clip that gives the false pairs their sound."""

    moment: np.ndarray
    crop: np.ndarray
    partner_moment: np.ndarray


@dataclasses.dataclass(frozen=True)
class Plan:
    """The order of visits to clips, for training.

    Attributes:
      num_clips: how many clips there are.
      seed: another seed, another order.
      batch_size: pairs in a global batch.
      pairs_per_visit: pairs that one visit yields; divides batch_size.
    """

    num_clips: int
    seed: int
    batch_size: int
    pairs_per_visit: int = 1

    @property
    def visits_per_step(self) -> int:
        """New visits per global batch."""
        return self.batch_size // self.pairs_per_visit

    def clip(self, visit: int) -> int:
        """The clip that a visit goes to. Each epoch of num_clips visits goes to every clip once."""
        epoch, place = divmod(visit, self.num_clips)
        return int(epoch_order(self.seed, epoch, self.num_clips)[place])

    def substitute(self, visit: int, attempt: int) -> int:
        """The clip that stands in when the visit's own clip is bad; attempts count from 1."""
        return _index(uniforms(self.seed, SUBSTITUTES, visit, attempt)[-1], self.num_clips)

    def partner(self, visit: int, attempt: int) -> int:
        """Candidates, one per attempt from 0, for the clip that gives the visit's false pairs their sound."""
        return _index(uniforms(self.seed, PARTNERS, visit, attempt + 1)[-1], self.num_clips)

    def draws(self, visit: int) -> Draws:
        """The random numbers that place and crop the visit's pairs."""
        columns = uniforms(self.seed, MOMENTS, visit, 6 * self.pairs_per_visit).reshape(-1, 6)
        return Draws(columns[:, :2], columns[:, 2:4], columns[:, 4:])

    def labels(self, visit: int) -> np.ndarray:
        """int32[pairs_per_visit]: 1 for a true pair, 0 for a false one, by fair coins."""
        return (uniforms(self.seed, LABELS, visit, self.pairs_per_visit) < 0.5).astype(np.int32)

    def rows(self, step: int) -> list[tuple[int, int]]:
        """(visit, which of its pairs) of every row of the global batch of a step, in order.

        With k pairs per visit, 1/k of the visits are new in each batch and each visit gives one pair to k batches in
        turn: the files of a batch differ, and decoding costs the same at every step. Row r belongs to slot r // k of
        the visits of a step; a host that owns consecutive slots owns consecutive rows.
        """
        k = self.pairs_per_visit
        return [((step + k - 1 - pair) * self.visits_per_step + slot, pair)
                for slot in range(self.visits_per_step) for pair in range(k)]


def _index(uniform: float, count: int) -> int:
    return min(int(uniform * count), count - 1)
