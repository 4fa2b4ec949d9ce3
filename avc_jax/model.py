"""A network with what it has learned, as it is handed around: read from a run or from a model folder, and written as one.

A model folder holds `variables/` (an Orbax checkpoint) and `model.json` (the config, and how to use them); one that was exported
holds other formats beside them.

    from avc_jax import model
    net = model.load("runs/demo")
    time_s, vectors = net.embed_sound(samples, rate_hz=44100)  # any number of samples -> f64[n], f32[n, D]
    vectors = net.embed(waveform=waveform)["audio"]  # windows of one length: int16[n, samples] -> f32[n, D]
"""

import contextlib
import dataclasses
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import ml_collections
import numpy as np

from avc_jax import __version__, errors, systems
from avc_jax import config as configs
from avc_jax.systems.base import System, Variables, shapes_of, without
from avc_jax.train.state import State, params_sha256
from avc_jax.train.workdir import read_json

DESCRIPTION = "model.json"
VARIABLES = "variables"


@dataclasses.dataclass(frozen=True)
class Model:
    """A network with its variables.

    Attributes:
      config: checked; what the system is made of.
      system: its pure functions.
      variables: what it has learned, as arrays on one device.
      step: steps of training behind them; 0 where nobody knows.
      missing_modalities: halves that the model does not have, as its source had none; `system` knows nothing of their inputs.
    """

    config: ml_collections.ConfigDict
    system: System
    variables: Variables
    step: int
    missing_modalities: tuple[str, ...] = ()

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
                raise errors.ConfigError(f"embed: no input is named {name!r}; there are {', '.join(self.system.features)}."
                                         + "".join(f" The model has no {half} half." for half in self.missing_modalities))
            if np.shape(value)[1:] != feature.shape or np.asarray(value).dtype != feature.dtype:
                raise errors.ConfigError(f"embed: {name} is {np.asarray(value).dtype}{list(np.shape(value))}, expected "
                                         f"{feature.dtype}[n, {', '.join(map(str, feature.shape))}] ({feature.unit}).")
        return jax.device_get(jax.jit(self.system.embed)(self.variables, inputs))

    def embed_sound(self, samples: np.ndarray, rate_hz: int, hop_s: float = 0.5, *, center: bool = False,
                    embedding_size: int = 0) -> tuple[np.ndarray, np.ndarray]:
        """The embeddings of a sound of any length, of windows at equal steps, as `python -m avc_jax.embed` gives them of a file.

        Args:
          samples: int16, int32, or floats of full scale 1, of shape [n] or [n, channels].
          rate_hz: their samples a second.
          hop_s: seconds from one window to the next.
          center: whether times are those of the middle of windows, the first of which begins half a window early.
          embedding_size: numbers of a vector; 0: those of the embedding.

        Returns:
          float64[n] times in seconds, f32[n, D].

        Raises:
          ConfigError: these are no such samples, or the network gives no vectors of that size.
        """
        from avc_jax.data import sound, windows
        from avc_jax.data.decode import Span
        from avc_jax.data.moments import make_format
        from avc_jax.embedder import Embedder

        samples = np.asarray(samples)
        if samples.dtype.kind == "f":
            samples = samples.astype(np.float32)
        if samples.dtype.name not in ("int16", "int32", "float32") or samples.ndim not in (1, 2) or not samples.size:
            raise errors.ConfigError(f"embed_sound: samples are {samples.dtype}{list(samples.shape)}, expected int16, int32 or "
                                     "floats, of shape [n] or [n, channels] and not empty.")
        embedder = Embedder(self, "audio", embedding_size)
        steps = windows.Steps("audio", make_format(self.config), hop_s, center)
        form, times_s = steps.form, steps.times(Span(0.0, len(samples) / rate_hz))
        blocks = windows.cut_array(times_s, steps, lambda starts_s: sound.windows_of(samples, rate_hz, starts_s, form.window_s,
                                                                                     form.rate_hz))
        return times_s, np.concatenate([rows.values for rows in embedder(blocks)])

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
            "missing_modalities": list(self.missing_modalities),
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

    if not (folder / VARIABLES).is_dir():
        raise errors.MissingInputError(f"{folder} holds no {VARIABLES}/: it was exported without the format orbax, which is the "
                                       "one to load from.")
    description = read_json(folder / DESCRIPTION)
    config = configs.from_dict(description["config"])
    missing = tuple(description.get("missing_modalities", ()))  # a folder of an earlier version has both halves
    system = without(systems.make(config), missing)
    try:
        with ocp.StandardCheckpointer() as checkpointer:
            variables = checkpointer.restore(folder / VARIABLES, _on_one_device(shapes_of(system)))
    except (ValueError, KeyError, OSError) as error:
        raise errors.ConfigError(f"{folder / 'variables'} cannot be restored as what {DESCRIPTION} describes: {error}") from error
    found = params_sha256(variables["params"])
    if found != description["params_sha256"]:
        raise errors.ConfigError(f"{folder / 'variables'} is damaged: its parameters have sha256 {found}, {DESCRIPTION} says "
                                 f"{description['params_sha256']}.")
    return Model(config, system, variables, description["step"], missing)


