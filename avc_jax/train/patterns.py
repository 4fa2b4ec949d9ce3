"""Which variables of a network the patterns of a config mean.

A variable's name is its path within its collection, such as `audio/block1/conv1/kernel`. Statistics have names of the same kind,
so `audio/*` means the parameters and the statistics of a part alike. A `*` stands for any text, slashes included.
"""

import fnmatch
from collections.abc import Iterable

import jax

from avc_jax import errors
from avc_jax.schema import nearest


def split(patterns: str) -> tuple[str, ...]:
    """The patterns of a config key, which commas part."""
    return tuple(part for part in (part.strip() for part in patterns.split(",")) if part)


def name_of(path) -> str:
    """The name of a leaf from its path, as `jax.tree_util` gives it."""
    return "/".join(str(getattr(key, "key", getattr(key, "name", getattr(key, "idx", key)))) for key in path)


def names(tree) -> list[str]:
    """The names of all leaves, in the order of the tree."""
    return [name_of(path) for path, _ in jax.tree_util.tree_leaves_with_path(tree)]


def matches(patterns: Iterable[str], name: str) -> bool:
    """Whether any of the patterns means a variable."""
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)


def check(key: str, patterns: Iterable[str], names: Iterable[str]) -> None:
    """Raises ConfigError, naming what is nearest, for a pattern that means none of the variables."""
    names = list(names)
    parts = {"/".join(name.split("/")[:depth]) + "/*" for name in names for depth in range(1, name.count("/") + 1)}
    for pattern in patterns:
        if not fnmatch.filter(names, pattern):
            top = sorted({name.split("/")[0] + ("/*" if "/" in name else "") for name in names})
            raise errors.ConfigError(f"{key}: found {pattern!r}, which means no variable of the network."
                                     + (nearest(pattern, [*sorted(parts), *names]) or f" Its parts are {', '.join(top)}."))
