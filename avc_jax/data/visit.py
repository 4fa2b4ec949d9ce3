"""Visits to clips: from places in the plan to the pairs of frame and sound that they yield."""

from collections.abc import Callable

import numpy as np

from avc_jax import errors
from avc_jax.data import memory
from avc_jax.data.jpegs import Crops, make_cut
from avc_jax.data.moments import Format, Found, Request
from avc_jax.data.plan import Draws, Plan
from avc_jax.data.quarantine import Quarantine
from avc_jax.data.reading import Rows, Shapes
from avc_jax.data.sources import Source

MAX_ATTEMPTS = 1000

# (attempt, int64[m] which visits) -> int64[m] clips to try for them; -1: none this time.
Candidates = Callable[[int, np.ndarray], np.ndarray]


def fields(form: Format) -> Shapes:
    """The fields of pairs of frame and sound, in order; r is the leading axis of pairs.

    frame: uint8[r, size, size, 3], RGB; from a source with a `stored_side`, `jpegs.Crops` of them.
    waveform: int16[r, window_s * rate_hz].
    label: int32[r], 1 where frame and sound are of one moment of one file.
    file: int32[r], the file of the frame.
    clip, sound_clip: int32[r], the clips that they are from, as places in the source.
    frame_s, sound_s: float64[r], the time of the frame and the start of the sound, in seconds on their file's clock.
    """
    return {
        "frame": ((form.size, form.size, 3), np.uint8),
        "waveform": ((form.samples,), np.int16),
        "label": ((), np.int32),
        "file": ((), np.int32),
        "clip": ((), np.int32),
        "sound_clip": ((), np.int32),
        "frame_s": ((), np.float64),
        "sound_s": ((), np.float64),
    }


