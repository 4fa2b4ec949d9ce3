"""Hands out what a run learned: its variables as an Orbax checkpoint, and a JSON that says how to use them.

    python -m avc_jax.export --checkpoint=runs/flickr --out=exported/flickr

The export needs Orbax to be read, and nothing of avc_jax's training code. Exit codes are those of avc_jax.main.
"""

import sys
from pathlib import Path

from absl import flags

from avc_jax import command

_CHECKPOINT = flags.DEFINE_string("checkpoint", "", "Work directory of a run, or a model folder.")
_OUT = flags.DEFINE_string("out", "", "Folder to write; an earlier export there is replaced.")

_HOW_TO = """import orbax.checkpoint as ocp
variables = ocp.StandardCheckpointer().restore("{out}/variables")  # absolute path: params and batch_stats, NumPy or JAX arrays
from avc_jax import config, systems
import json
system = systems.make(config.from_dict(json.load(open("{out}/model.json"))["config"]))
embeddings = system.embed(variables, batch)  # batch: the arrays listed under "inputs", with a leading batch axis
"""


def export(checkpoint: str, out: str) -> Path:
    """Writes the newest valid checkpoint of a run to a folder, and reads it back before it says so.

    Args:
      checkpoint: workdir of the run, or a model folder; it is only read.
      out: `out/variables` (Orbax) and `out/model.json`.

    Returns:
      The folder.

    Raises:
      MissingInputError: checkpoint is not that of a run with a checkpoint.
      ConfigError: out holds something else.
      CannotWriteError: out cannot be written.
    """
    from avc_jax import model

    return model.save(out, model.load(checkpoint), how_to=_HOW_TO.format(out=Path(out).absolute()).splitlines())


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
