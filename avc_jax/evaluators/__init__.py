"""What is measured on a trained system, one file per protocol. A file with `make` put here is found by its name."""

import importlib
import pkgutil

from avc_jax.schema import SECTIONS


def make(setting, features) -> dict:
    """name -> `base.Evaluator`, of those that config.evaluators does not turn off; `avc` goes its own way."""
    here = {module.name for module in pkgutil.iter_modules(__path__)}
    wanted = [name for name in SECTIONS["evaluators"] if name in here and setting.config.evaluators[name] != "off"]
    modules = {name: importlib.import_module(f"{__name__}.{name}") for name in wanted}
    return {name: module.make(setting, features) for name, module in modules.items() if hasattr(module, "make")}