class Reader:
    """Reads pairs of frame and sound, which have the `fields`. Each visit is a pure function of (source, plan, visit)."""

    def __init__(self, source: Source, plan: Plan, form: Format, quarantine: Quarantine, *, pairing: str):
        """
        Args:
          source: the clips of one split.
          plan: over as many clips.
          form: of what is delivered.
          quarantine: where bad files go.
          pairing: see config.data.pairing; none: true pairs only.

        Raises:
          DataError: false pairs are wanted, and there is only one file.
        """
        self.source, self.plan, self.form, self.quarantine = source, plan, form, quarantine
        self.pairing, self.shapes = pairing, fields(form)
        self.by_rows = bool(source.stored_side)
        self._files = np.array([clip.file for clip in source.clips], np.int32)
        if source.num_files < 2 and pairing != "none":
            raise errors.DataError(f"False pairs need the sound of another file, and this split of {source.root} has "
                                   f"{source.num_files} file(s).")

    def train(self, visits: np.ndarray | int, pairs: np.ndarray | None = None) -> Rows:
        """Pairs of training visits. Where a clip is bad, another takes its place, always the same one.

        Args:
          visits: int64[n].
          pairs: int64[n], which pair of each visit; None: all, visit by visit.

        Raises:
          DataError: too many files are bad.
        """
        visits = np.atleast_1d(np.asarray(visits, np.int64))
        draws = self.plan.draws(visits)
        shape = (len(visits), self.plan.pairs_per_visit)
        labels = self.plan.labels(visits) if self.pairing == "independent" else np.ones(shape, np.int32)
        wanted = np.ones(shape, bool) if pairs is None else np.arange(shape[1]) == pairs[:, None]

        def candidates(attempt: int, which: np.ndarray) -> np.ndarray:
            return self.plan.substitutes(visits[which], attempt) if attempt else self.plan.clips(visits[which])

        own = self._own_request(draws, draws.crop, labels, wanted)
        return self._pairs(visits, *self._read_good(candidates, own), own, labels, draws.partner_moment)

    def evaluate(self, indices: np.ndarray | int) -> Rows:
        """One true and one false pair of held-out clips, cropped at the centre; none of a bad clip.

        Args:
          indices: int64[n], places in the source.
        """
        indices = np.atleast_1d(np.asarray(indices, np.int64))
        return self._held_out(indices, self.plan.draws(indices), np.tile(np.array([1, 0], np.int32), (len(indices), 1)))

    def whole(self, indices: np.ndarray | int) -> Rows:
        """The true pair at the middle of each clip: the frame there, cropped at the centre, and the sound around it.

        None of a bad clip.

        Args:
          indices: int64[n], places in the source.
        """
        indices = np.atleast_1d(np.asarray(indices, np.int64))
        middle = np.full((len(indices), 1, 2), 0.5)
        return self._held_out(indices, Draws(middle, middle, middle), np.ones((len(indices), 1), np.int32))

    def _held_out(self, indices: np.ndarray, draws: Draws, labels: np.ndarray) -> Rows:
        """Pairs of the very clips that are asked for, cropped at the centre; none of a bad clip."""
        own = self._own_request(draws, np.full(draws.crop.shape, 0.5), labels, np.ones(labels.shape, bool))
        chosen, found = self._read_good(lambda attempt, which: indices[which], own, attempts=1)
        good = chosen >= 0
        found = found._replace(frame_s=found.frame_s[good], sound_s=found.sound_s[good])
        return self._pairs(indices[good], chosen[good], found, own.take(good), labels[good], draws.partner_moment[good])

    def _own_request(self, draws: Draws, crops: np.ndarray, labels: np.ndarray, wanted: np.ndarray) -> Request:
        """The request for the visits' own clips, whose every moment has to be good, used or not."""
        rows = np.cumsum(wanted.reshape(-1)).reshape(wanted.shape) - 1
        waveform = memory.empty((int(wanted.sum()), self.form.samples), np.int16)
        return Request(np.full(len(labels), -1), draws.moment, crops, np.ones_like(wanted), wanted, wanted & (labels == 1), rows,
                       waveform)

    def _pairs(self, visits: np.ndarray, clips: np.ndarray, found: Found, own: Request, labels: np.ndarray,
               partner_moment: np.ndarray) -> Rows:
        """Joins what the visits' own clips gave, and has partners' sounds written where labels ask for them."""
        wanted, false = own.frames, labels == 0

        def candidates(attempt: int, which: np.ndarray) -> np.ndarray:
            partners = self.plan.partners(visits[which], attempt)
            return np.where(self._files[partners] == self._files[clips[which]], -1, partners)

        sounds = wanted & false
        partners, other = self._read_good(candidates, own._replace(
            draws=partner_moment, needed=false & sounds.any(axis=1, keepdims=True), frames=np.zeros_like(wanted), sounds=sounds))
        rows, label = own.rows[wanted], labels[wanted]
        clip, partner = (np.broadcast_to(value[:, None], wanted.shape)[wanted] for value in (clips, partners))
        return {
            "frame": self._crops(found.frames),
            "waveform": own.waveform if len(rows) == len(own.waveform) else own.waveform[rows],
            "label": label,
            "file": self._files[clip],
            "clip": clip.astype(np.int32),
            "sound_clip": np.where(label == 1, clip, partner).astype(np.int32),
            "frame_s": found.frame_s[wanted],
            "sound_s": np.where(false, other.sound_s, found.sound_s)[wanted],
        }

    def _crops(self, frames: list) -> np.ndarray | Crops:
        if self.by_rows:
            return Crops(frames, make_cut(self.source.stored_side, self.form))
        return np.stack(frames) if frames else np.zeros((0, *self.shapes["frame"][0]), np.uint8)

    def _read_good(self, candidates: Candidates, request: Request, attempts: int = MAX_ATTEMPTS) -> tuple[np.ndarray, Found]:
        """Reads the first good candidate of each visit, and puts bad ones into quarantine.

        Returns:
          int64[n] clips, -1 where nothing was needed or none was good, and what they gave.
        """
        chosen = np.full(len(request.needed), -1, np.int64)
        waiting = np.flatnonzero(request.needed.any(axis=1))
        parts: list[tuple[np.ndarray, Found]] = []
        for attempt in range(attempts):
            if not len(waiting):
                break
            clips = candidates(attempt, waiting)
            asked, clips = waiting[clips >= 0], clips[clips >= 0]
            if not len(asked):
                continue
            found = self.source.read(request.take(asked)._replace(clips=clips), self.form)
            for place, error in found.bad.items():
                self.quarantine.add(self.source.clips[clips[place]].path, error)
            good = [place for place in range(len(asked)) if place not in found.bad]
            chosen[asked[good]] = clips[good]
            parts.append((asked[good], found._replace(frame_s=found.frame_s[good], sound_s=found.sound_s[good])))
            waiting = waiting[chosen[waiting] < 0]
        if len(waiting) and attempts > 1:
            self.quarantine.check()
            raise errors.DataError(f"No usable clip came up in {attempts} draws from {self.source.root}; see the "
                                   "quarantine ledger.")
        return chosen, _merge(request, parts)


def _merge(request: Request, parts: list[tuple[np.ndarray, Found]]) -> Found:
    """What several attempts found, in the order of the request. A part: (int64[m] visits that are good, what they gave)."""
    if len(parts) == 1 and len(parts[0][0]) == len(request.needed):
        return parts[0][1]
    frame_s, sound_s = (np.zeros(request.needed.shape) for _ in range(2))
    for visits, found in parts:
        frame_s[visits], sound_s[visits] = found.frame_s, found.sound_s
    visits = np.concatenate([np.zeros(0, np.int64), *(visits for visits, _ in parts)])

    order = np.argsort(np.repeat(visits, request.frames[visits].sum(axis=1)), kind="stable")
    frames = [frame for _, found in parts for frame in found.frames]
    return Found({}, [frames[place] for place in order] if frames else frames, frame_s, sound_s)
