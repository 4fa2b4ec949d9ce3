"""Where clips lie: the list of clips of a folder, with their splits."""

import csv
import dataclasses
import functools
import hashlib
import math
import os
import posixpath
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from avc_jax import errors
from avc_jax.data import decoders, files, limits, presence
from avc_jax.data.moments import Format, Found, Request
from avc_jax.schema import ITEM_SOURCES

if TYPE_CHECKING:
    from avc_jax.data.plan import Plan
    from avc_jax.data.quarantine import Quarantine
    from avc_jax.data.reading import Reader

EXTENSIONS = (".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi")
HASHED_SPLITS = ("train", "validation", "test")


@dataclasses.dataclass(frozen=True)
class Clip:
    """One clip: a media file, or a stretch of one.

    Attributes:
      path: relative to the source's root.
      file: index of the file among the files of the source; clips of one file never make a false pair.
      split: name of its split.
      label: class, if the manifest says so; never used in training on correspondence.
      start_s, end_s: the stretch on the file's clock.
    """

    path: str
    file: int
    split: str
    label: str = ""
    start_s: float = -math.inf
    end_s: float = math.inf


@dataclasses.dataclass(frozen=True)
class Source:
    """Random access to clips by their place in `clips`."""

    root: Path
    clips: tuple[Clip, ...]

    @property
    def stored_side(self) -> int:
        """Pixels of the shorter side of frames that are handed on as JPEGs (`jpegs.Crop`); 0: they are decoded."""
        return 0

    @property
    def holds_pairs(self) -> bool:
        """Whether false pairs of frame and sound can be made of its clips (`visit.Reader`)."""
        return True

    @property
    def notes(self) -> tuple[str, ...]:
        """What was found out when it was opened and ought to be known before training, a sentence each."""
        return ()

    def reader(self, plan: "Plan", form: Format, quarantine: "Quarantine", features: Collection[str], *,
               pairing: str = "none") -> "Reader":
        """Who reads its clips, as examples with the fields that a system takes.

        Args:
          plan: over as many clips.
          form: of what is delivered.
          quarantine: where bad files go.
          features: the system's: field -> `systems.base.Feature`.
          pairing: see config.data.pairing.

        Raises:
          ConfigError: the system takes what these clips do not hold.
          DataError: false pairs are wanted, and there is only one file.
        """
        from avc_jax.data import visit

        reader = visit.Reader(self, plan, form, quarantine, pairing=pairing)
        check_fields(features, reader.shapes, "videos")
        return reader

    def read(self, request: Request, form: Format) -> Found:
        """Reads frames and sounds of clips; safe to call from several threads. A bad clip is told, not raised."""
        clips = [self.clips[place] for place in request.clips]
        return files.read([self.root / clip.path for clip in clips], clips, self._read_one, request, form)

    def _read_one(self, path: Path, clip: files.Clip, request: Request, form: Format) -> files.Read:
        return presence.read_beside(self._neighbours, str(path), lambda: decoders.read(path, clip, request, form))

    @functools.cached_property
    def _neighbours(self) -> presence.Neighbours:
        return presence.Neighbours(self.root, (str(self.root / clip.path) for clip in self.clips), lambda path: [Path(path)])

    def sound(self, place: int, rate_hz: int) -> np.ndarray:
        """int16[n]: the whole sound of a clip, mono.

        Raises:
          BadMedia: the clip is of no use.
        """
        clip = self.clips[place]
        path = self.root / clip.path
        return presence.read_beside(self._neighbours, str(path), lambda: decoders.read_sound(path, clip, rate_hz, video=True))

    def select(self, split: str, *, beside: str = "") -> "Source":
        """The clips of one split: all, heldout (every split but `beside`), or a name.

        Raises:
          ConfigError: no clip has that split; the message lists the splits that there are.
        """
        if split == "all":
            return self
        if split == "heldout":
            if not beside:
                raise errors.ConfigError("config.data.split: found 'heldout', which means every clip that training does not see; "
                                         f"expected all or one of {', '.join(self.count_splits())}.")
            return dataclasses.replace(self, clips=tuple(clip for clip in self.clips if beside not in ("all", clip.split)))
        clips = tuple(clip for clip in self.clips if clip.split == split)
        if not clips:
            raise errors.ConfigError(f"config.data: found split {split!r}, but the clips of {self.root} are in splits "
                                     f"{self.count_splits()}; all and heldout are allowed as well.")
        return dataclasses.replace(self, clips=clips)

    def count_splits(self) -> dict[str, int]:
        """Split -> number of its clips."""
        counts: dict[str, int] = {}
        for clip in self.clips:
            counts[clip.split] = counts.get(clip.split, 0) + 1
        return dict(sorted(counts.items()))

    @property
    def classes(self) -> list[str]:
        """The labels of its clips, sorted; clips without one do not count."""
        return sorted({clip.label for clip in self.clips} - {""})

    @property
    def num_files(self) -> int:
        return len({clip.file for clip in self.clips})

    def sha256(self) -> str:
        """Digest of the list of clips: two sources with the same digest have the same order of samples."""
        rows = "\n".join(repr(dataclasses.astuple(clip)) for clip in self.clips)
        return hashlib.sha256(rows.encode()).hexdigest()


