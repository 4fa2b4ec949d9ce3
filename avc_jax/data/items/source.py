"""Items: films and clips with tracks that lie in several files, or in memory; and the source of them."""

import dataclasses
import functools
import hashlib
import os
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from avc_jax import errors
from avc_jax.data import decoders, presence
from avc_jax.data.inputs import VIDEOS
from avc_jax.data.items.captions import NONE, Captions
from avc_jax.data.items.words import WordVectors
from avc_jax.data.moments import Format
from avc_jax.data.sources import Clip, Source

if TYPE_CHECKING:
    from avc_jax.data.items.reader import ItemReader
    from avc_jax.data.plan import Plan
    from avc_jax.data.quarantine import Quarantine
    from avc_jax.systems.base import Feature

# Rows per second of each stored stream (github.com/antoine77340/video_feature_extractor).
RATES_HZ = {"2d": 1.0, "3d": 1.5}


@dataclasses.dataclass(frozen=True)
class Item(Clip):
    """A film, a stretch of one, or a clip, with its tracks.

    `path` is that of its media file, or what it is called. `file` is its group: items of one film or one picture share it.

    Attributes:
      film: whether training takes windows of it; else it is one clip, and taken as a whole.
      captions: what is said in it.
      text: what evaluation reads instead of these; empty: these.
      image: path of its picture, relative to the source's root; empty: none.
      silent: whether it is known to have no stored sound.
      arrays: tracks that are held in memory: spectrogram float16[bands, frames], and for each stream float[n, D] rows.
    """

    film: bool = False
    captions: Captions = dataclasses.field(default=NONE, compare=False, repr=False)
    text: str = ""
    image: str = ""
    silent: bool = False
    arrays: Mapping[str, np.ndarray] | None = dataclasses.field(default=None, compare=False, repr=False)

    @property
    def stem(self) -> str:
        """What the names of the files with its features begin with: its path without the extension of a video."""
        stem, extension = os.path.splitext(self.path)
        return stem if extension.lower() in VIDEOS else self.path

    def identity(self) -> tuple:
        """What samples depend on, apart from what is in the files."""
        return (self.path, self.file, self.split, self.label, self.start_s, self.end_s, self.film, self.text, self.image,
                self.silent, self.captions.digest())


@dataclasses.dataclass(frozen=True)
class ItemSource(Source):
    """Random access to items by their place in `clips`, all of which are items.

    Attributes:
      kind: config.data.source.
      sounds: waveform or spectrogram, how they are stored.
      streams: names of the stored streams that make a video, in order; empty where items have none.
      pictures: whether items have pictures.
      media: folder that the paths of media are relative to.
      clip_choice, min_clip_s: see config.data.
      vectors: of words; None: there are none.
      notes_found: see `Source.notes`.
    """

    clips: tuple[Item, ...]
    kind: str = "features"
    sounds: str = "waveform"
    streams: tuple[str, ...] = ()
    pictures: bool = False
    media: Path = Path()
    clip_choice: str = "random"
    min_clip_s: float = 0.0
    vectors: WordVectors | None = dataclasses.field(default=None, compare=False, repr=False)
    notes_found: tuple[str, ...] = ()

    @property
    def items(self) -> tuple[Item, ...]:
        return self.clips

    @property
    def holds_pairs(self) -> bool:
        return False

    @property
    def notes(self) -> tuple[str, ...]:
        return self.notes_found

    def reader(self, plan: "Plan", form: Format, quarantine: "Quarantine", features: "Mapping[str, Feature]", *,  # type: ignore[override]
               pairing: str = "none") -> "ItemReader":
        """See `Source.reader`; here the system's features say how wide rows and how many words are wanted."""
        from avc_jax.data.items.reader import ItemReader

        if pairing != "none":
            raise errors.ConfigError(f"config.data.pairing: found {pairing!r}, expected none, as items make true pairs only.")
        return ItemReader(self, plan, form, quarantine, features)

    def sound(self, place: int, rate_hz: int) -> np.ndarray:
        if self.sounds != "waveform":
            raise errors.BadMedia("no_audio", "Its sound is stored as a spectrogram.")
        item = self.clips[place]
        return presence.read_beside(self._sounds_beside, item.path,
                                    lambda: decoders.read_sound(self.media / item.path, item, rate_hz))

    @functools.cached_property
    def _sounds_beside(self) -> presence.Neighbours:
        return self.neighbours(("waveform",))

    def neighbours(self, fields: Collection[str]) -> presence.Neighbours:
        """The items, with the files that some fields of an example are read from."""
        items = {item.path: item for item in self.items}
        return presence.Neighbours(self.root, items, lambda path: self._files(items[path], fields))

    def _files(self, item: Item, fields: Collection[str]) -> list[Path]:
        if item.arrays is not None:
            return []
        tracks = {"video": [self.root / f"{item.stem}_{stream}.npz" for stream in self.streams],
                  "spectrogram": [self.root / f"{item.stem}_spec.npz"],
                  "waveform": [self.media / item.path],
                  "image": [self.root / item.image]}
        return [file for field, files in tracks.items() if field in fields for file in files]

    def sha256(self) -> str:
        settings = (self.kind, self.sounds, self.streams, self.pictures, self.clip_choice, self.min_clip_s)
        digest = hashlib.sha256(repr(settings).encode())
        for item in self.clips:
            digest.update(repr(item.identity()).encode())
        return digest.hexdigest()
