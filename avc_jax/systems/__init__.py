"""The published systems, one file each. A file put here is found by its name; nothing else lists it."""

import importlib
import pkgutil


def names() -> list[str]:
    """Names of all systems, sorted: the modules beside this file, without the contract itself."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__) if module.name != "base")


def make(config):
    """The `base.System` that a checked config asks for."""
    module = importlib.import_module(f"avc_jax.systems.{config.system.name}")
    return module.make(config)
