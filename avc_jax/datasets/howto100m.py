"""HowTo100M: 1.2 million narrated videos that show how to do something, as features (arXiv:1906.03327)."""

from pathlib import Path

from avc_jax.datasets.layout import Folder, Item

VARIANTS = {"features": "The films that there are features of, or those of a manifest."}
LISTS: dict[str, tuple[str, ...]] = {"features": ()}
SETTINGS = {"source": "howto100m", "sound": "spectrogram"}
_ENDINGS = ("_2d.npz", "_3d.npz", "_spec.npz")


def read(root: Path, table: str, missing_budget: float = 0.0) -> list[Item]:
    """The films of a published list, under the names that their features lie under.

    The list has paths such as food/video_j/jEyaTUyJ-rs; the features are food/video_j/jEyaTUyJ-rs_2d.npz, or as the published
    code reads them food/video_j/jEyaTUyJ-rs/jEyaTUyJ-rs_2d.npz.

    Args:
      root: folder of the features.
      table: CSV with a column path, relative to root or absolute, such as HowTo100M_1166_videopaths.txt.
      missing_budget: share of the films whose features may be missing; they are left out.

    Raises:
      MissingInputError: there is no such list, or too many features are missing.
      DataError: it has no column path.
    """
    folder = Folder(Path(root), "howto100m")
    items, missing = [], []
    rows = folder.rows(table, ("path",))
    for row in rows:
        listed = row["path"].replace("None/", "")
        named = [name for name in (listed, f"{listed}/{listed.rsplit('/', 1)[-1]}")
                 if all((folder.root / f"{name}{ending}").is_file() for ending in _ENDINGS)]
        if named:
            items.append(Item(named[0], row.get("label") or "", row.get("split") or "train"))
        else:
            missing.append(f"{listed}_2d.npz, _3d.npz or _spec.npz")
    folder.tell(missing, len(rows), missing_budget)
    return items
