"""Hands out what a run learned: its variables as an Orbax checkpoint, and a JSON that says how to use them.

    python -m avc_jax.export --checkpoint=runs/flickr --out=exported/flickr

The export needs Orbax to be read, and nothing of avc_jax's training code. Exit codes are those of avc_jax.main.
"""

import json
import os
import shutil
import sys
from pathlib import Path

from absl import flags

from avc_jax import __version__, command, errors
from avc_jax import config as configs

_CHECKPOINT = flags.DEFINE_string("checkpoint", "", "Work directory of the run.")
_OUT = flags.DEFINE_string("out", "", "Folder to write; an earlier export there is replaced.")

_HOW_TO = """import orbax.checkpoint as ocp
variables = ocp.StandardCheckpointer().restore("{out}/variables")  # absolute path: params and batch_stats, NumPy or JAX arrays
from avc_jax import config, systems
import json
system = systems.make(config.from_dict(json.load(open("{out}/model.json"))["config"]))
embeddings = system.embed(variables, batch)  # batch: the arrays listed under "inputs", with a leading batch axis
"""


def export(workdir: str, out: str) -> Path:
    """Writes the newest valid checkpoint of a run to a folder, and reads it back before it says so.

    Args:
      workdir: of the run; it is only read.
      out: `out/variables` (Orbax) and `out/model.json`.

    Returns:
      The folder.

    Raises:
      MissingInputError: workdir is not that of a run with a checkpoint.
      ConfigError: out holds something else.
      CannotWriteError: out cannot be written.
    """
    source, target = Path(workdir).absolute(), Path(out).absolute()
    if not workdir or not (source / "config.json").is_file():
        raise errors.MissingInputError(f"--checkpoint={workdir}: expected the workdir of a run, with its config.json.")
    if not out:
        raise errors.ConfigError("--out is missing: name the folder to write.")
    if target.exists() and not (target / "model.json").is_file() and (not target.is_dir() or any(target.iterdir())):
        raise errors.ConfigError(f"--out={out} holds something that is no export; name another folder.")
    step, variables, description = _read(source)
    description |= {"step": step, "how_to": _HOW_TO.format(out=target).splitlines()}
    temporary = target.with_name(f".{target.name}.tmp")
    try:
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        _write(temporary, variables, description)
        shutil.rmtree(target, ignore_errors=True)
        os.replace(temporary, target)
    except OSError as error:
        raise errors.CannotWriteError(f"--out={out} cannot be written: {error}.") from error
    return target


def _read(source: Path):
    """(step, variables, description) of the newest valid checkpoint."""
    import jax

    from avc_jax import systems
    from avc_jax.train import optimizer as optimizers
    from avc_jax.train import state as states
    from avc_jax.train.checkpoint import Checkpoints
    from avc_jax.train.workdir import read_json

    config = configs.from_dict(read_json(source / "config.json"))
    system, optimizer = systems.make(config), optimizers.make_optimizer(config)
    template = jax.eval_shape(lambda: states.init_state(system, optimizer, 0, config.train.ema_decay > 0))
    device = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    template = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=device), template)
    checkpoints = Checkpoints(source, read_only=True)
    state = checkpoints.restore_newest_valid(template)
    if state is None:
        raise errors.MissingInputError(f"--checkpoint={source} holds no checkpoint yet.")
    variables = states.inference_variables(state)
    return int(state.step), variables, {
        "made_by": f"avc_jax {__version__}",
        "system": config.system.name,
        "config": configs.to_dict(config),
        "inputs": {name: {"shape": ["batch", *feature.shape], "dtype": feature.dtype, "unit": feature.unit}
                   for name, feature in system.features.items()},
        "parameters": sum(leaf.size for leaf in jax.tree.leaves(variables["params"])),
        "params_sha256": states.params_sha256(variables["params"]),
    }


def _write(folder: Path, variables, description) -> None:
    import orbax.checkpoint as ocp

    from avc_jax.train.state import params_sha256

    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(folder / "variables", variables)
        checkpointer.wait_until_finished()
        found = params_sha256(checkpointer.restore(folder / "variables")["params"])
    if found != description["params_sha256"]:
        raise errors.CannotWriteError(f"What was written to {folder} reads back differently (sha256 {found}).")
    (folder / "model.json").write_text(json.dumps(description, indent=2) + "\n")


def main(argv: list[str]) -> int:
    """Runs the command and returns its exit code."""

    def run() -> None:
        if command.show_help(argv, __name__):
            return
        command.parse_flags(argv)
        print(f"Exported and read back: {export(_CHECKPOINT.value, _OUT.value)}")

    return command.run(run)


if __name__ == "__main__":
    sys.exit(main(sys.argv))
