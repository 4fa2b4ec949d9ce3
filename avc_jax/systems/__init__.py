"""The published systems, one file each. A file put here is found by its name; nothing else lists it."""

import ast
import importlib
import importlib.util
import pkgutil
from pathlib import Path


def names() -> list[str]:
    """Names of all systems, sorted: the modules beside this file, without the contract itself."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__) if module.name != "base")


def title(name: str) -> str:
    """What its paper calls a system: the words before the colon in its file, or where there is no such file the name itself."""
    spec = importlib.util.find_spec(f"{__name__}.{name}") if name in names() else None
    if spec is None or spec.origin is None:
        return name
    described = ast.get_docstring(ast.parse(Path(spec.origin).read_text())) or ""  # not imported: that would load JAX
    return described.partition(":")[0] or name


def make(config):
    """The `base.System` that a checked config asks for."""
    module = importlib.import_module(f"avc_jax.systems.{config.system.name}")
    return module.make(config)
