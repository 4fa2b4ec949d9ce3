"""Pictures of what was learned, as arrays for the page: what excites units and where, neighbours, places of sounds.

Arandjelovic & Zisserman, arXiv:1705.08168, section 3.3 (units, heatmaps, t-SNE); arXiv:1712.06651, section 4 (places).
The arrays lie in the folder `pictures` of the work directory; their names are those of avc_jax/report.
"""

import dataclasses
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np

from avc_jax import audio
from avc_jax.data import visit as visits
from avc_jax.data.moments import evaluation_format
from avc_jax.data.pipeline import read_in_parallel
from avc_jax.data.plan import Plan
from avc_jax.data.reading import Batch
from avc_jax.evaluators import arrays, concepts, heat, units
from avc_jax.evaluators.base import Network, Row, Setting
from avc_jax.evaluators.features import Features

_WORDS = {"video": "frames", "audio": "sounds"}
# Neighbours that t-SNE keeps together, fewer where there are few clips.
_PERPLEXITY = 30
# Clips whose maps of embeddings are held at once.
_AT_ONCE = 64


def make(setting: Setting, features: Features) -> "Pictures":
    return Pictures(setting, features)


class Pictures:
    """Looks at an evenly spaced choice of the held-out clips, and leaves what it saw for the page."""

    def __init__(self, setting: Setting, features: Features):
        self._setting, self._features, self._own = setting, features, setting.config.pictures
        self._seed, self._form = setting.config.evaluate.seed, evaluation_format(setting.config)

    def missing(self) -> str | None:
        clips = len(self._setting.heldout.clips)
        if clips > concepts.TOP:
            return None
        return f"found {clips} held-out clips, expected more than {concepts.TOP}, the clips that are shown of a unit"

    def __call__(self, network: Network) -> dict[str, Any]:
        table = self._features.clips(network, self._setting.heldout, "embed")
        table = table.take(table.complete)
        rows = np.unique(np.linspace(0, len(table.clip) - 1, min(self._own.clips, len(table.clip))).astype(int))
        if len(rows) <= concepts.TOP:
            return {}
        clips, values = table.clip[rows], {modality: value[rows] for modality, value in table.values.items()}
        labels = np.array([self._setting.heldout.clips[clip].label for clip in clips])
        files = np.array([self._setting.heldout.clips[clip].file for clip in clips])
        found: dict[str, Any] = {"clips": len(clips), "units": self._units(network, clips, labels) if self._peaks else {}}
        found |= self._space(network, clips, labels, files, values)
        if self._places is not None:
            found["localised"] = self._localise(self._places, network, clips, labels, files, values["audio"])
        return found

    @functools.cached_property
    def _peaks(self) -> Features | None:
        """Features whose maps are the largest activation of each unit: modality -> f32[n, C]; None where there are no maps, or no
        frames and sounds to show them over."""
        maps = self._setting.system.maps
        if maps is None or not self._setting.heldout.holds_pairs:
            return None
        return self._asking(lambda *args: {name: value.max(axis=(1, 2)) for name, value in maps(*args).items()})

    @functools.cached_property
    def _places(self) -> Features | None:
        """Features whose maps are the embeddings of the frame's cells: video -> f32[n, H, W, D]; None where there are none."""
        places = self._setting.system.places
        if places is None or not self._setting.heldout.holds_pairs:
            return None
        return self._asking(lambda *args: {"video": places(*args)})

    def _asking(self, answer: Callable) -> Features:
        """Features whose maps are what `answer` (variables, batch) makes of clips, so that only that leaves the devices."""
        system = dataclasses.replace(self._setting.system, maps=answer)
        return type(self._features)(dataclasses.replace(self._setting, system=system))

    # Units ----------------------------------------------------------------------------------------------------------------

    def _units(self, network: Network, clips: np.ndarray, labels: np.ndarray) -> dict[str, Any]:
        """How well the strongest clips of the best units agree, for each modality; the sheets of the trained network."""
        found = {}
        assert self._peaks is not None
        for modality, value in self._peaks.maps(network, self._setting.heldout, clips).items():
            self._setting.pulse()
            chosen = units.best(value, labels, self._own.units, self._seed)
            found[modality] = {"shown": len(chosen.unit), "of": value.shape[1], "selectivity": _mean(chosen.selectivity),
                               "agreement": _mean(chosen.agree / concepts.TOP) if any(labels) else None}
            if network.name == "trained":
                self._write_sheet(network, modality, chosen, value, clips, labels)
        return found

    def _write_sheet(self, network: Network, modality: str, chosen: units.Units, peaks: np.ndarray, clips: np.ndarray,
                     labels: np.ndarray) -> None:
        """The strongest clips of units, with the unit's map over each; no sheet where no unit tells clips apart."""
        if not len(chosen.unit):
            self._path(f"units_{modality}").unlink(missing_ok=True)
            return
        shape = chosen.clips.shape
        asked = clips[chosen.clips.reshape(-1)]
        maps = self._features.maps(network, self._setting.heldout, asked)[modality]
        channel = maps[np.arange(len(asked)), :, :, np.repeat(chosen.unit, shape[1])]
        pairs = self._read(asked)
        spectrogram = self._spectrogram(pairs["waveform"])
        over = pairs["frame"].shape[1:3] if modality == "video" else spectrogram.shape[1:]
        sheet = dict(
            unit=chosen.unit, unit_label=chosen.label, agree=chosen.agree, selectivity=chosen.selectivity,
            label=labels[chosen.clips], activation=np.take_along_axis(peaks.T[chosen.unit], chosen.clips, 1),
            **{name: value.reshape(*shape, *value.shape[1:]) for name, value in dict(
                clip=self._names(asked), frame_s=pairs["frame_s"], sound_s=pairs["sound_s"], frame=pairs["frame"],
                heat=heat.place(channel, over, self._setting.system.cells.get(modality)).astype(np.float16)).items()})
        if modality == "audio":
            hz = np.tile(audio.row_hz(self._setting.config.audio, spectrogram.shape[1]), (shape[0], 1))
            sheet |= dict(waveform=pairs["waveform"].reshape(*shape, -1), hz=hz, rate_hz=self._form.rate_hz,
                          window_s=self._form.window_s, spectrogram=spectrogram.reshape(*shape, *spectrogram.shape[1:]))
        self._write(f"units_{modality}", **sheet)

    # Neighbours -----------------------------------------------------------------------------------------------------------

    def _space(self, network: Network, clips: np.ndarray, labels: np.ndarray, files: np.ndarray,
               values: dict[str, np.ndarray]) -> dict[str, Any]:
        """How often the nearest neighbour is of the same class, among labelled clips; writes the embeddings in two dimensions."""
        points = {}
        for modality, value in _ordered(values):
            self._setting.pulse()
            points[modality] = two_dimensions(value, self._seed)
        self._write(f"space_{network.name}", label=labels, **points)
        known = labels != ""
        if len(np.unique(labels[known])) < 2:
            return {}
        found = {modality: units.neighbours(value[known], labels[known], files[known]) for modality, value in values.items()}
        return {"neighbours": {modality: share for modality, (share, _) in found.items()},
                "neighbours_chance": next(iter(found.values()))[1]}

    # Places ---------------------------------------------------------------------------------------------------------------

    def _localise(self, asked: Features, network: Network, clips: np.ndarray, labels: np.ndarray, files: np.ndarray,
                  sounds: np.ndarray) -> float | None:
        """The share of frames whose best cell is nearer to their own sound than to that of another clip; writes some of them.

        None where all clips are of one file.
        """
        partner = units.partners(labels, files, self._seed)
        best = np.zeros((2, len(clips)), np.float32)
        kept = np.unique(np.linspace(0, len(clips) - 1, min(self._own.localised, len(clips))).astype(int))
        shown = []
        for begin in range(0, len(clips), _AT_ONCE):
            part = np.arange(begin, min(begin + _AT_ONCE, len(clips)))
            cells = asked.maps(network, self._setting.heldout, clips[part])["video"]
            own, other = (cosines(cells, sounds[which]) for which in (part, partner[part]))
            best[:, part] = own.max(axis=(1, 2)), other.max(axis=(1, 2))
            shown.append(own[np.isin(part, kept)])
        pairs = self._read(clips[kept])
        placed = heat.place(np.concatenate(shown), pairs["frame"].shape[1:3], self._setting.system.cells.get("video"))
        self._write(f"localisation_{network.name}", clip=self._names(clips[kept]), label=labels[kept], own=best[0, kept],
                    other=best[1, kept], heat=placed, rate_hz=self._form.rate_hz,
                    **{name: pairs[name] for name in ("frame", "waveform", "frame_s", "sound_s")})
        return _mean((best[0] > best[1])[partner != np.arange(len(clips))])

    # Reading and writing --------------------------------------------------------------------------------------------------

    def _read(self, clips: np.ndarray) -> Batch:
        """The true pairs at the middle of good clips int64[n], in their order."""
        source = self._setting.heldout
        plan = Plan(len(source.clips), seed=0, batch_size=1)
        reader = visits.Reader(source, plan, self._form, self._setting.quarantine, pairing="none")
        parts = list(read_in_parallel(lambda number: reader.whole(int(clips[number])), len(clips), reader.shapes,
                                      threads=self._setting.config.data.decode_threads, ahead=_AT_ONCE))
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def _names(self, clips: np.ndarray) -> np.ndarray:
        return np.array([self._setting.heldout.clips[clip].path for clip in clips])

    def _spectrogram(self, waveform: np.ndarray) -> np.ndarray:
        """f32[n, F, T], what the network sees of int16[n, samples]."""
        return np.asarray(audio.front_end(self._setting.config.audio)(waveform / np.float32(32768)))

    def _write(self, name: str, **columns: Any) -> None:
        if jax.process_index() == 0:
            arrays.write(self._path(name), columns, compress=True)

    def _path(self, name: str) -> Path:
        return self._setting.folder / "pictures" / f"{name}.npz"

    def rows(self, trained: dict[str, Any], untrained: dict[str, Any] | None) -> list[Row]:
        def before(*path: str) -> float | None:
            value: Any = untrained
            for name in path:
                value = (value or {}).get(name)
            return value

        note = f"{trained.get('clips', 0)} clips"
        found = [Row(f"Nearest neighbour of the same class, {_WORDS[modality]}", share, before("neighbours", modality),
                     trained["neighbours_chance"], note=note) for modality, share in _ordered(trained.get("neighbours", {}))]
        for modality, value in _ordered(trained.get("units", {})):
            chosen = f"{value['shown']} of {value['of']} units, {note}"
            if value["agreement"] is not None:
                found.append(Row(f"Strongest {_WORDS[modality]} of the best units that are of one class", value["agreement"],
                                 before("units", modality, "agreement"), note=chosen))
            elif value["selectivity"] is not None:
                found.append(Row(f"Standard deviations by which the strongest {_WORDS[modality]} of the best units stand out",
                                 value["selectivity"], before("units", modality, "selectivity"), form="number", note=chosen))
        if trained.get("localised") is not None:
            found.append(Row("Frames with a place that is nearer to their own sound than to another", trained["localised"],
                             before("localised"), 0.5, note=note))
        return found


def two_dimensions(values: np.ndarray, seed: int) -> np.ndarray:
    """float32[n, 2]: t-SNE (van der Maaten & Hinton, 2008) of f32[n, D] by cosine distances."""
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits

    perplexity = min(_PERPLEXITY, (len(values) - 1) / 3)
    with threadpool_limits(1):  # one thread, as several add up in any order
        return TSNE(2, metric="cosine", init="random", perplexity=perplexity, random_state=seed).fit_transform(values)


def cosines(cells: np.ndarray, sounds: np.ndarray) -> np.ndarray:
    """float32[n, H, W] of cells f32[n, H, W, D] with f32[n, D], 1 where they point in the same direction."""
    lengths = np.linalg.norm(cells, axis=-1) * np.linalg.norm(sounds, axis=-1)[:, None, None]
    return np.einsum("nhwd,nd->nhw", cells, sounds) / np.maximum(lengths, 1e-12)


def _ordered(found: dict[str, Any]) -> list[tuple[str, Any]]:
    """What was found for each modality, in one order everywhere."""
    return [(modality, found[modality]) for modality in _WORDS if modality in found]


def _mean(values: np.ndarray) -> float | None:
    """The mean; None of nothing."""
    return float(values.mean()) if len(values) else None
