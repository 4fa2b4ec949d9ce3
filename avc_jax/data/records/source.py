"""Training from records: a source of clips whose files are records instead of videos."""

import dataclasses
import functools
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from avc_jax import errors
from avc_jax.data import presence
from avc_jax.data.clock import EDGE_S
from avc_jax.data.jpegs import Crop, make_cut
from avc_jax.data.moments import Format, Found, Request, draw_frames, draw_sounds, incomplete, too_short
from avc_jax.data.records import layout
from avc_jax.data.records.places import RECORD, DamagedPart, Parts, Record
from avc_jax.data.sources import Clip, Source

_ROUNDING_S = 5.1e-4  # As for the pictures of a file: so little before a frame means that frame.
_UNREADABLE = (OSError, ValueError, IndexError, DamagedPart)
T = TypeVar("T")
_MOST_OPEN = 256  # Shards open at once; the limit of a process is often 1,024 files.


@dataclasses.dataclass(frozen=True)
class RecordSource(Source):
    """The clips of the folder that the records were made of, in the same order, read from records.

    Frames are the stored ones, so a time gets the last stored frame that is not after it. Clock, spans and refusals are those of
    the files.

    Attributes:
      recipe: of the records.
      table: RECORD[n]; `shard` is -1 for a clip without a record.
      rows: clip -> its row in the table.
      rejected: row -> why it has no record.
      shards: names.
      opened: the shards.
    """

    recipe: layout.Recipe = dataclasses.field(default_factory=layout.Recipe)
    table: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros(0, RECORD), compare=False, repr=False)
    rows: Mapping[Clip, int] = dataclasses.field(default_factory=dict, compare=False, repr=False)
    rejected: Mapping[int, tuple[str, str]] = dataclasses.field(default_factory=dict, compare=False, repr=False)
    shards: tuple[str, ...] = dataclasses.field(default=(), compare=False, repr=False)
    opened: Any = dataclasses.field(default=None, compare=False, repr=False)

    @property
    def stored_side(self) -> int:
        """Frames are handed on as JPEGs."""
        return self.recipe.short_side

    @functools.cached_property
    def _own_rows(self) -> np.ndarray:
        return np.array([self.rows[clip] for clip in self.clips], np.int64)

    def read(self, request: Request, form: Format) -> Found:
        """Reads the delivered frames and sounds, and nothing else of the records; see `Source.read`.

        Raises:
          ValueError: the records have another rate.
        """
        if form.rate_hz != self.recipe.rate_hz:
            raise ValueError(f"The records hold sound at {self.recipe.rate_hz} Hz, asked for {form.rate_hz} Hz.")
        rows = self._own_rows[request.clips]
        table = self.table[rows]
        bad = {int(place): errors.BadMedia(*self.rejected[int(rows[place])]) for place in np.flatnonzero(table["shard"] < 0)}
        spans = _fit(table, request, form, self.recipe.fps)
        bad |= {place: error for place, error in spans.bad(form.window_s).items() if place not in bad}
        frames = self._frames(table, request, spans, form, bad)
        self._sounds(table, request, spans, bad)
        # A damage may be noticed after other rows of the clip were read.
        return Found(bad, [crop for clip, crop in frames if clip not in bad], spans.frame_s, spans.sound_s)

    def sound(self, place: int, rate_hz: int) -> np.ndarray:
        """The whole sound of a clip; see `Source.sound`."""
        if rate_hz != self.recipe.rate_hz:
            raise ValueError(f"The records hold sound at {self.recipe.rate_hz} Hz, asked for {rate_hz} Hz.")
        number = int(self._own_rows[place])
        if number in self.rejected:
            raise errors.BadMedia(*self.rejected[number])
        sound = np.empty(self.table["samples"][number], np.int16)
        self.opened.sound(*_records(self.table, np.array([number]))[0], 0, sound)
        return sound

    def _frames(self, table: np.ndarray, request: Request, spans: "_Fit", form: Format,
                bad: dict[int, errors.BadMedia]) -> list[tuple[int, Crop]]:
        """(index of the clip, crop) of each wanted frame; adds clips that turn out to be damaged to `bad`."""
        clips, moments = np.nonzero(request.frames)
        columns = (clips, spans.frame[clips, moments], request.crops[clips, moments])
        rows, cut = [], make_cut(self.stored_side, form)
        for record, clip, number, place in zip(_records(table, clips), *(column.tolist() for column in columns), strict=True):
            if clip in bad:
                continue
            try:
                jpeg, height, width = self.opened.frame(*record, number)
            except errors.BadMedia as error:
                bad[clip] = error
                continue
            rows.append((clip, cut.crop(jpeg, height, width, place)))
        return rows

    def _sounds(self, table: np.ndarray, request: Request, spans: "_Fit", bad: dict[int, errors.BadMedia]) -> None:
        """Writes each wanted sound into its row; adds clips that turn out to be damaged to `bad`."""
        clips, moments = np.nonzero(request.sounds)
        columns = (clips, spans.sample[clips, moments], request.rows[clips, moments])
        for record, clip, begin, row in zip(_records(table, clips), *(column.tolist() for column in columns), strict=True):
            if clip in bad:
                continue
            try:
                self.opened.sound(*record, begin, request.waveform[row])
            except errors.BadMedia as error:
                bad[clip] = error


