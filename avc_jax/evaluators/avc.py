"""Accuracy of audio-visual correspondence on held-out clips (arXiv:1705.08168, section 3.1)."""

import contextlib
import itertools
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh

from avc_jax import audio, errors
from avc_jax.data import visit as visits
from avc_jax.data.feed import Feed, to_devices
from avc_jax.data.moments import evaluation_format
from avc_jax.data.pipeline import read_in_parallel
from avc_jax.data.plan import Plan
from avc_jax.data.quarantine import Quarantine
from avc_jax.data.reading import Batch, Shapes, empty
from avc_jax.data.sources import Source, check_fields
from avc_jax.evaluators import arrays
from avc_jax.parallel import mesh as meshes
from avc_jax.systems.base import System, Variables


class AVC:
    """Scores one true and one false pair of every held-out clip.

    The pairs are a function of (clips, config.evaluate.seed): every checkpoint is asked the same questions. Frames are
    cropped at the centre and nothing is augmented. Bad clips are skipped and counted, never replaced.
    """

    def __init__(self, system: System, config, source: Source, mesh: Mesh, quarantine: Quarantine):
        """
        Raises:
          ConfigError: the evaluation's batch does not fit the devices, or the system takes what the clips do not hold.
        """
        assert system.score is not None  # missing() says so
        self._config, self._source, self._mesh = config, source, mesh
        self.form = evaluation_format(config)
        plan = Plan(len(source.clips), config.evaluate.seed, batch_size=2, pairs_per_visit=2)
        self._reader = visits.Reader(source, plan, self.form, quarantine, pairing="independent")
        check_fields(system.features, self._reader.shapes, "videos")
        self._names = tuple(system.features)
        self._score = jax.jit(system.score, out_shardings=meshes.replicated(mesh))
        self._batch_size = config.evaluate.batch_size or config.train.batch_size
        meshes.check_batch_size("config.evaluate.batch_size", self._batch_size, 1, mesh)
        if self._batch_size < 2 * jax.process_count():
            raise errors.ConfigError(f"config.evaluate.batch_size: found {self._batch_size}, expected at least "
                                     f"{2 * jax.process_count()}: a true and a false pair for each process.")

    def __call__(self, variables: Variables, *, max_clips: int = 0, keep: int = 0,
                 on_batch: Callable[[int, int], None] = lambda done, clips: None,
                 on_wait: Callable[[], None] = lambda: None) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """Evaluates variables.

        Args:
          variables: of the system.
          max_clips: score an evenly spaced choice of at most this many clips; 0: all.
          keep: how many scored pairs to return for people to look at.
          on_batch: called with (clips read, clips in all) after each batch; may raise to stop.
          on_wait: called several times a second while a batch is read; may raise to stop.

        Returns:
          Results for results.json, and `keep` pairs as arrays (`visit.fields`, and `score` f32[keep]).
        """
        total = len(self._source.clips)
        chosen = np.arange(total) if not max_clips else np.unique(np.linspace(0, total - 1, min(max_clips, total)).astype(int))
        own = chosen[jax.process_index() :: jax.process_count()]
        stream = read_in_parallel(lambda number: self._reader.evaluate(int(own[number])), len(own), self._reader.shapes,
                                  threads=self._config.data.decode_threads, ahead=self._batch_size)
        rows = self._batch_size // jax.process_count()
        scored = []
        # Every process runs as many steps as the one with most clips could need, so that none waits for another.
        steps = math.ceil(math.ceil(len(chosen) / jax.process_count()) / (rows // 2))
        feed = Feed((_take(stream, rows // 2, self._reader.shapes) for _ in range(steps)), None, on_wait=on_wait)
        with contextlib.closing(feed):
            for number, batch in enumerate(feed, start=1):
                batch["score"] = self._score_rows({name: batch[name] for name in self._names}, rows, variables)
                scored.append(batch)
                on_batch(min(number * (rows // 2), len(own)), len(own))
        columns = {name: np.concatenate([batch[name] for batch in scored]) for name in (*self._reader.shapes, "score")}
        return self._conclude(columns, len(chosen)), _for_people(columns, keep)

    def _score_rows(self, batch: Batch, rows: int, variables: Variables) -> np.ndarray:
        """f32[n] scores of this process's n rows, padded to `rows` on the way to the devices."""
        count = len(batch["label"])
        padded = {name: np.pad(value, [(0, rows - count)] + [(0, 0)] * (value.ndim - 1)) for name, value in batch.items()}
        scores = np.asarray(self._score(variables, to_devices(padded, meshes.batch_sharding(self._mesh))))
        return scores[jax.process_index() * rows :][:count]

    def _conclude(self, columns: Batch, num_clips: int) -> dict[str, Any]:
        hit = ((columns["score"] > 0.5) == (columns["label"] == 1)).astype(np.float64)
        pair = hit.reshape(-1, 2)  # (true, false) of each clip
        sums = np.array([len(pair), pair[:, 0].sum(), pair[:, 1].sum(), (pair.mean(1) ** 2).sum()])
        sums = np.reshape(multihost_utils.process_allgather(sums), (-1, 4)).sum(0)
        clips, (positive, negative, squares) = int(sums[0]), sums[1:] / max(sums[0], 1)
        accuracy = (positive + negative) / 2
        return {
            "accuracy": float(accuracy),
            "ci95": list(interval(float(accuracy), clips, float(squares - accuracy**2))),
            "accuracy_positive": float(positive),
            "accuracy_negative": float(negative),
            "clips": clips,
            "pairs": 2 * clips,
            "skipped": num_clips - clips,
            "seed": self._config.evaluate.seed,
        }


def missing(system: System, heldout: Source, config) -> str | None:
    """Why pairs cannot be scored here (a sentence for the user: what was found, what is needed), or None."""
    if system.score is None:
        return f"{config.system.name} does not score whether a frame and a sound belong together"
    if not heldout.holds_pairs:
        return f"config.data.source={config.data.source} gives no frames and sounds to make false pairs of"
    if heldout.num_files < 2:
        return (f"found {heldout.num_files} file(s) outside config.data.split ({config.data.split}), and false pairs need two; "
                "config.data.evaluate_split names another choice")
    return None


def interval(accuracy: float, clips: int, spread: float) -> tuple[float, float]:
    """95 % Wilson score interval of an accuracy over clips with two decisions each.

    The two decisions on a clip are not independent, so the number of trials is not 2n but n_eff = p (1 - p) n / s, with s
    the variance over clips of a clip's mean (Kish's design effect), kept between n and 2n.

    Args:
      accuracy: share of right decisions.
      clips: n.
      spread: s.

    Returns:
      (low, high), shares; (0, 1) where there is no clip.
    """
    if clips == 0:
        return 0.0, 1.0
    variance = accuracy * (1 - accuracy)
    trials = clips if spread <= 0 else min(max(variance * clips / spread, clips), 2 * clips)
    z = 1.959963984540054
    centre = (accuracy + z * z / (2 * trials)) / (1 + z * z / trials)
    half = z * math.sqrt(variance / trials + z * z / (4 * trials**2)) / (1 + z * z / trials)
    # At 0 and 1 the bound is the accuracy itself, but for rounding.
    return min(max(0.0, centre - half), accuracy), max(min(1.0, centre + half), accuracy)


def _take(stream: Iterator[Batch], clips: int, shapes: Shapes) -> Batch:
    """The pairs of the next clips; fewer, also none, where the stream ends or clips are bad."""
    parts = [empty(shapes), *itertools.islice(stream, clips)]
    return {name: np.concatenate([part[name] for part in parts]) for name in shapes}


def _for_people(columns: Batch, keep: int) -> Batch:
    """An evenly spaced choice of clips, one pair of each: true and false in turn."""
    clips = len(columns["label"]) // 2
    chosen = np.unique(np.linspace(0, max(clips - 1, 0), min(keep, clips)).astype(int))
    rows = 2 * chosen + np.arange(len(chosen)) % 2
    return {name: value[rows] for name, value in columns.items()}


def write_pairs(path: Path, pairs: Batch, source: Source, config) -> None:
    """Writes pairs with their spectrograms and the names of their clips to an .npz for the report page."""
    spectrogram = audio.front_end(config.audio)(pairs["waveform"] / np.float32(32768))
    names = np.array([clip.path for clip in source.clips])
    columns: dict[str, Any] = {name: pairs[name] for name in ("frame", "waveform", "score", "label", "frame_s", "sound_s")}
    hz = np.tile(audio.row_hz(config.audio, spectrogram.shape[1]), (len(spectrogram), 1))
    columns |= {"spectrogram": np.asarray(spectrogram), "hz": hz, "rate_hz": config.audio.rate_hz,
                "window_s": evaluation_format(config).window_s, "frame_clip": names[pairs["clip"]],
                "sound_clip": names[pairs["sound_clip"]]}
    arrays.write(path, columns, compress=True)
