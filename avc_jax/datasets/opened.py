"""The data sets of ITEMS, opened by the readers that training uses (data/items): there is no second parser of their layouts."""

import types
from pathlib import Path
from typing import TYPE_CHECKING, Any

from avc_jax import datasets, errors, schema
from avc_jax.datasets.layout import Folder, choose

if TYPE_CHECKING:
    from avc_jax.data.items import Item, ItemSource


def settings(name: str, root: Path, variant: str = "") -> dict[str, Any]:
    """The keys of config.data with which training and evaluation open a data set.

    Args:
      name: a key of `datasets.ITEMS`.
      root: its folder.
      variant: one of its module's VARIANTS; empty: the first.

    Raises:
      MissingInputError: a list of the variant is not there.
      ConfigError: no such variant.
    """
    module, folder = datasets.ITEMS[name], Folder(Path(root), name)
    names = module.LISTS[choose(variant, module.VARIANTS)]
    for path in names:
        if not (folder.root / path).is_file():
            raise folder.absent("the list of its clips", path)
    return {**module.SETTINGS, "root": str(root), "manifest": ",".join(names), "pairing": "none"}


def open_set(name: str, root: Path, variant: str = "", **changes: Any) -> "ItemSource":
    """The source of a data set; see `settings`.

    Args:
      name, root, variant: which.
      changes: of the keys of config.data, such as {"streams": "2d"}.

    Raises:
      MissingInputError, DataError: the folder is not as docs/datasets says.
      ConfigError: no such variant.
    """
    from avc_jax.data.items import open_items

    defaults = {key: entry.default for key, entry in schema.SECTIONS["data"].items()}
    data = types.SimpleNamespace(**defaults | settings(name, root, variant) | changes)
    try:
        return open_items(types.SimpleNamespace(data=data))
    except errors.AvcError as error:
        raise type(error)(f"{error} {Folder(Path(root), name).help}") from error


def check(name: str, root: Path, variant: str = "", missing_budget: float = 0.0) -> "ItemSource":
    """As `open_set`, and every file that an item needs has to be there.

    Args:
      name, root, variant: which.
      missing_budget: share of the files that may be missing; training passes over their items, and counts them.

    Raises:
      MissingInputError: too many are missing.
    """
    source = open_set(name, root, variant)
    files = list(dict.fromkeys(path for item in source.items for path in _files(source, item)))
    Folder(Path(root), name).tell([str(path) for path in files if not path.is_file()], len(files), missing_budget)
    return source


def _files(source: "ItemSource", item: "Item") -> list[Path]:
    """What lies in files of its own: picture and sound, or features."""
    if item.arrays is not None:
        return []
    if item.image:
        return [source.root / item.image, source.media / item.path]
    tracks = (*source.streams, *(("spec",) if source.sounds == "spectrogram" and not item.silent else ()))
    return [source.root / f"{item.stem}_{track}.npz" for track in tracks]


def tracks(source: "ItemSource") -> str:
    """How many items have which tracks, as a sentence."""
    said = sum(bool(len(item.captions) or item.text) for item in source.items)
    counts = {"words": said, "pictures": sum(bool(item.image) for item in source.items)}
    if any(item.arrays is not None for item in source.items):
        counts["sound"] = sum("spectrogram" in (item.arrays or {}) for item in source.items)
    found = [f"{count:,} have {name}" for name, count in counts.items() if count]
    return f"Of {len(source.items):,} items, {' and '.join(found) or 'none has words or pictures'}."


def flags(settings: dict[str, Any]) -> str:
    """Keys of config.data as flags of a command."""
    return " ".join(f"--config.data.{key}={value}" for key, value in settings.items() if value != "")
