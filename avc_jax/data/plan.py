"""What the next sample is: arithmetic on (seed, position), with no state to save.

Positions count visits to clips. Epoch e is the positions [e * n, (e + 1) * n), and its order is a keyed permutation.
Only the raw output of a counter-based generator is used: NumPy promises its bits, not those of its distributions.
"""

import dataclasses
import functools
from typing import NamedTuple

import numpy as np

# The independent uses of a seed. The numbers are part of the promise of exact resume: never renumber.
ORDER, MOMENTS, LABELS, PARTNERS, SUBSTITUTES, WINDOWS, PICTURES = range(7)


def _raw(seed: int, use: int, lane: int, first: int, count: int) -> np.ndarray:
    """uint64[count] of random bits for one use of a seed: a lane's blocks of four numbers, from its block `first` on."""
    key = np.array([seed, use], np.uint64)
    return np.random.Philox(key=key, counter=np.array([first, 0, 0, lane], np.uint64)).random_raw(count)


def uniforms(seed: int, use: int, positions: np.ndarray, count: int, lane: int = 0) -> np.ndarray:
    """float64[n, count] in [0, 1): `count` numbers for each of int64[n] positions, a pure function of the arguments.

    The numbers of consecutive positions are one stretch of the generator's stream, so that many cost hardly more than one.
    """
    blocks = -(-count // 4)
    unique, back = np.unique(positions, return_inverse=True)
    runs = np.split(unique, np.flatnonzero(np.diff(unique) != 1) + 1) if len(unique) else []
    raw = [_raw(seed, use, lane, int(run[0]) * blocks, 4 * blocks * len(run)) for run in runs]
    numbers = np.concatenate([np.empty(0, np.uint64), *raw]).reshape(-1, 4 * blocks)[back, :count]
    return (numbers >> np.uint64(11)) * 2.0**-53


@functools.lru_cache(maxsize=4)
def epoch_order(seed: int, epoch: int, num_clips: int) -> np.ndarray:
    """int64[num_clips]: the permutation of an epoch."""
    return np.argsort(_raw(seed, ORDER, epoch, 0, num_clips), kind="stable")


class Draws(NamedTuple):
    """Random numbers of n visits, each float64[n, k, 2] in [0, 1): (frame, sound) of the clip, (y, x) of the crop, and
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
      together: the pairs of a visit land in one batch, instead of in pairs_per_visit batches after each other.
    """

    num_clips: int
    seed: int
    batch_size: int
    pairs_per_visit: int = 1
    together: bool = False

    @property
    def visits_per_step(self) -> int:
        """New visits per global batch."""
        return self.batch_size // self.pairs_per_visit

    def clips(self, visits: np.ndarray) -> np.ndarray:
        """int64[n]: the clips that int64[n] visits go to. Each epoch of num_clips visits goes to every clip once."""
        epochs, places = np.divmod(visits, self.num_clips)
        clips = np.empty_like(places)
        for epoch in np.unique(epochs):
            chosen = epochs == epoch
            clips[chosen] = epoch_order(self.seed, int(epoch), self.num_clips)[places[chosen]]
        return clips

    def substitutes(self, visits: np.ndarray, attempt: int) -> np.ndarray:
        """int64[n]: the clips that stand in when the visits' own are bad; attempts count from 1."""
        return self._any_clip(SUBSTITUTES, visits, attempt)

    def partners(self, visits: np.ndarray, attempt: int) -> np.ndarray:
        """int64[n]: candidates, for each attempt from 0, for the clips that give the visits' false pairs their sound."""
        return self._any_clip(PARTNERS, visits, attempt)

    def _any_clip(self, use: int, visits: np.ndarray, attempt: int) -> np.ndarray:
        chosen = (uniforms(self.seed, use, visits, 1, attempt)[:, 0] * self.num_clips).astype(np.int64)
        return np.minimum(chosen, self.num_clips - 1)  # the product may round up

    def draws(self, visits: np.ndarray) -> Draws:
        """The random numbers that place and crop the pairs of n visits."""
        k = self.pairs_per_visit
        columns = uniforms(self.seed, MOMENTS, visits, 6 * k).reshape(-1, k, 6)
        return Draws(columns[..., :2], columns[..., 2:4], columns[..., 4:])

    def window_draws(self, visits: np.ndarray) -> np.ndarray:
        """float64[n, k, 2] in [0, 1): which window of its item each row of n visits is, and which of its texts."""
        return uniforms(self.seed, WINDOWS, visits, 2 * self.pairs_per_visit).reshape(-1, self.pairs_per_visit, 2)

    def picture_draws(self, visits: np.ndarray, count: int) -> np.ndarray:
        """float64[n, k, count] in [0, 1), which cut the pictures of n visits."""
        return uniforms(self.seed, PICTURES, visits, count * self.pairs_per_visit).reshape(-1, self.pairs_per_visit, count)

    def labels(self, visits: np.ndarray) -> np.ndarray:
        """int32[n, k]: 1 for a true pair, 0 for a false one, by fair coins."""
        return (uniforms(self.seed, LABELS, visits, self.pairs_per_visit) < 0.5).astype(np.int32)

    def rows(self, step: int) -> tuple[np.ndarray, np.ndarray]:
        """(int64[batch_size] visits, int64[batch_size] which of their pairs) of the rows of a step's global batch, in order.

        With k pairs per visit, 1/k of the visits are new in each batch and each visit gives one pair to k batches in
        turn: the files of a batch differ, and decoding costs the same at every step. Row r belongs to slot r // k of
        the visits of a step; a host that owns consecutive slots owns consecutive rows.

        With `together` all k pairs of a visit are in the batch of its step, so all visits of a batch are new.
        """
        k = self.pairs_per_visit
        slots, pairs = np.divmod(np.arange(self.visits_per_step * k), k)
        if self.together:
            return step * self.visits_per_step + slots, pairs
        return (step + k - 1 - pairs) * self.visits_per_step + slots, pairs
