"""What is known of where a model comes from, for model.json and the model card."""

import contextlib
import importlib.metadata
import platform
from pathlib import Path
from typing import Any

from avc_jax import __version__
from avc_jax.model import DESCRIPTION
from avc_jax.train.workdir import read_json

_PACKAGES = ("jax", "jaxlib", "flax", "numpy", "orbax-checkpoint", "safetensors", "tensorflow", "tensorflow-cpu")
_OF_DATA = ("clips", "files", "splits", "split", "clips_sha256", "quarantined")
_OF_TRAINING = ("step", "steps", "pairs", "skipped_steps")
_OF_EVALUATION = ("rows", "step", "split", "params_sha256", "note")


def origin(checkpoint: str | Path) -> dict[str, Any]:
    """What a run or a model folder says of itself, as JSON values; empty where it says nothing.

    Args:
      checkpoint: the workdir of a run, whose results become `run`; or a model folder, whose model.json is handed on.
    """
    folder = Path(checkpoint).absolute()
    if (folder / DESCRIPTION).is_file():
        return read_json(folder / DESCRIPTION)
    results = read_json(folder / "results.json")
    return {"run": _summary(results)} if results else {}


def _summary(results: dict[str, Any]) -> dict[str, Any]:
    """What of results.json goes along with a model: neither paths of the machine nor tables for pictures."""
    data, training = results.get("data", {}), results.get("train", {})
    evaluations = {name: _pick(found, _OF_EVALUATION) for name, found in results.get("evaluate", {}).items() if found.get("rows")}
    return {"data": _pick(data, _OF_DATA) | ({"name": Path(data["root"]).name} if data.get("root") else {}),
            "train": _pick(training, _OF_TRAINING), "evaluate": evaluations}


def _pick(section: dict[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    return {name: section[name] for name in names if name in section}


def versions() -> dict[str, str]:
    """The versions of what an export is made with, as far as it is installed."""
    found = {"python": platform.python_version(), "avc_jax": __version__}
    for name in _PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found
