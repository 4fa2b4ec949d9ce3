"""HowTo100M: 1.2 million narrated videos that show how to do something, as features (arXiv:1906.03327)."""

from pathlib import Path

from avc_jax.data.items import howto100m
from avc_jax.datasets.layout import Folder, Item

VARIANTS = {"features": "The films that there are features of, or those of a manifest."}
LISTS: dict[str, tuple[str, ...]] = {"features": ()}
SETTINGS = {"source": "howto100m", "sound": "spectrogram"}
_ENDINGS = ("_2d.npz", "_3d.npz", "_spec.npz")


def read(root: Path, table: str, missing_budget: float = 0.0) -> list[Item]:
    """The films of a published list, under the names that their features lie under; see `data.items.howto100m.Features`.

    Args:
      root: folder of the features.
      table: CSV with a column path, relative to root or absolute, such as HowTo100M_1166_videopaths.txt.
      missing_budget: share of the films whose features may be missing; they are left out.

    Raises:
      MissingInputError: there is no such list, or too many features are missing.
      DataError: it has no column path.
    """
    folder = Folder(Path(root), "howto100m")
    items, missing, features = [], [], howto100m.Features(folder.root)
    rows = folder.rows(table, ("path",))
    for row in rows:
        name, lacking = features.find(row["path"], _ENDINGS)
        if lacking:
            missing.append(f"{name}{', '.join(lacking)}")
        else:
            items.append(Item(name, row.get("label") or "", row.get("split") or "train"))
    folder.tell(missing, len(rows), missing_budget)
    return items
