"""Visits to items: from places in the plan to rows of whatever a system takes of them."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from avc_jax import errors
from avc_jax.data import presence
from avc_jax.data.items import fields, windows
from avc_jax.data.items.film import Film
from avc_jax.data.items.source import ItemSource
from avc_jax.data.moments import Format
from avc_jax.data.plan import Plan
from avc_jax.data.quarantine import Quarantine
from avc_jax.data.reading import Batch, Shapes, empty
from avc_jax.data.sources import check_fields
from avc_jax.data.visit import MAX_ATTEMPTS

if TYPE_CHECKING:
    from avc_jax.systems.base import Feature


class ItemReader:
    """Reads rows of items; see `reading.Reader`. Each visit is a pure function of (source, plan, visit).

    Of an item that lacks a track, rows hold zeros and a length of 0. An item whose files are not there, damaged or of the wrong
    width is bad: it goes to quarantine, and in training the plan's next candidate takes its place.
    """

    by_rows = False

    def __init__(self, source: ItemSource, plan: Plan, form: Format, quarantine: Quarantine, features: "Mapping[str, Feature]"):
        """
        Raises:
          ConfigError: the system takes what the items do not have, or of another width.
        """
        self.source, self.plan, self._form, self._quarantine = source, plan, form, quarantine
        self._fields = fields.make(source, form, features)
        self._frames = windows.frames_in(form.window_s)
        self.shapes: Shapes = {name: shape for field in self._fields for name, shape in field.shapes.items()}
        self._clock = next((name for name in ("waveform", "spectrogram") if name in self.shapes), "rows")
        self._neighbours = source.neighbours(self.shapes)
        self.shapes |= dict.fromkeys(("label", "file", "clip"), ((), np.int32))
        what = f"items of config.data.source={source.kind}, with config.data.sound={source.sounds}"
        check_fields(features, self.shapes, what if "words" not in features or source.vectors else f"{what} and without "
                     "config.data.word_vectors")

    def train(self, visits: Any, pairs: np.ndarray | None = None) -> Batch:
        """See `reading.Reader.train`. The rows of a visit are windows of one item, drawn with replacement.

        Raises:
          DataError: too many items are bad.
        """
        visits = np.atleast_1d(np.asarray(visits, np.int64))
        draws, pictures = self.plan.window_draws(visits), self.plan.picture_draws(visits, fields.PICTURE_DRAWS)
        wanted = [np.arange(self.plan.pairs_per_visit)] * len(visits) if pairs is None else [np.array([pair]) for pair in pairs]
        return self._joined([self._visit(visits[place : place + 1], draws[place, rows], pictures[place, rows])
                             for place, rows in enumerate(wanted)])

    def whole(self, places: Any) -> Batch:
        """See `reading.Reader.whole`. Of a clip the beginning of its sound and all of its features; of a film that is longer than
        the sound, what is in its middle."""
        found = []
        for place in np.atleast_1d(np.asarray(places, np.int64)).tolist():
            try:
                found.append(self._read(place, None, None))
            except errors.BadMedia as error:
                self._quarantine.add(self.source.items[place].path, error)
        return self._joined(found)

    def _visit(self, visit: np.ndarray, draws: np.ndarray, pictures: np.ndarray) -> Batch:
        """The rows of a visit int64[1], from the first good candidate."""
        for attempt in range(MAX_ATTEMPTS):
            place = int((self.plan.substitutes(visit, attempt) if attempt else self.plan.clips(visit))[0])
            try:
                return self._read(place, draws, pictures)
            except errors.BadMedia as error:
                self._quarantine.add(self.source.items[place].path, error)
        self._quarantine.check()
        raise errors.DataError(f"No usable item came up in {MAX_ATTEMPTS} draws from {self.source.root}; see the quarantine "
                               "ledger.")

    def _read(self, place: int, draws: np.ndarray | None, pictures: np.ndarray | None) -> Batch:
        """The rows of an item: in training one for each of float64[k, 2] draws, else one.

        Raises:
          BadMedia: it cannot give them.
        """
        return presence.read_beside(self._neighbours, self.source.items[place].path,
                                    lambda: self._read_now(place, draws, pictures))

    def _read_now(self, place: int, draws: np.ndarray | None, pictures: np.ndarray | None) -> Batch:
        item = self.source.items[place]
        film = Film(self.source, item, self._clock)
        film.check()
        taken = [self._evaluated(film)] if draws is None else [self._drawn(film, *row) for row in draws.tolist()]
        found = {name: value for field in self._fields for name, value in field.read(fields.Taken(film, taken, pictures)).items()}
        return found | {name: np.full(len(taken), value, np.int32)
                        for name, value in (("label", 1), ("file", item.file), ("clip", place))}

    def _drawn(self, film: Film, draw: float, text_draw: float) -> windows.Window:
        choice = self.source.clip_choice if film.item.film else "whole"
        if choice == "random":
            return film.random(draw, self._frames)
        return film.around_caption(draw, self.source.min_clip_s) if choice == "captions" else film.whole(text_draw)

    def _evaluated(self, film: Film) -> windows.Window:
        is_film = film.item.film and self.source.clip_choice != "whole" and not np.isfinite(film.item.end_s)
        return film.middle(self._frames) if is_film else film.whole(None)

    def _joined(self, parts: list[Batch]) -> Batch:
        if len(parts) == 1:
            return parts[0]
        parts = [empty(self.shapes), *parts]
        return {name: np.concatenate([part[name] for part in parts]) for name in self.shapes}