def check_fields(wanted: Collection[str], found: Collection[str], what: str) -> None:
    """Raises ConfigError if a system takes fields that a source of `what` does not give."""
    lacking = [name for name in wanted if name not in found]
    if lacking:
        raise errors.ConfigError(f"The system takes {', '.join(wanted)}; {what} give {', '.join(found)}, and no "
                                 f"{' and no '.join(lacking)}. config.data.source names what data there are, config.data.sound "
                                 "how sounds are stored.")


def open_folder(root: str, manifest: str, fractions: Sequence[float], *,
                settings: tuple[str, str] = ("config.data.root", "config.data.manifest")) -> Source:
    """The clips of a folder: those of the manifest, or every video below root, sorted by path.

    Args:
      root: folder of media.
      manifest: CSV path, absolute or relative to root or to here; empty for none.
      fractions: shares of train, validation and test where no manifest gives splits.
      settings: what the user calls root and manifest.

    Raises:
      MissingInputError: root or manifest does not exist, or there is no media file.
      DataError: the manifest cannot be read as one.
    """
    if not root:
        raise errors.MissingInputError(f"{settings[0]} is empty: name the folder of videos, --{settings[0].lstrip('-')}=FOLDER.")
    folder, named = Path(root), f"{settings[0]}={root}"
    if not folder.is_dir():
        found = "a file" if folder.exists() else "nothing"
        raise errors.MissingInputError(f"{named}: expected a folder of videos, found {found} there.")
    rows = (read_manifest(folder, manifest, settings[1]) if manifest else
            [{"path": path} for path in find_files(folder, named)])
    if not rows:
        where = f"the manifest {manifest} lists none" if manifest else "it holds none, searched recursively"
        raise errors.MissingInputError(f"{named}: expected videos ({' '.join(EXTENSIONS)}), but {where}.")
    files = {path: index for index, path in enumerate(sorted({row["path"] for row in rows}))}
    return Source(folder, tuple(_clip(row, files, fractions) for row in rows))


def parse_fractions(values: Sequence[str], setting: str) -> tuple[float, ...]:
    """The shares of train, validation and test that a user writes.

    Raises:
      ConfigError: they are no three shares that sum to 1.
    """
    try:
        found = tuple(float(value) for value in values)
    except ValueError:
        found = ()
    if len(found) != 3 or min(found) < 0 or abs(sum(found) - 1) > 1e-6:
        raise errors.ConfigError(f"{setting}: found {','.join(values)}, expected three shares that sum to 1, such as "
                                 "0.8,0.1,0.1.")
    return found


def find_files(folder: Path, named: str, extensions: tuple[str, ...] = EXTENSIONS) -> list[str]:
    """The files with one of the extensions below a folder, as sorted relative paths; hidden ones are left out.

    Raises:
      MissingInputError: a folder cannot be read; `named` is what the user calls it.
    """
    def unreadable(error: OSError):
        raise errors.MissingInputError(f"{named}: {error.filename} cannot be read: {error.strerror}.")

    found: list[str] = []
    entered: set[str] = set()
    for parent, folders, names in os.walk(folder, followlinks=True, onerror=unreadable):
        folders.sort()
        # A link may lead back to where the search has been: whatever lies there would be two files to us.
        if os.path.realpath(parent) in entered:
            folders.clear()
            continue
        entered.add(os.path.realpath(parent))
        found += [os.path.join(parent, name) for name in names
                  if name.lower().endswith(extensions) and not name.startswith(".")]
    return sorted(Path(path).relative_to(folder).as_posix() for path in found)


