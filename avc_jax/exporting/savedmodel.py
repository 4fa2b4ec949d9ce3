"""The format savedmodel: the programs as signatures of one TensorFlow SavedModel, which share its variables."""

import os
from collections.abc import Sequence
from pathlib import Path

import jax
import tensorflow as tf
from jax.experimental import jax2tf

from avc_jax.exporting.programs import PLATFORMS, Program
from avc_jax.model import Model

HOLDS = "programs"
WITHOUT = ("avc_jax", "jax", "jaxlib")


def write(folder: Path, model: Model, programs: Sequence[Program]) -> None:
    """Writes `savedmodel/`."""
    variables = jax.tree.map(lambda leaf: tf.Variable(leaf, trainable=False), jax.device_get(model.variables))
    module, signatures = tf.Module(), {}
    module.held = variables  # what TensorFlow saves
    for program in programs:
        converted = jax2tf.convert(program.call, polymorphic_shapes=[None, "(batch, ...)"], with_gradient=False,
                                   native_serialization_platforms=PLATFORMS)
        call = tf.function(lambda converted=converted, **batch: converted(variables, batch), autograph=False)
        signatures[program.name] = call.get_concrete_function(
            **{name: tf.TensorSpec((None, *feature.shape), feature.dtype, name) for name, feature in program.inputs.items()})
    tf.saved_model.save(module, os.fspath(folder / "savedmodel"), signatures)
