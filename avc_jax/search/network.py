"""The network that an index is made with, and asked with: it has to have a common space, and it makes all the vectors."""

import dataclasses
import hashlib
import io
import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from avc_jax import config as configs
from avc_jax import errors, systems, vectors
from avc_jax import model as models
from avc_jax.data import windows
from avc_jax.data.moments import make_format
from avc_jax.embed import Ledger, Progress
from avc_jax.embedder import FIELDS, Embedder, Rows
from avc_jax.schema import schema
from avc_jax.train.state import params_sha256


class Network:
    """A model with a common space, and how files become its vectors.

    Attributes:
      model: it.
      sha256: digest of all that a vector depends on beside its window: variables (also running statistics), config, form.
      modalities: those of which it embeds windows: audio, video.
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
        self._checkpoint = os.path.abspath(checkpoint)
        self._form = make_format(self.model.config)
        self.hop_s = hop_s or self._form.window_s
        self.sha256 = _sha256(self.model)
        self.modalities = tuple(modality for modality, field in FIELDS.items() if field in self.model.system.features)
        self._batch_size, self._embedders = batch_size, dict[str, Embedder]()

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


def _sha256(model: models.Model) -> str:
    tree = configs.to_dict(model.config)
    parts = [params_sha256(model.variables), tree["system"], tree["audio"], tree["train"]["precision"],
             dataclasses.asdict(make_format(model.config))]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _check_common_space(model: models.Model, checkpoint: str) -> None:
    if model.missing_modalities:
        raise errors.ConfigError(f"--checkpoint={checkpoint} has no {' and no '.join(model.missing_modalities)} half, so nothing "
                                 "of one kind can be found by another. Name a checkpoint with all of its halves.")
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
        return systems.make(config).common_space
    except errors.ConfigError:  # the choice needs another, too
        return False