def _records(table: np.ndarray, rows: np.ndarray) -> list[tuple[int, Record]]:
    """(number of its shard, where its parts are) for rows int64[n] of a table RECORD[m]."""
    columns = (table[name][rows].tolist() for name in ("shard", "first_part", "frames", "xxh3"))
    return [(shard, Record(*rest)) for shard, *rest in zip(*columns, strict=True)]


class Shards:
    """The shards of a folder, of which some are open. Safe to use from several threads."""

    def __init__(self, root: Path, names: tuple[str, ...], sizes: Mapping[str, int]):
        """
        Args:
          root: the folder.
          names: of the shards.
          sizes: name -> bytes of its file.
        """
        self._root, self._names, self._sizes = root, names, sizes
        self._written_ns: dict[int, int] = {}
        self._open = functools.lru_cache(maxsize=_MOST_OPEN)(self._open_now)

    def frame(self, shard: int, record: Record, number: int) -> tuple[bytes, int, int]:
        """JPEG, height and width of a frame of a record.

        Raises:
          BadMedia: it cannot be read.
          MissingInputError: the shard is not what it was, and does not become so again.
        """
        try:
            return self._open(shard).frame(record, number)
        except _UNREADABLE:
            return self._ask_again(shard, lambda parts: parts.frame(record, number))

    def sound(self, shard: int, record: Record, begin: int, out: np.ndarray) -> None:
        """Fills int16[n] with its sound from sample `begin` on; raises as `frame` does."""
        try:
            self._open(shard).sound(record, begin, out)
        except _UNREADABLE:
            self._ask_again(shard, lambda parts: parts.sound(record, begin, out))

    def _ask_again(self, number: int, question: Callable[[Parts], T]) -> T:
        return presence.patiently(lambda: self._ask_anew(number, question), lambda: self._why_away(number))

    def _ask_anew(self, number: int, question: Callable[[Parts], T]) -> T:
        self._open.cache_clear()  # By now the file may be another one.
        try:
            return question(self._open(number))
        except _UNREADABLE as error:
            raise errors.BadMedia("damaged", f"Its record in {self._names[number]} cannot be read ({error}).") from error

    def _open_now(self, number: int) -> Parts:
        name = self._names[number]
        parts = Parts(self._root / name, layout.parts_table(self._root, name))
        self._written_ns.setdefault(number, parts.written_ns)
        return parts

    def _why_away(self, number: int) -> str:
        """A clause on a shard that is not there, or not as it was: more than one clip's misfortune, and perhaps about to end."""
        path = self._root / self._names[number]
        try:
            found = path.stat()
            layout.parts_table(self._root, path.name).stat()
        except OSError as error:
            return f"{error.filename} cannot be reached ({error.strerror})"
        if found.st_size != self._sizes.get(path.name, found.st_size):
            return f"{path} has {found.st_size:,} bytes, and had {self._sizes[path.name]:,} when it was made"
        if found.st_mtime_ns != self._written_ns.get(number, found.st_mtime_ns):
            return f"{path} was written to while it was in use, and its records cannot be read"
        return ""


@dataclasses.dataclass(frozen=True)
class _Fit:
    """Where the moments of n clips lie.

    Attributes:
      frame_s, sound_s: float64[n, k], seconds.
      frame, sample: int64[n, k], the stored frame, and the first sample of the sound.
      fits: bool[n], every needed moment is there.
      length_s: float64[n], of the clips.
    """

    frame_s: np.ndarray
    sound_s: np.ndarray
    frame: np.ndarray
    sample: np.ndarray
    fits: np.ndarray
    length_s: np.ndarray

    def bad(self, window_s: float) -> dict[int, errors.BadMedia]:
        """Why those clips that do not fit do not."""
        return {int(place): too_short(self.length_s[place], window_s) if self.length_s[place] < window_s
                else incomplete("A moment") for place in np.flatnonzero(~self.fits)}


def _fit(table: np.ndarray, request: Request, form: Format, fps: float) -> _Fit:
    """As in a file: by the declared spans, and where those fail by the measured ones."""
    declared = _fit_within(table, "declared", request, form, fps)
    if declared.fits.all():
        return declared
    measured = _fit_within(table, "measured", request, form, fps)
    values = []
    for field in dataclasses.fields(_Fit):
        one, other = getattr(declared, field.name), getattr(measured, field.name)
        values.append(np.where(declared.fits.reshape(-1, *[1] * (one.ndim - 1)), one, other))
    return _Fit(*values)


