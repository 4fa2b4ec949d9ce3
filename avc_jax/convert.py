"""Makes a model folder of a checkpoint that others have published.

    python -m avc_jax.convert --system=l3net --source=openl3_audio_mel256_music.h5 --out=models/openl3

Reads Keras' HDF5, PyTorch's state dicts (without PyTorch, and without running what they bring along), safetensors and .npz. The
folder is taken by every command that takes a run. Arrays that are missing, superfluous or of another shape are named, and then
nothing is written. Exit codes are those of avc_jax.main.
"""

import hashlib
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from absl import flags

from avc_jax import command, errors
from avc_jax.published.table import Checkpoint

_SYSTEM = flags.DEFINE_string("system", "", "Which system: a file of avc_jax/systems.")
_SOURCE = flags.DEFINE_string("source", "", "The published file.")
_KIND = flags.DEFINE_string("kind", "", "Which of the system's published checkpoints the file is, where neither the names in it "
                            "nor its own name tell. An unknown kind is answered with a list.")
_OUT = flags.DEFINE_string("out", "", "Folder to write; an earlier model there is replaced.")


def convert(system: str, source: str, out: str, kind: str = "") -> Path:
    """Writes a model folder with the arrays of a published checkpoint.

    Args:
      system: name of a system.
      source: the file.
      out: the folder.
      kind: a key of the system's `checkpoint_keys`; empty: what names in the file, or its own name, tell.

    Returns:
      The folder.

    Raises:
      MissingInputError: there is no such file.
      DataError: the file cannot be read.
      ConfigError: it is none of what the system knows, or arrays do not fit.
      CannotWriteError: out cannot be written.
    """
    from avc_jax import model
    from avc_jax.published.read import read

    kinds = kinds_of(system)
    if kind and kind not in kinds:
        raise errors.ConfigError(f"--kind={kind}: {system} knows no such published checkpoint; it knows {', '.join(kinds)}.")
    path = Path(source)
    arrays = read(path)
    kind = kind or choose(kinds, arrays, path)
    try:
        made, initial = build(system, kinds[kind], arrays)
    except errors.ConfigError as error:
        raise errors.ConfigError(f"{source} is no {kind}: {error}") from error
    with open(path, "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return model.save(out, made, source=path.name, source_sha256=digest, source_kind=kind, initial=initial)


def kinds_of(system: str) -> Mapping[str, Checkpoint]:
    """The published checkpoints that a system knows.

    Raises:
      ConfigError: there is no such system.
    """
    from avc_jax import config as configs
    from avc_jax import systems

    return systems.make(configs.default(system)).checkpoint_keys


def choose(kinds: Mapping[str, Checkpoint], arrays: Mapping[str, np.ndarray], path: Path) -> str:
    """The kind of checkpoint that the names of arrays tell; where they tell several, the one that the file is named after.

    Where no kind has these names, the most alike one, so that what is wrong can be said.

    Raises:
      ConfigError: several kinds have these names, and the name of the file decides nothing; or there is no kind at all.
    """
    from avc_jax.published.translate import strangers

    if not kinds:
        raise errors.ConfigError("This system has no published checkpoints.")
    fitting = {kind: len(strangers(arrays, checkpoint)) for kind, checkpoint in kinds.items()}
    best = [kind for kind, count in fitting.items() if count == min(fitting.values())]
    named = [kind for kind in best if kind in path.name] or best
    if len(named) > 1 and not fitting[named[0]]:
        raise errors.ConfigError(f"{path} may be {' or '.join(named)}: its names are the same. Say which with --kind=.")
    return named[0]


def build(system: str, kind: Checkpoint, arrays: Mapping[str, np.ndarray]) -> tuple[Any, list[str]]:
    """The `model.Model` that arrays of a kind make, and the paths of variables that stayed initial.

    Raises:
      ConfigError: arrays do not fit; every one that does not is named.
    """
    import jax
    import jax.numpy as jnp
    from flax.traverse_util import flatten_dict, unflatten_dict

    from avc_jax import config as configs
    from avc_jax import model, systems
    from avc_jax.published import translate
    from avc_jax.systems import base

    config = configs.default(system)
    change(config, kind)
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


def change(config, kind: Checkpoint) -> None:
    """Changes a default config to that of a published checkpoint, and checks it."""
    from avc_jax import config as configs

    for path, value in kind.config.items():
        section, key = path.split(".")
        config[section][key] = value
    configs.check(config)


def main(argv: list[str]) -> int:
    """Runs the command and returns its exit code."""

    def run() -> None:
        if command.show_help(argv, __name__):
            return
        command.parse_flags(argv)
        for flag, meaning in ((_SYSTEM, "a system"), (_SOURCE, "the published file"), (_OUT, "the folder to write")):
            if not flag.value:
                raise errors.ConfigError(f"--{flag.name} is missing: name {meaning}.")
        folder = convert(_SYSTEM.value, _SOURCE.value, _OUT.value, _KIND.value)
        print(f"Converted and read back: {folder}")

    return command.run(run)


if __name__ == "__main__":
    sys.exit(main(sys.argv))
