"""The format stablehlo: each program with its arrays inside, as a serialised `jax.export.Exported` of any batch size."""

from collections.abc import Sequence
from pathlib import Path

import jax
import jax.export

from avc_jax.exporting.programs import PLATFORMS, Program
from avc_jax.model import Model

HOLDS = "programs"
WITHOUT = ("avc_jax", "flax", "orbax", "tensorflow")


def write(folder: Path, model: Model, programs: Sequence[Program]) -> None:
    """Writes `stablehlo/<program>.bin`."""
    (folder / "stablehlo").mkdir()
    variables = jax.device_get(model.variables)
    for program in programs:
        (rows,) = jax.export.symbolic_shape("batch")
        exported = jax.export.export(jax.jit(lambda batch, call=program.call: call(variables, batch)), platforms=PLATFORMS)
        (folder / "stablehlo" / f"{program.name}.bin").write_bytes(exported(program.shapes(rows)).serialize())