def _fit_within(table: np.ndarray, which: str, request: Request, form: Format, fps: float) -> _Fit:
    start_s, end_s = table[f"{which}_start_s"][:, None], table[f"{which}_end_s"][:, None]
    frame_s = draw_frames(start_s, end_s, request.draws)
    sound_s = draw_sounds(start_s, end_s, frame_s, request.draws, form.window_s)
    first_s, frames = table["frames_start_s"][:, None], table["frames"][:, None]
    frame = np.floor((frame_s + _ROUNDING_S - first_s) * fps).astype(np.int64)
    # The times of frames are first_s + n / fps, rounded; the quotient may have fallen to the other side.
    frame += first_s + (frame + 1) / fps <= frame_s + _ROUNDING_S
    frame -= first_s + frame / fps > frame_s + _ROUNDING_S
    seen = (frame_s >= first_s - _ROUNDING_S) & (frame_s < table["frames_end_s"][:, None] + _ROUNDING_S)
    begin = np.rint((sound_s - table["sound_start_s"][:, None]) * form.rate_hz).astype(np.int64)
    last = table["samples"][:, None] - form.samples
    # At the two ends of the track a sound may move by up to EDGE_S, as in a file.
    sample = np.clip(begin, 0, np.maximum(last, 0))
    heard = (np.abs(sample - begin) <= round(EDGE_S * form.rate_hz) + 1) & (last >= 0)
    good = heard & (seen | ~request.frames.any(axis=1, keepdims=True))
    length_s = (end_s - start_s)[:, 0]
    return _Fit(frame_s, sound_s, np.clip(frame, 0, np.maximum(frames - 1, 0)), sample,
                (good | ~request.needed).all(axis=1) & (length_s >= form.window_s), length_s)


def open_records(config) -> RecordSource:
    """The source of a config with data.source=records.

    Raises:
      MissingInputError: data.root holds no finished records.
      ConfigError: the config asks for what the records do not hold.
      DataError: their index is damaged, or of another version.
    """
    data, root = config.data, Path(config.data.root)
    if not data.root or not root.is_dir():
        raise errors.MissingInputError(f"config.data.root={data.root}: expected a folder of records made by avc_jax.prepare.")
    index = layout.read_index(root)
    try:
        recipe = layout.recipe_from(json.loads((root / layout.RECIPE).read_text()))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise errors.DataError(f"{root / layout.RECIPE} is damaged ({error}); run avc_jax.prepare again.") from error
    sizes = layout.check_digests(root)
    table = np.load(root / layout.TABLE, allow_pickle=False)
    _check(config, recipe, {row.get("kind") for row in index})
    shards = tuple(sorted({row["shard"] for row in index if "shard" in row}))
    rejected = {place: (row["kind"], row["reason"]) for place, row in enumerate(index) if "shard" not in row}
    return RecordSource(root, tuple(row["clip"] for row in index), recipe, table,
                        {row["clip"]: place for place, row in enumerate(index)}, rejected, shards,
                        Shards(root, shards, sizes))


def _check(config, recipe: layout.Recipe, rejected: set[str | None]) -> None:
    """Raises ConfigError where the records cannot give what the same config would get from the videos."""
    data, lines = config.data, []
    if config.audio.rate_hz != recipe.rate_hz:
        lines.append(f"config.audio.rate_hz: found {config.audio.rate_hz}, expected the records' {recipe.rate_hz}")
    if data.frame_short_side > recipe.short_side:
        lines.append(f"config.data.frame_short_side: found {data.frame_short_side}, expected at most the records' "
                     f"{recipe.short_side}")
    if data.frame_choice != "any":
        lines.append(f"config.data.frame_choice: found {data.frame_choice!r}, expected any: records keep {recipe.fps:g} frames a "
                     "second, and not which of them were key frames")
    if data.window_s < recipe.window_s and "too_short" in rejected:
        lines.append(f"config.data.window_s: found {data.window_s:g}, expected at least {recipe.window_s:g}, as clips shorter "
                     "than that were left out")
    if data.manifest:
        lines.append(f"config.data.manifest: found {data.manifest!r}, expected none: records keep the one they were made with")
    if tuple(data.split_fractions) != recipe.split_fractions:
        lines.append(f"config.data.split_fractions: found {tuple(data.split_fractions)}, expected the records' "
                     f"{recipe.split_fractions}")
    if lines:
        raise errors.ConfigError(f"The records of config.data.root={data.root} do not fit:\n  " + "\n  ".join(lines)
                                 + "\nChange these, or make other records with avc_jax.prepare.")
