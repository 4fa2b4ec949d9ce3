"""A network with what it has learned, as it is handed around: read from a run or from a model folder, and written as one.

A model folder holds `variables/` (an Orbax checkpoint) and `model.json` (the config, and how to use them).

    from avc_jax import model
    net = model.load("runs/demo")
    vectors = net.embed(waveform=waveform)["audio"]  # int16[n, samples] -> f32[n, D]
"""

import dataclasses
import json
import os
import shutil
from pathlib import Path
from typing import Any

import jax
import ml_collections
import numpy as np

from avc_jax import __version__, errors, systems
from avc_jax import config as configs
from avc_jax.systems.base import System, Variables
from avc_jax.train.state import params_sha256
from avc_jax.train.workdir import read_json

DESCRIPTION = "model.json"


@dataclasses.dataclass(frozen=True)
class Model:
    """A network with its variables.

    Attributes:
      config: checked; what the system is made of.
      system: its pure functions.
      variables: what it has learned, as arrays on one device.
      step: steps of training behind them; 0 where nobody knows.
    """

    config: ml_collections.ConfigDict
    system: System
    variables: Variables
    step: int

    def embed(self, **inputs: np.ndarray) -> dict[str, np.ndarray]:
        """The embeddings of arrays: modality -> f32[n, D].

        Args:
          inputs: fields of `system.features` with a leading axis, such as frame and waveform; one modality alone will do.

        Raises:
          ConfigError: an input has another name, shape or dtype than the network was made for.
        """
        for name, value in inputs.items():
            feature = self.system.features.get(name)
            if feature is None:
                raise errors.ConfigError(f"embed: there is no input {name!r}; expected some of "
                                         f"{', '.join(self.system.features)}.")
            if np.shape(value)[1:] != feature.shape or np.asarray(value).dtype != feature.dtype:
                raise errors.ConfigError(f"embed: {name} is {np.asarray(value).dtype}{list(np.shape(value))}, expected "
                                         f"{feature.dtype}[n, {', '.join(map(str, feature.shape))}] ({feature.unit}).")
        return jax.device_get(jax.jit(self.system.embed)(self.variables, inputs))

    def describe(self) -> dict[str, Any]:
        """What model.json says of it, as JSON values."""
        return {
            "made_by": f"avc_jax {__version__}",
            "system": self.config.system.name,
            "step": self.step,
            "config": configs.to_dict(self.config),
            "inputs": {name: {"shape": ["batch", *feature.shape], "dtype": feature.dtype, "unit": feature.unit}
                       for name, feature in self.system.features.items()},
            "parameters": sum(leaf.size for leaf in jax.tree.leaves(self.variables["params"])),
            "params_sha256": params_sha256(self.variables["params"]),
        }


def load(path: str | Path, *, flag: str = "--checkpoint") -> Model:
    """The newest valid checkpoint of a run, or the model in a folder; nothing is written.

    Args:
      path: the workdir of a run, or a model folder made by `avc_jax.export` or `avc_jax.convert`.
      flag: what the user named it with, for the errors.

    Raises:
      MissingInputError: there is no such thing at path.
      ConfigError: it was made by another version, with other keys; or its arrays are of another network.
    """
    folder = Path(path).absolute()
    if str(path) and (folder / DESCRIPTION).is_file():
        return _load_folder(folder)
    if str(path) and (folder / "config.json").is_file():
        return _load_run(folder, flag)
    raise errors.MissingInputError(f"{flag}={path}: expected the workdir of a run (with a config.json), or a model folder "
                                   f"(with a {DESCRIPTION}).")


def _load_folder(folder: Path) -> Model:
    import orbax.checkpoint as ocp

    description = read_json(folder / DESCRIPTION)
    config = configs.from_dict(description["config"])
    system = systems.make(config)
    try:
        with ocp.StandardCheckpointer() as checkpointer:
            variables = checkpointer.restore(folder / "variables", _on_one_device(_shapes(system)))
    except (ValueError, KeyError, OSError) as error:
        raise errors.ConfigError(f"{folder / 'variables'} cannot be restored as what {DESCRIPTION} describes: {error}") from error
    found = params_sha256(variables["params"])
    if found != description["params_sha256"]:
        raise errors.ConfigError(f"{folder / 'variables'} is damaged: its parameters have sha256 {found}, {DESCRIPTION} says "
                                 f"{description['params_sha256']}.")
    return Model(config, system, variables, description["step"])


def _load_run(folder: Path, flag: str) -> Model:
    from avc_jax.train import optimizer as optimizers
    from avc_jax.train import state as states
    from avc_jax.train.checkpoint import Checkpoints

    config = configs.from_dict(read_json(folder / "config.json"))
    system, optimizer = systems.make(config), optimizers.make_optimizer(config)
    template = jax.eval_shape(lambda: states.init_state(system, optimizer, 0, config.train.ema_decay > 0))
    state = Checkpoints(folder, read_only=True).restore_newest_valid(_on_one_device(template))
    if state is None:
        raise errors.MissingInputError(f"{flag}={folder} holds no checkpoint yet.")
    return Model(config, system, states.inference_variables(state), int(state.step))


def _shapes(system: System):
    """The shapes of a system's variables, without computing them."""
    batch = {name: jax.ShapeDtypeStruct((2, *feature.shape), feature.dtype) for name, feature in system.features.items()}
    return dict(jax.eval_shape(system.init, jax.random.key(0), batch))


def _on_one_device(shapes):
    device = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=device), shapes)


def save(out: str | Path, model: Model, **facts: Any) -> Path:
    """Writes a model folder, and reads it back before it says so; an earlier one there is replaced.

    Args:
      out: the folder.
      model: what to write.
      facts: JSON values that go into model.json too, such as where the model comes from.

    Returns:
      The folder, absolute.

    Raises:
      ConfigError: out is missing, or holds something that is no model folder.
      CannotWriteError: it cannot be written.
    """
    target = Path(out).absolute()
    if not str(out):
        raise errors.ConfigError("--out is missing: name the folder to write.")
    if target.exists() and not (target / DESCRIPTION).is_file() and (not target.is_dir() or any(target.iterdir())):
        raise errors.ConfigError(f"--out={out} holds something that is no model folder; name another folder.")
    temporary = target.with_name(f".{target.name}.tmp")
    try:
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        _write(temporary, model, model.describe() | facts)
        shutil.rmtree(target, ignore_errors=True)
        os.replace(temporary, target)
    except OSError as error:
        raise errors.CannotWriteError(f"--out={out} cannot be written: {error}.") from error
    return target


def _write(folder: Path, model: Model, description: dict[str, Any]) -> None:
    import orbax.checkpoint as ocp

    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(folder / "variables", model.variables)
        checkpointer.wait_until_finished()
        found = params_sha256(checkpointer.restore(folder / "variables")["params"])
    if found != description["params_sha256"]:
        raise errors.CannotWriteError(f"What was written to {folder} reads back differently (sha256 {found}).")
    (folder / DESCRIPTION).write_text(json.dumps(description, indent=2) + "\n")
