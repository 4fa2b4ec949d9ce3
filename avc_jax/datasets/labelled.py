"""Your own sounds (labelled_audio) or videos (labelled_media): any CSV of path, label and fold."""

from pathlib import Path

from avc_jax.data import sources
from avc_jax.datasets.layout import Folder, Item

VARIANTS: dict[str, str] = {}
CLASSES: tuple[str, ...] = ()
_FRACTIONS = (0.8, 0.1, 0.1)


def read(root: Path, table: str = "labels.csv") -> list[Item]:
    """The rows of a table, which is a manifest as training takes it.

    Rows without fold and split are dealt to train, validation and test by a hash of their paths.

    Args:
      root: folder of the media.
      table: CSV of path, label, fold (or split), and if need be start_s and end_s; absolute, or relative to root.

    Raises:
      MissingInputError: the table or a file is not there, or the table is empty.
      DataError: the table is no manifest, or a row has no label.
    """
    folder = Folder(Path(root), "labelled")
    if not (folder.root / table).is_file():
        raise folder.absent("a CSV with the columns path, label, fold", table)
    clips = sources.open_folder(str(folder.root), str(folder.root / table), _FRACTIONS, settings=("root", "table")).clips
    for clip in clips:
        if not clip.label:
            raise folder.wrong(table, f"{clip.path} has no label.")
    return folder.require(Item(clip.path, clip.label, clip.split, clip.start_s, clip.end_s) for clip in clips)
