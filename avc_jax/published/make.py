"""Makes a model of the arrays of a published checkpoint, and such arrays of a model."""

from collections.abc import Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from avc_jax import config as configs
from avc_jax import errors, model, systems
from avc_jax.published import translate
from avc_jax.published.table import Checkpoint
from avc_jax.systems import base


def kinds_of(system: str) -> Mapping[str, Checkpoint]:
    """The published checkpoints that a system knows.

    Raises:
      ConfigError: there is no such system.
    """
    return systems.make(configs.default(system)).checkpoint_keys


def choose(kinds: Mapping[str, Checkpoint], arrays: Mapping[str, np.ndarray], path: Path) -> str:
    """The kind of checkpoint that the names of arrays tell; where they tell several, the one that the file is named after.

    Where no kind has these names, the most alike one, so that what is wrong can be said.

    Raises:
      ConfigError: several kinds have these names, and the name of the file decides nothing; or there is no kind at all.
    """
    if not kinds:
        raise errors.ConfigError("This system has no published checkpoints.")
    unlike = {kind: len(translate.strangers(arrays, checkpoint)) for kind, checkpoint in kinds.items()}
    best = [kind for kind, count in unlike.items() if count == min(unlike.values())]
    named = [kind for kind in best if kind in path.name] or best
    if len(named) > 1 and not unlike[named[0]]:
        raise errors.ConfigError(f"{path} may be {' or '.join(named)}: its names are the same. Say which with --kind=.")
    return named[0]


def make(system: str, kind: Checkpoint, arrays: Mapping[str, np.ndarray]) -> tuple[model.Model, list[str]]:
    """A model, and the paths of those of its variables that stayed initial.

    Args:
      system: name of a system.
      kind: what the arrays are.
      arrays: by their published names.

    Raises:
      ConfigError: arrays do not fit; every one that does not is named.
    """
    config = config_of(system, kind, arrays)
    made = base.without(systems.make(config), kind.missing)
    shapes = flatten_dict(base.shapes_of(made), sep="/")
    paths = translate.initial_paths(kind, shapes)

    def initial():
        batch = {name: jnp.zeros((1, *feature.shape), feature.dtype) for name, feature in made.features.items()}
        variables = flatten_dict(made.init(jax.random.key(0), batch), sep="/")
        return {path: variables[path] for path in paths}

    ours = translate.to_ours(arrays, kind, shapes, jax.device_get(jax.jit(initial)()) if paths else {})
    variables = jax.device_put(unflatten_dict(ours, sep="/"), jax.devices()[0])
    return model.Model(config, made, variables, 0, kind.missing), paths


def config_of(system: str, kind: Checkpoint, arrays: Mapping[str, np.ndarray] = MappingProxyType({})):
    """The checked config of a published checkpoint: the default with the changes of its kind, and the sizes of its arrays."""
    config = configs.default(system)
    told = {path: arrays[name].shape[axis] for path, (name, axis) in kind.sizes.items()
            if name in arrays and arrays[name].ndim > axis}
    for path, value in {**kind.config, **kind.habits, **told}.items():
        section, key = path.split(".")
        config[section][key] = value
    configs.check(config)
    return config


class Published(NamedTuple):
    """A published checkpoint of a model.

    Attributes:
      arrays: by their names.
      left_out: patterns of names that such a file may hold, and for which there is nothing here.
      habits: what the model was trained with and others of its kind were not, a line each.
    """

    arrays: dict[str, np.ndarray]
    left_out: list[str]
    habits: list[str]


def unmake(made: model.Model, kind: Checkpoint, kept: Mapping[str, np.ndarray]) -> Published:
    """The published checkpoint of a model.

    Args:
      made: a model; it may hold more than the kind of checkpoint does.
      kind: what is asked for.
      kept: arrays that the published file held besides, where the model was made of one of this kind.

    Raises:
      ConfigError: the model lacks a half, has other arrays, or computes something else from the same arrays.
    """
    lacking = [modality for modality in made.missing_modalities if modality not in kind.missing]
    if lacking:
        raise errors.ConfigError(f"the model has no {' and no '.join(lacking)} half, which such a file holds.")
    wanted = _like(made.config, kind)
    theirs, ours = base.without(systems.make(wanted), kind.missing), base.without(made.system, kind.missing)
    shapes, variables = flatten_dict(base.shapes_of(theirs), sep="/"), flatten_dict(made.variables, sep="/")
    unlike = [path for path, leaf in shapes.items() if path not in variables or variables[path].shape != leaf.shape]
    if unlike or _program(ours, kind) != _program(theirs, kind):
        told = [*_differences(made.config, wanted), *([f"{len(unlike)} arrays, such as {unlike[0]}."] if unlike else [])]
        raise errors.ConfigError("\n  ".join(["the network is another one:", *told]))
    arrays = {**translate.counters(kind, made.step), **kept, **translate.to_theirs(jax.device_get(variables), kind)}
    left_out = [pattern for pattern in kind.beside if not any(fnmatchcase(name, pattern) for name in arrays)]
    return Published(arrays, left_out, _unlike(made.config, kind.habits))


_NETWORK = ("system", "audio")  # the sections of the config that say what a network computes


def _like(config, kind: Checkpoint):
    """A config with the network of a kind of checkpoint, and its own sizes and habits, lengths of inputs and precision."""
    found, wanted = configs.from_dict(configs.to_dict(config)), config_of(config.system.name, kind)
    for section in _NETWORK:
        found[section] = wanted[section]
    for section, key in (path.split(".") for path in (*kind.sizes, *kind.habits)):
        found[section][key] = config[section][key]
    return found


def _differences(config, wanted) -> list[str]:
    return _unlike(config, {f"{section}.{key}": value for section in _NETWORK for key, value in wanted[section].items()})


def _unlike(config, wanted: Mapping[str, Any]) -> list[str]:
    """Where a config has another value than wanted, "section.key" -> value: a line each."""
    found = {path: config[section][key] for path in wanted for section, key in [path.split(".")]}
    return [f"config.{path} is {found[path]!r}, expected {value!r}." for path, value in wanted.items() if found[path] != value]


def _program(system: base.System, kind: Checkpoint) -> str:
    """What a system computes for inference with what such a checkpoint holds: the same words for the same computation."""
    batch = {name: jax.ShapeDtypeStruct((1, *feature.shape), feature.dtype) for name, feature in system.features.items()}

    def infer(variables, batch):
        score = system.score(variables, batch) if system.score and not kind.missing else None
        return system.embed(variables, batch), score

    return jax.jit(infer).lower(base.shapes_of(system), batch).as_text()
