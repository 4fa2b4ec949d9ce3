"""Runs avc_jax's commands within this process, for all that a process of its own (`command`) shows no better: starting one takes
ten seconds."""

import contextlib
import importlib
import io
import json
import logging
from pathlib import Path

from absl import flags

from avc_jax.data import sources
from avc_jax.train.guard import Guard
from avc_jax.train.loop import train
from avc_jax.train.results import evaluate_checkpoint
from avc_jax.train.run import Run
from avc_jax.train.workdir import Workdir


def call(module: str, *args, expect: int = 0) -> str:
    """Runs a command that keeps flags of its own, such as avc_jax.search.__main__, and returns what it printed and logged; fails
    with that if the exit code is not the expected one, or an error was not put in words."""
    command = importlib.import_module(module)
    for values in vars(command).values():
        if isinstance(values, flags.FlagValues):
            values.unparse_flags()
    printed = io.StringIO()
    log, root = logging.StreamHandler(printed), logging.getLogger()
    root.addHandler(log)
    try:
        with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
            code = command.main([module, *map(str, args)])
    finally:
        root.removeHandler(log)
    assert code == expect, f"exit code {code}, expected {expect}:\n{printed.getvalue()}"
    assert "Traceback" not in printed.getvalue(), printed.getvalue()
    return printed.getvalue()


def run(config, folder: Path, *, evaluate_only: bool = False) -> dict:
    """results.json of a run of a config in a work directory."""
    with Guard() as guard, contextlib.closing(Workdir(str(folder))) as workdir:
        source = sources.open_source(config)
        if not evaluate_only:
            workdir.claim(config, source.sha256())
        with contextlib.closing(Run(config, workdir, source, guard, "a test")) as parts:
            (evaluate_checkpoint if evaluate_only else train)(parts)
    return json.loads((folder / "results.json").read_text())
