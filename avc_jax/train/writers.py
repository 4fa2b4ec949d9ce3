"""Where metrics go: TensorBoard events through clu, and one JSON line a step. The only module that names clu."""

import functools
import json
import math
import os
import time
from pathlib import Path

import numpy as np
from clu import metric_writers, metrics
from clu.metric_writers import interface

from avc_jax.systems.base import Metrics


class JsonlWriter(interface.MetricWriter):
    """Appends scalars to a file, one JSON object per call: {"step": 10, "time": 1.7e9, "train/loss": 0.69}."""

    def __init__(self, path: Path):
        self._file = open(path, "a", buffering=1)  # noqa: SIM115, closed by close()

    def write_scalars(self, step: int, scalars) -> None:
        values = {name: float(np.asarray(value)) for name, value in scalars.items()}
        values = {name: value if math.isfinite(value) else None for name, value in values.items()}
        self._file.write(json.dumps({"step": step, "time": round(time.time(), 3), **values}) + "\n")

    def write_summaries(self, step, values, metadata=None):
        pass

    def write_images(self, step, images):
        pass

    def write_videos(self, step, videos):
        pass

    def write_audios(self, step, audios, *, sample_rate):
        pass

    def write_texts(self, step, texts):
        pass

    def write_histograms(self, step, arrays, num_buckets=None):
        pass

    def write_pointcloud(self, *args, **kwargs):
        pass

    def write_hparams(self, hparams):
        pass

    def flush(self) -> None:
        self._file.flush()

    def close(self) -> None:
        self._file.close()


def average(steps: list[Metrics]) -> dict[str, float]:
    """Name -> mean over several steps of metrics given as (sum, count); a metric that nothing counted for is left out."""
    parts = [{name: metrics.Average(*pair) for name, pair in step.items()} for step in steps]
    merged = functools.reduce(lambda one, other: {name: one[name].merge(other[name]) for name in one}, parts)
    return {name: float(mean.compute()) for name, mean in merged.items() if mean.count}


def make_writer(workdir: Path | None, start_step: int) -> interface.MetricWriter:
    """A writer to `workdir/metrics.jsonl` and to TensorBoard events below `workdir/tensorboard`; of None, to nothing.

    Lines of steps after start_step are dropped first: a killed run wrote them, and the resumed run writes them again.
    """
    if workdir is None:
        return metric_writers.MultiWriter([])
    path = workdir / "metrics.jsonl"
    if path.exists():
        _keep_until(path, start_step)
    return metric_writers.MultiWriter([JsonlWriter(path), metric_writers.SummaryWriter(str(workdir / "tensorboard"))])


def _keep_until(path: Path, step: int) -> None:
    kept = []
    for line in path.read_text().splitlines():
        try:
            if json.loads(line)["step"] <= step:
                kept.append(line + "\n")
        except (ValueError, KeyError, TypeError):
            continue  # cut short by a kill
    temporary = path.with_suffix(".tmp")
    temporary.write_text("".join(kept))
    os.replace(temporary, path)