def read_manifest(folder: Path, manifest: str, setting: str) -> list[dict[str, str]]:
    """The rows of a CSV with a column `path`, whose values are normalised.

    Args:
      folder: where the manifest is looked for first.
      manifest: path of the CSV, absolute or relative to folder or to here.
      setting: what the user calls it.

    Raises:
      MissingInputError: there is no such file.
      DataError: it cannot be read as one.
    """
    path = next((p for p in (folder / manifest, Path(manifest)) if p.is_file()), None)
    if path is None:
        raise errors.MissingInputError(f"{setting}={manifest}: there is no such file in {folder} or here.")
    rows = read_csv(path)
    columns = list(rows[0]) if rows else ["path"]
    if "path" not in columns:
        raise errors.DataError(f"{path}: found columns {', '.join(map(str, columns))}; expected one named path, and "
                               "optionally split (or fold), label, start_s, end_s.")
    for number, row in enumerate(rows, start=2):
        if not row["path"]:
            raise errors.DataError(f"{path}, line {number}: the path is empty.")
        row["path"] = posixpath.normpath(row["path"])
        row["split"] = row.get("split") or row.get("fold") or ""
    return rows


def stretch_of(row: dict[str, str]) -> tuple[float, float]:
    """(start_s, end_s) of a row of a manifest; infinite where it does not say.

    Raises:
      DataError: they are no numbers, or out of order.
    """
    def seconds(name: str, missing: float) -> float:
        text = row.get(name) or ""
        try:
            value = float(text) if text else missing
        except ValueError:
            value = math.nan
        if math.isnan(value):
            raise errors.DataError(f"The manifest gives {row['path']} {name}={text!r}; expected a number of seconds.")
        return value

    start_s, end_s = seconds("start_s", -math.inf), seconds("end_s", math.inf)
    if end_s <= start_s:
        raise errors.DataError(f"The manifest gives {row['path']} start_s={start_s} and end_s={end_s}; the end has to be later.")
    return start_s, end_s


def _clip(row: dict[str, str], files: dict[str, int], fractions: Sequence[float]) -> Clip:
    split = row.get("split") or hashed_split(row["path"], fractions)
    return Clip(row["path"], files[row["path"]], split, row.get("label") or "", *stretch_of(row))


def hashed_split(path: str, fractions: Sequence[float]) -> str:
    """train, validation or test by a hash of the relative path: stable when files come and go.

    Args:
      path: relative, with forward slashes.
      fractions: shares of the three, summing to 1.
    """
    uniform = int.from_bytes(hashlib.sha256(path.encode("utf-8", "surrogateescape")).digest()[:8], "big") / 2**64
    for split, edge in zip(HASHED_SPLITS, (fractions[0], fractions[0] + fractions[1]), strict=False):
        if uniform < edge:
            return split
    return HASHED_SPLITS[-1]


def read_csv(path: Path) -> list[dict[str, str]]:
    """The rows of a CSV with a line of column names.

    Raises:
      DataError: it cannot be read as one.
    """
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            return list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise errors.DataError(f"{path} cannot be read as CSV: {error}") from error


def open_source(config) -> Source:
    """The source of a config, rendering the demo clips first where it asks for them; its limits are those of this process."""
    limits.use_config(config)
    data = config.data
    if data.source == "rendered":
        from avc_jax.data.rendered import render_folder

        if not data.root:
            raise errors.MissingInputError("config.data.root is empty: name the folder to render the demo clips into.")
        render_folder(Path(data.root), num_clips=data.rendered_clips)
        return open_folder(data.root, "manifest.csv", data.split_fractions)
    if data.source == "records":
        from avc_jax.data.records.source import open_records

        return open_records(config)
    if data.source in ITEM_SOURCES:
        from avc_jax.data.items import open_items

        return open_items(config)
    return open_folder(data.root, data.manifest, data.split_fractions)
