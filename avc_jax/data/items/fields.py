"""The fields of examples that are made of items: one class for each, which a later system adds to, not to the reader."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np

from avc_jax import errors
from avc_jax.data import decoders, still
from avc_jax.data.items import windows
from avc_jax.data.items.film import Film
from avc_jax.data.items.source import ItemSource
from avc_jax.data.items.words import WordVectors, tokens
from avc_jax.data.moments import Format
from avc_jax.data.reading import Batch, Shapes

if TYPE_CHECKING:
    from avc_jax.systems.base import Feature

PICTURE_DRAWS = 4 * 10  # Numbers that place a random crop: ten attempts.
_LENGTH = ((), np.int32)


class Taken(NamedTuple):
    """What of an open item becomes rows.

    Attributes:
      film: the item.
      windows: one for each row.
      pictures: float64[rows, PICTURE_DRAWS], which cut pictures at random; None: their centres are cut out.
    """

    film: Film
    windows: Sequence[windows.Window]
    pictures: np.ndarray | None


class Field(Protocol):
    """Makes one field, and its length."""

    @property
    def shapes(self) -> Shapes: ...

    def read(self, taken: Taken) -> Batch:
        """The rows of some windows.

        Raises:
          BadMedia: the item cannot give them.
        """


@dataclasses.dataclass(frozen=True)
class Waveform:
    """Sound from media: int16[samples], zeros after its end; and its valid samples."""

    samples: int
    rate_hz: int

    @property
    def shapes(self) -> Shapes:
        return {"waveform": ((self.samples,), np.int16), "waveform_length": _LENGTH}

    def read(self, taken: Taken) -> Batch:
        values, lengths = taken.film.waveforms(taken.windows, self.samples, self.rate_hz)
        return {"waveform": values, "waveform_length": lengths}


@dataclasses.dataclass(frozen=True)
class Spectrogram:
    """Stored spectrograms: float16[bands, frames], decibels, 0.0 after their end; and their valid frames."""

    bands: int
    frames: int

    @property
    def shapes(self) -> Shapes:
        return {"spectrogram": ((self.bands, self.frames), np.float16), "spectrogram_length": _LENGTH}

    def read(self, taken: Taken) -> Batch:
        stored, count = taken.film.spectrogram, len(taken.windows)
        values, lengths = np.zeros((count, self.bands, self.frames), np.float16), np.zeros(count, np.int32)
        if stored is not None and stored.shape[1]:
            if stored.shape[0] != self.bands:
                raise errors.BadMedia("wrong_width", f"{taken.film.item.stem}: found a spectrogram of {stored.shape[0]} bands, "
                                                     f"expected {self.bands}.")
            for row, window in enumerate(taken.windows):
                first, lengths[row] = windows.sound_frames(window, stored.shape[1], self.frames)
                with np.errstate(over="ignore"):
                    values[row, :, : lengths[row]] = stored[:, first : first + lengths[row]]
            if not np.isfinite(values).all():
                raise errors.BadMedia("damaged", f"{taken.film.item.stem}: its spectrogram holds what is no number of float16.")
        return {"spectrogram": values, "spectrogram_length": lengths}


@dataclasses.dataclass(frozen=True)
class Video:
    """Pooled features, as AVLnet's loaders make them: of each stream the maximum over its rows in the window, of unit length, the
    streams side by side: float32[width]; and how many rows were pooled."""

    width: int
    streams: tuple[str, ...]

    @property
    def shapes(self) -> Shapes:
        return {"video": ((self.width,), np.float32), "video_length": _LENGTH}

    def read(self, taken: Taken) -> Batch:
        each = self.width // len(self.streams)
        found = [[taken.film.pooled(name, window, each) for name in self.streams] for window in taken.windows]
        return {"video": np.array([np.concatenate([values for values, _ in row]) for row in found], np.float32),
                "video_length": np.array([sum(count for _, count in row) for row in found], np.int32)}


@dataclasses.dataclass(frozen=True)
class Words:
    """The vectors of the first words that have one: float16[words, width], zeros after them; and how many there are."""

    count: int
    vectors: WordVectors

    @property
    def shapes(self) -> Shapes:
        return {"words": ((self.count, self.vectors.width), np.float16), "words_length": _LENGTH}

    def read(self, taken: Taken) -> Batch:
        values = np.zeros((len(taken.windows), self.count, self.vectors.width), np.float16)
        lengths = np.zeros(len(taken.windows), np.int32)
        for row, window in enumerate(taken.windows):
            found = self.vectors.rows(tokens(window.text), self.count)
            values[row, : len(found)], lengths[row] = found, len(found)
        return {"words": values, "words_length": lengths}


@dataclasses.dataclass(frozen=True)
class Picture:
    """Pictures: uint8[size, size, 3], RGB. Random crops in training, else the centre of the picture scaled to a shorter side."""

    size: int
    short_side: int

    @property
    def shapes(self) -> Shapes:
        return {"image": ((self.size, self.size, 3), np.uint8)}

    def read(self, taken: Taken) -> Batch:
        path = taken.film.image
        if taken.pictures is None:
            values = np.repeat(decoders.call(still.read_crop, path, self.short_side, self.size)[None], len(taken.windows), 0)
        else:
            values = decoders.call(still.read_random, path, taken.pictures, self.size)
        return {"image": values}


def make(source: ItemSource, form: Format, features: "Mapping[str, Feature]") -> list[Field]:
    """The makers of the fields that a system takes and items have; see `Source.reader`.

    Raises:
      ConfigError: widths do not fit.
    """
    found: list[Field] = []
    if "waveform" in features and source.sounds == "waveform":
        found.append(Waveform(form.samples, form.rate_hz))
    if "spectrogram" in features and source.sounds == "spectrogram":
        found.append(Spectrogram(features["spectrogram"].shape[0], windows.frames_in(form.window_s)))
    if "video" in features and source.streams:
        width, count = features["video"].shape[0], len(source.streams)
        if width % count:
            raise errors.ConfigError(f"The system takes videos of {width} numbers; expected a multiple of the {count} streams of "
                                     "config.data.streams, each of which has as many numbers.")
        found.append(Video(width, source.streams))
    if "words" in features and source.vectors is not None:
        count, width = features["words"].shape
        if width != source.vectors.width:
            raise errors.ConfigError(f"config.data.word_vectors={source.vectors.path}: found vectors of {source.vectors.width} "
                                     f"numbers, expected {width}, which the system takes.")
        found.append(Words(count, source.vectors))
    if "image" in features and source.pictures:
        size = features["image"].shape[0]
        found.append(Picture(size, max(size, form.short_side)))
    return found
