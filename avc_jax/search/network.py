"""The network that an index is made with, and asked with: it has to have a common space, and it makes all the vectors."""

import dataclasses
import hashlib
import io
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from avc_jax import config as configs
from avc_jax import errors, systems, vectors
from avc_jax import model as models
from avc_jax.data import windows
from avc_jax.data.moments import make_format
from avc_jax.embed import Ledger, Progress
from avc_jax.embedder import FIELDS, Embedder, Rows, sound_lengths
from avc_jax.schema import schema
from avc_jax.systems.base import Feature
from avc_jax.train.state import params_sha256


class Found(NamedTuple):
    """What became of a file.

    Attributes:
      windows: modality -> (float64[n] times in seconds, f32[n, D] vectors), of those that it has windows of.
      lost: (modality, kind, reason) of what could not be read.
    """

    windows: dict[str, tuple[np.ndarray, np.ndarray]]
    lost: tuple[tuple[str, str, str], ...]


class Network:
    """A model with a common space, and how files become its vectors.

    Attributes:
      model: it; one that was trained on stored spectrograms takes waveforms, too.
      sha256: digest of all that a vector depends on beside its window: variables (also running statistics), config, form.
      modalities: those of which it embeds windows of media files: audio, video.
      stored: field -> Feature, what it was trained on.
      stored_modalities: those of which it embeds windows of such fields.
      hop_s: seconds from one window of a file to the next.
    """

    def __init__(self, checkpoint: str, hop_s: float, batch_size: int):
        """
        Args:
          checkpoint: workdir of a run, or a model folder.
          hop_s: 0: the length of a window.
          batch_size: windows embedded at once.

        Raises:
          MissingInputError: there is no such checkpoint.
          ConfigError: it has no common space, or was made by another version.
        """
        self.model = models.load(checkpoint)
        _check_common_space(self.model, checkpoint)
        self.stored = dict(self.model.system.features)
        self.model = _hearing(self.model)
        self._checkpoint = os.path.abspath(checkpoint)
        self._form = make_format(self.model.config)
        self.hop_s = hop_s or self._form.window_s
        self.sha256 = _sha256(self.model)
        # Some halves make no vector alone, such as the sounds of a system that fuses them with words.
        self.modalities = tuple(modality for modality, names in FIELDS.items() if self._alone(modality, names))
        self.stored_modalities = tuple(modality for modality in ("audio", "video")
                                       if self._alone(modality, [name for name, feature in self.stored.items()
                                                                 if feature.modality == modality]))
        self._batch_size, self._embedders = batch_size, dict[str, Embedder]()

    def _alone(self, modality: str, names: Sequence[str]) -> bool:
        """Whether fields of one modality suffice for its vectors."""
        system = self.model.system
        batch = {name: jax.ShapeDtypeStruct((1, *feature.shape), feature.dtype) for name, feature in system.features.items()
                 if name.removesuffix("_length") in names}
        return bool(batch) and modality in jax.eval_shape(system.embed, self.model.variables, batch)

    def facts(self) -> dict[str, Any]:
        """What an index says of it, as JSON values."""
        told = self.model.describe()
        return {name: told[name] for name in ("made_by", "system", "step", "params_sha256")} | {
            "checkpoint": self._checkpoint, "network_sha256": self.sha256, "similarity": self.model.system.similarity,
            "hop_s": self.hop_s, "window_s": self._form.window_s}

    def steps(self, modality: str) -> windows.Steps:
        """How a file is cut."""
        return windows.Steps(modality, self._form, self.hop_s)

    def embed(self, modality: str, blocks: Iterable[windows.Block]) -> Iterator[Rows]:
        """The vectors of windows, f32[n, D], ready to be compared by their dot product."""
        if modality not in self._embedders:
            self._embedders[modality] = Embedder(self.model, modality, batch_size=self._batch_size)
        for rows in self._embedders[modality](blocks):
            yield rows._replace(values=self.comparable(rows.values))

    def sounds(self, path: str, at_s: float | None, on_wait: Callable[[], None]) -> dict[str, np.ndarray]:
        """The windows of a sound as fields of the system, or the one at a moment; none of what cannot be read."""
        steps = self.steps("audio")
        blocks = windows.read_files([path], steps, on_wait=on_wait) if at_s is None else [
            windows.read_at(path, np.array([at_s]), steps)]
        values = np.concatenate([block.values for block in blocks])
        lengths = {"waveform_length": sound_lengths(values)} if "waveform_length" in self.model.system.features else {}
        return {"waveform": values, **lengths}

    def embed_fields(self, name: str, inputs: Mapping[str, np.ndarray]) -> np.ndarray:
        """f32[n, D]: what the system makes of rows of its fields, under one of the names of its vectors, ready to be compared."""
        count, found = len(next(iter(inputs.values()))), []
        for begin in range(0, count, self._batch_size):
            rows = {field: value[begin : begin + self._batch_size] for field, value in inputs.items()}
            own = len(next(iter(rows.values())))
            shape = self._batch_size if count > self._batch_size else 1 << (own - 1).bit_length()  # few shapes, few programs
            padded = {field: np.pad(value, [(0, shape - own)] + [(0, 0)] * (value.ndim - 1)) for field, value in rows.items()}
            made = self.model.embed(**padded)
            if name not in made:
                raise errors.ConfigError(f"This network makes no vectors of {name} of {', '.join(inputs)} alone; it makes "
                                         f"{', '.join(made) or 'none'}.")
            found.append(np.asarray(made[name])[:own])
        return self.comparable(np.concatenate(found))

    def comparable(self, rows: np.ndarray) -> np.ndarray:
        """f32[n, D] whose dot products are the system's similarity: of length one where that is the cosine."""
        if self.model.system.similarity == "cosine":
            rows = rows / np.maximum(np.linalg.norm(rows, axis=-1, keepdims=True), 1e-12)
        return rows.astype(np.float32)

    def embed_files(self, modality: str, paths: Sequence[str], on_wait: Callable[[], None],
                    on_rows: Callable[[int, int], None]) -> tuple[list[tuple[np.ndarray, np.ndarray]], list[vectors.Failure]]:
        """The windows of files of any length.

        Args:
          modality: audio or video.
          paths: the files.
          on_wait: called several times a second; it may raise.
          on_rows: told after each batch: the place of its last file, how many windows it had.

        Returns:
          For each file float64[n] times and f32[n, D] vectors, and what could not be read.
        """
        ledger, quiet = Ledger(list(paths)), Progress(len(paths), io.StringIO())
        blocks = windows.read_files(paths, self.steps(modality), threads=self.model.config.data.decode_threads, on_wait=on_wait)
        parts: list[Rows] = []
        for rows in self.embed(modality, ledger.listen(blocks, quiet)):
            parts.append(rows)
            on_rows(int(rows.file[-1]), len(rows.file))
        found = [(np.zeros(0), np.zeros((0, 1), np.float32))] * len(paths)
        if parts:
            file, time_s, values = map(np.concatenate, zip(*parts, strict=True))
            ends = np.searchsorted(file, np.arange(len(paths)), side="right").tolist()
            found = [(time_s[begin:end], values[begin:end]) for begin, end in zip([0, *ends], ends, strict=False)]
        return found, ledger.failures()


