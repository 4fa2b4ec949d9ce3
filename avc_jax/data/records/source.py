"""Training from records: a source of clips whose files are records instead of videos."""

import dataclasses
import functools
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
from PIL import Image

from avc_jax import errors
from avc_jax.data.decode import Span
from avc_jax.data.records import layout
from avc_jax.data.records.example import Content, DamagedRecord, parse
from avc_jax.data.records.shard import open_shard
from avc_jax.data.sound import cut_window
from avc_jax.data.sources import Clip, Source

_ROUNDING_S = 5.1e-4  # As for the pictures of a file: so little before a frame means that frame.
_MOST_OPEN = 256  # Shards open at once; the limit of a process is often 1,024 files.

_GONE = "{} was asked for from where the record of the clip holds none."


class Record:
    """A clip's record behind the face of a `decode.MediaFile`: the same clock, the same spans, the same refusals.

    Frames are the stored ones, so a time gets the last stored frame that is not after it.
    """

    def __init__(self, content: Content):
        self._content = content

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_) -> None:
        pass

    @property
    def span(self) -> Span:
        """The span of the source file as its headers declared it."""
        return self._content.span

    def measure(self) -> Span:
        """The span of the source file as it was measured, if its headers were wrong."""
        return self._content.measured

    def frames(self, times_s: Sequence[float], short_side: int | None = None) -> list[np.ndarray]:
        """The last stored frame at or before each time; see `decode.MediaFile.frames`.

        Raises:
          BadMedia: incomplete, damaged.
        """
        content, shown = self._content, []
        times = np.asarray(times_s, np.float64)
        if ((times < content.frame_s[0] - _ROUNDING_S) | (times >= content.frames_end_s + _ROUNDING_S)).any():
            raise errors.BadMedia("incomplete", _GONE.format("A picture"))
        places = np.maximum(np.searchsorted(content.frame_s, times + _ROUNDING_S, side="right") - 1, 0)
        decoded = {place: _decode(content.frames[place], short_side) for place in set(places.tolist())}
        for place in places.tolist():
            shown.append(decoded[place].copy() if (places == place).sum() > 1 else decoded[place])
        return shown

    def sounds(self, starts_s: Sequence[float], window_s: float, rate_hz: int) -> np.ndarray:
        """int16[len(starts_s), round(window_s * rate_hz)], to the nearest sample; see `decode.MediaFile.sounds`.

        Raises:
          BadMedia: incomplete.
          ValueError: the record has another rate.
        """
        content, count = self._content, round(window_s * rate_hz)
        if rate_hz != content.rate_hz:
            raise ValueError(f"The record holds sound at {content.rate_hz} Hz, asked for {rate_hz} Hz.")
        out = np.empty((len(starts_s), count), np.int16)
        for row, start_s in enumerate(starts_s):
            out[row] = cut_window(content.sound, round((start_s - content.sound_start_s) * rate_hz), count, rate_hz)
        return out

    def is_silent(self) -> bool:
        """False: a file that is silent from beginning to end has no record."""
        return False


def _decode(jpeg: bytes, short_side: int | None) -> np.ndarray:
    """uint8[h, w, 3], scaled down if asked; Pillow's bilinear filter averages as that of the decoder does."""
    try:
        image = Image.open(io.BytesIO(jpeg)).convert("RGB")
    except (OSError, ValueError) as error:
        raise errors.BadMedia("damaged", f"A frame of its record does not read as a JPEG ({error}).") from error
    if short_side is not None and min(image.size) != short_side:
        scale = short_side / min(image.size)
        image = image.resize((max(1, round(image.width * scale)), max(1, round(image.height * scale))), Image.Resampling.BILINEAR)
    return np.array(image)


@dataclasses.dataclass(frozen=True)
class RecordSource(Source):
    """The clips of the folder that the records were made of, in the same order, opened as records.

    Attributes:
      places: clip -> (shard, record), or (kind, reason) of a clip that was rejected.
      readers: shard -> its reader.
    """

    places: Mapping[Clip, tuple[str, int | str]] = dataclasses.field(default_factory=dict, compare=False, repr=False)
    readers: Any = dataclasses.field(default=None, compare=False, repr=False)

    def open(self, clip: Clip) -> Record:
        """The record of a clip.

        Raises:
          BadMedia: it was rejected when the records were made, with the reason of then; or its record is damaged.
        """
        where, which = self.places[clip]
        if isinstance(which, str):
            raise errors.BadMedia(where, which)
        try:
            return Record(parse(self.readers(where).read([which])[0]))
        except (OSError, RuntimeError, IndexError, DamagedRecord) as error:
            raise errors.BadMedia("damaged", f"Record {which} of {where} cannot be read ({error}).") from error


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
    rows = layout.read_index(root)
    try:
        recipe = layout.recipe_from(json.loads((root / layout.RECIPE).read_text()))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise errors.DataError(f"{root / layout.RECIPE} is damaged ({error}); make the records again.") from error
    _check(config, recipe, {row.get("kind") for row in rows})
    places = {row["clip"]: (row["shard"], row["record"]) if "shard" in row else (row["kind"], row["reason"]) for row in rows}
    readers = functools.lru_cache(maxsize=_MOST_OPEN)(lambda shard: open_shard(root / shard))
    return RecordSource(root, tuple(row["clip"] for row in rows), places, readers)


def _check(config, recipe: layout.Recipe, rejected: set[str | None]) -> None:
    """Raises ConfigError where the records cannot give what the same config would get from the videos."""
    data, lines = config.data, []
    if config.audio.rate_hz != recipe.rate_hz:
        lines.append(f"config.audio.rate_hz: found {config.audio.rate_hz}, expected the records' {recipe.rate_hz}")
    if data.frame_short_side > recipe.short_side:
        lines.append(f"config.data.frame_short_side: found {data.frame_short_side}, expected at most the records' "
                     f"{recipe.short_side}")
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
