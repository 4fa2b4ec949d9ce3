"""Captions of films: what is said when, read from JSON, pickles or CSV."""

import hashlib
import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from avc_jax import errors
from avc_jax.data import sources
from avc_jax.data.items import plain_pickle

# What columns of a CSV may be called; the first name is ours, and counts first.
_COLUMNS = {"video": ("video", "video_id", "vid", "vid_id"), "start": ("start_s", "start", "start_time", "begin"),
            "end": ("end_s", "end", "end_time"), "text": ("text", "caption", "sentence")}


class Captions:
    """The captions of one film, in the order of their starts, in as little memory as may be: there are a hundred million.

    Attributes:
      start_s, end_s: float64[n], seconds since the beginning of the film; infinite where a caption is of the whole of it.
    """

    __slots__ = ("_text", "end_s", "start_s")

    def __init__(self, start_s: Iterable[float] = (), end_s: Iterable[float] = (), texts: Iterable[str] = ()):
        """
        Raises:
          ValueError: they are not equally many, or times are no numbers.
        """
        rows = [(float(start), float(end), " ".join(str(text).split())) for start, end, text in
                zip(start_s, end_s, texts, strict=True)]
        rows.sort(key=lambda row: row[0])
        if any(math.isnan(start) or math.isnan(end) for start, end, _ in rows):
            raise ValueError("a time is no number")
        self.start_s, self.end_s = (np.array([row[column] for row in rows], np.float64) for column in (0, 1))
        self._text = "\n".join(text for *_, text in rows)

    @classmethod
    def of_whole(cls, *texts: str) -> "Captions":
        """Captions that are all of the whole clip."""
        return cls([-math.inf] * len(texts), [math.inf] * len(texts), texts)

    def __len__(self) -> int:
        return len(self.start_s)

    @property
    def texts(self) -> list[str]:
        return self._text.split("\n") if len(self) else []

    @property
    def are_timed(self) -> bool:
        """Whether they say when something is said."""
        return bool(len(self)) and bool(np.isfinite(self.start_s).all())

    def within(self, start_s: float, end_s: float) -> str:
        """The texts that overlap a stretch, in order."""
        chosen = (self.start_s < end_s) & (self.end_s > start_s)
        return " ".join(text for text, wanted in zip(self.texts, chosen, strict=True) if wanted)

    def digest(self) -> str:
        """Of times and texts."""
        if not len(self):
            return ""
        text = self._text.encode("utf-8", "surrogatepass")  # JSON may hold halves of characters
        return hashlib.sha256(self.start_s.tobytes() + self.end_s.tobytes() + text).hexdigest()


NONE = Captions()


def find(root: Path, name: str, setting: str, *, folder: bool = False) -> Path:
    """The file of that name in a folder or here; or, where it may be one, the folder.

    Raises:
      MissingInputError: it is in neither.
    """
    found = next((path for path in (root / name, Path(name)) if path.is_file() or (folder and path.is_dir())), None)
    if found is None:
        raise errors.MissingInputError(f"{setting}={name}: there is no such file in {root} or here.")
    return found


def find_all(root: Path, names: str, setting: str) -> list[Path]:
    """As `find`, of names that are joined by commas."""
    return [find(root, name.strip(), setting) for name in names.split(",")]


def read(path: Path, wanted: set[str]) -> tuple[dict[str, Captions], list[str], list[str]]:
    """Video -> its captions, of those videos that are wanted; the names of the others; and, once for each of their captions that
    ends before it begins and is left out, the names of wanted ones.

    Args:
      path: a pickle or JSON of {video: {"start": [...], "end": [...], "text": [...]}} (HowTo100M's); a CSV of video, start_s,
        end_s, text, or as HowTo100M calls them video_id, start, end, text, where one without a video is of that which it is
        called after; or a folder of a CSV for each video.
      wanted: names of videos.

    Raises:
      DataError: it cannot be read as that.
    """
    try:
        if path.is_dir():
            tree: Any = _from_folder(path, wanted)
        elif path.suffix == ".csv":
            tree = _from_csv(path)
        else:
            tree = json.loads(path.read_bytes()) if path.suffix == ".json" else plain_pickle.read(path)
        if not isinstance(tree, Mapping):
            raise ValueError(f"found a {type(tree).__name__}")
        backwards: list[str] = []
        found = {str(name): _in_order(str(name), row, backwards) for name, row in tree.items() if str(name) in wanted}
        return found, [str(name) for name in tree if str(name) not in wanted], backwards
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError, OSError) as error:
        raise errors.DataError(f"{path} cannot be read as captions ({type(error).__name__}: {error}); expected, for each video, "
                               "lists start, end and text of one length.") from error


def _in_order(name: str, row: Any, backwards: list[str]) -> Captions:
    """The captions of a video, but for those that end before they begin; for each of these its name is noted."""
    try:
        said = [(float(start), float(end), text) for start, end, text in zip(row["start"], row["end"], row["text"], strict=True)]
        kept = [one for one in said if not one[1] < one[0]]
        backwards += [name] * (len(said) - len(kept))
        return Captions(*zip(*kept, strict=True))
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{name}: {type(error).__name__}: {error}") from error


def _from_csv(path: Path) -> dict[str, dict[str, list[str]]]:
    rows = sources.read_csv(path)
    columns = {str(column).strip().lower(): column for column in (rows[0] if rows else ())}
    named = {what: next((columns[name] for name in names if name in columns), "") for what, names in _COLUMNS.items()}
    if rows and "" in (named["start"], named["end"], named["text"]):
        raise ValueError(f"{path.name}: found columns {', '.join(map(str, rows[0]))}, expected video, start_s, end_s, text")
    grouped: dict[str, dict[str, list[str]]] = {}
    for row in rows:
        video = (row[named["video"]] or "") if named["video"] else path.stem
        own = grouped.setdefault(video, {"start": [], "end": [], "text": []})
        for name in own:
            own[name].append(row[named[name]] or "")
    return grouped


def _from_folder(folder: Path, wanted: set[str]) -> dict[str, dict[str, list[str]]]:
    """Video -> captions, those of wanted ones read. A file without any is of a video without captions."""
    grouped: dict[str, dict[str, list[str]]] = {}
    for path in sorted(folder.glob("*.csv")):
        grouped |= _from_csv(path) if path.stem in wanted else {path.stem: {}}
    return grouped
