"""The format orbax: every array as an Orbax checkpoint, from which avc_jax itself loads a model."""

from collections.abc import Sequence
from pathlib import Path

from avc_jax.exporting.programs import Program
from avc_jax.model import Model, write_variables

HOLDS = "arrays"
WITHOUT = ("avc_jax",)


def write(folder: Path, model: Model, programs: Sequence[Program]) -> None:
    """Writes `variables/`."""
    write_variables(folder, model)
