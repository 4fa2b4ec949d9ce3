"""Folders of features (`avc_jax.features`) as what an index is made of: their films are found by what is stored of them."""

import json
import math
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from avc_jax import config as configs
from avc_jax import errors
from avc_jax.data.items import fields, open_items, windows
from avc_jax.data.items.film import Film
from avc_jax.data.items.source import Item, ItemSource
from avc_jax.data.moments import make_format
from avc_jax.data.sources import read_manifest
from avc_jax.search.network import Found, Network
from avc_jax.visual.folder import DESCRIPTION, KEYS, MANIFEST, facts_of, path_of

_CLOCKS = ("waveform", "spectrogram")


def is_folder(path: str) -> bool:
    """Whether a folder holds features instead of media."""
    return (Path(path) / DESCRIPTION).is_file()


class Films:
    """The films of a folder of features; see `build.Kind`. Their paths are those of the videos that the features were made of."""

    def __init__(self, folder: str):
        """
        Raises:
          DataError: its manifest cannot be read.
        """
        self._folder = Path(folder)
        try:
            videos = json.loads((self._folder / DESCRIPTION).read_text())["videos"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise errors.DataError(f"{self._folder / DESCRIPTION} cannot be read ({error}): make the features anew with "
                                   "python -m avc_jax.features.") from error
        rows = read_manifest(self._folder, MANIFEST, "--inputs")
        self._names = {os.path.abspath(os.path.join(videos, row["path"])): row["path"] for row in rows}

    @property
    def paths(self) -> list[str]:
        """Absolute paths of the videos, each once."""
        return list(self._names)

    def parts(self, path: str) -> list[str]:
        """The files that the vectors of a film depend on: its features, and its video, which may hold its sound."""
        stored = (str(path_of(self._folder, self._names[path], stream)) for stream in KEYS)
        return [part for part in (*stored, path) if os.path.isfile(part)]

    def embed(self, network: Network, paths: Sequence[str], on_wait: Callable[[], None],
              on_rows: Callable[[int, int], None]) -> list[Found]:
        """The windows of films; see `build.Kind`."""
        if not {"video", "spectrogram"} & network.stored.keys():
            raise errors.ConfigError(f"--inputs={self._folder} holds features, and this network takes "
                                     f"{', '.join(network.stored)}: name the folder of the videos themselves.")
        reader = _Reader(network, self._folder)
        found = []
        for place, path in enumerate(paths):
            on_wait()
            try:
                one = Found(reader.read(self._names[path]), ())
            except errors.BadMedia as error:
                one = Found({}, (("video", error.kind, str(error)),))
            found.append(one)
            on_rows(place, sum(len(time_s) for time_s, _ in one.windows.values()))
        return found


class _Reader:
    """Reads films as training does, but all of each, window by window."""

    def __init__(self, network: Network, folder: Path):
        config = configs.from_dict(configs.to_dict(network.model.config))
        with config.unlocked():
            config.data.update(source="features", root=str(folder), manifest="", captions="", word_vectors="")
        self._source = open_items(config)
        assert isinstance(self._source, ItemSource)
        self._silent = {item.path for item in self._source.items if item.silent}
        self._network, self._folder, self._form = network, folder, make_format(config)
        wanted = {name: feature for name, feature in network.stored.items() if feature.modality != "text"}
        self._fields = fields.make(self._source, self._form, wanted)
        shapes = {name for field in self._fields for name in field.shapes}
        self._clock = next((name for name in _CLOCKS if name in shapes), "rows")

    def read(self, name: str) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """modality -> (float64[n] times, f32[n, D] vectors) of a film.

        Raises:
          BadMedia: it cannot be read.
        """
        item = Item(name, 0, "", "", -math.inf, math.inf, film=True, silent=name in self._silent)
        film = Film(self._source, item, self._clock)
        taken = list(self._windows(film.frames))
        rows: dict[str, np.ndarray] = {}
        for field in self._fields:
            rows |= field.read(fields.Taken(film, taken, None))
        _, origin_s = facts_of(path_of(self._folder, name, self._source.streams[0]), self._source.streams[0])
        times_s = origin_s + np.array([window.start_s for window in taken])
        found = {}
        for modality in self._network.stored_modalities:
            own = self._of(modality, rows)
            length = next((value for field, value in own.items() if field.endswith("_length")), None)
            there = np.ones(len(times_s), bool) if length is None else length > 0
            if own and there.any():
                found[modality] = times_s[there], self._network.embed_fields(modality, {
                    field: value[there] for field, value in own.items()})
        return found

    def _of(self, modality: str, rows: dict[str, np.ndarray]) -> dict[str, Any]:
        own = {name for name, feature in self._network.stored.items() if feature.modality == modality}
        return {name: value for name, value in rows.items() if name.removesuffix("_length") in own}

    def _windows(self, frames: int) -> Iterator[windows.Window]:
        """Windows that together hold all of a film."""
        wanted = windows.frames_in(self._form.window_s)
        for place in range(max(1, math.ceil((frames - wanted) / (windows.FRAMES_PER_S * self._network.hop_s)) + 1)):
            yield windows.window_at(place * self._network.hop_s, wanted)