def _load_run(folder: Path, flag: str) -> Model:
    from avc_jax.train import state as states

    config, system, state = load_state(folder, flag)
    return Model(config, system, states.inference_variables(state), int(state.step))


def load_state(folder: Path, flag: str) -> tuple[ml_collections.ConfigDict, System, State]:
    """Config, system and newest valid state (on one device) of a run; nothing is written.

    Args:
      folder: the run's workdir, absolute.
      flag: what the user named it with, for the errors.

    Raises:
      MissingInputError: it holds no checkpoint.
      ConfigError: see `load`.
    """
    from avc_jax.train import optimizer as optimizers
    from avc_jax.train import state as states
    from avc_jax.train.checkpoint import Checkpoints

    config = configs.from_dict(read_json(folder / "config.json"))
    system, optimizer = systems.make(config), optimizers.make_optimizer(config)
    template = jax.eval_shape(lambda: states.init_state(system, optimizer, 0, config.train.ema_decay > 0))
    state = Checkpoints(folder, read_only=True).restore_newest_valid(_on_one_device(template))
    if state is None:
        raise errors.MissingInputError(f"{flag}={folder} holds no checkpoint yet.")
    return config, system, state


def _on_one_device(shapes):
    device = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
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
    with replacing(out) as folder:
        write(folder, model, **facts)
    return Path(out).absolute()


def write(folder: Path, model: Model, **facts: Any) -> None:
    """Makes a model folder of an empty one, as `save`."""
    write_variables(folder, model)
    write_description(folder, model.describe() | facts)


@contextlib.contextmanager
def replacing(out: str | Path) -> Iterator[Path]:
    """A new folder to write to, which takes the place of the model folder `out` when the block ends.

    An error in the block leaves `out` as it was, and nothing beside it.

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
        yield temporary
        shutil.rmtree(target, ignore_errors=True)
        os.replace(temporary, target)
    except OSError as error:
        raise errors.CannotWriteError(f"--out={out} cannot be written: {error}.") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def write_variables(folder: Path, model: Model) -> None:
    """Writes `folder/variables` as NumPy arrays, which any machine can restore whatever its devices, and reads them back.

    Raises:
      CannotWriteError: they read back differently.
    """
    import orbax.checkpoint as ocp

    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(folder / VARIABLES, jax.device_get(model.variables))
        checkpointer.wait_until_finished()
        found = params_sha256(checkpointer.restore(folder / VARIABLES)["params"])
    if found != params_sha256(model.variables["params"]):
        raise errors.CannotWriteError(f"What was written to {folder} reads back differently (sha256 {found}).")


def write_description(folder: Path, description: dict[str, Any]) -> None:
    """Writes `folder/model.json`, which makes it a model folder."""
    (folder / DESCRIPTION).write_text(json.dumps(description, indent=2) + "\n")