def _hearing(model: models.Model) -> models.Model:
    """The same model; where its sounds are stored spectrograms it takes waveforms, too, of which it makes its own."""
    features = model.system.features
    if "spectrogram" not in features or "waveform" in features:
        return model
    config = model.config
    heard = {"waveform": Feature((round(config.data.window_s * config.audio.rate_hz),), "int16", "full scale 32768", "audio"),
             "waveform_length": Feature((), "int32", "samples", "audio")}
    return dataclasses.replace(model, system=dataclasses.replace(model.system, features={**features, **heard}))


def _sha256(model: models.Model) -> str:
    tree = configs.to_dict(model.config)
    parts = [params_sha256(model.variables), tree["system"], tree["audio"], tree["train"]["precision"],
             dataclasses.asdict(make_format(model.config))]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _check_common_space(model: models.Model, checkpoint: str) -> None:
    if model.missing_modalities:
        raise errors.ConfigError(f"--checkpoint={checkpoint} has no {' and no '.join(model.missing_modalities)} half, so nothing "
                                 "of one kind can be found by another. Name a checkpoint with all of its halves.")
    if model.system.compare is not None:
        raise errors.ConfigError(f"--checkpoint={checkpoint} compares all places of a picture with all moments of a sound, "
                                 "not one vector with another, so there is nothing to make an index of. These can be searched "
                                 f"with: {'; '.join(common_spaces())}.")
    if not model.system.common_space:
        raise errors.ConfigError(f"--checkpoint={checkpoint} has no common space: its vectors of sounds and of pictures cannot "
                                 "be compared, so there is nothing to search by. These have one: "
                                 f"{'; '.join(common_spaces())}.")


def common_spaces() -> list[str]:
    """The systems that have a common space, in words: "name with config.system.key=value" where it depends on a choice."""
    told = []
    for name in systems.names():
        if _has_common_space(name, {}):
            told.append(name)
            continue
        choices = ((key, value) for key, about in schema(name)["system"].items() if key != "name" for value in about.choices)
        told += [f"{name} with config.system.{key}={value}" for key, value in choices if _has_common_space(name, {key: value})]
    return told


def _has_common_space(name: str, changes: dict[str, Any]) -> bool:
    config = configs.default(name)
    config.system.update(changes)
    try:
        configs.check(config)
        made = systems.make(config)
        return made.common_space and made.compare is None
    except errors.ConfigError:  # the choice needs another, too
        return False
