"""Pictures with spoken captions: the layouts of Places, Spoken ObjectNet and Flickr8k Audio, and lists of two columns."""

import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from avc_jax import errors
from avc_jax.data import sources
from avc_jax.data.items.captions import NONE, Captions, find_all
from avc_jax.data.items.source import Item, ItemSource

_TRIED = 20  # Files of a list that are looked for to find their folder.
_FLICKR_PAIRS = "wav2capt.txt"
_FLICKR_SPLITS = {"Flickr_8k.trainImages.txt": "train", "Flickr_8k.devImages.txt": "validation",
                  "Flickr_8k.testImages.txt": "test"}
_OF_LANGUAGE = re.compile(r"(.+)_(?:audio_base_path|image_base_path|wav)")
_SPLIT_WORDS = {"train": ("train", "training"), "validation": ("val", "valid", "validation", "dev"), "test": ("test",),
                "eval": ("eval", "evaluation")}


class Pair(NamedTuple):
    """A picture and one spoken caption of it; the paths are relative to the root."""

    image: str
    wav: str
    split: str
    text: str = ""


def split_of(path: Path) -> str:
    """The split that a file's name says: train, validation, test or eval; empty if it says none."""
    parts = re.split(r"[_\-. ]+", path.stem.lower())
    return next((split for split, words in _SPLIT_WORDS.items() if any(word in parts for word in words)), "")


def open_spoken(config, root: Path) -> ItemSource:
    """The pairs that config.data.manifest lists (one list, or several joined by commas); without it, of all lists in the folder.

    Raises:
      MissingInputError: there is no list, or what it names is not there.
      DataError: a list cannot be read.
    """
    data = config.data
    flickr = next((path for path in (root / _FLICKR_PAIRS, root / "flickr_audio" / _FLICKR_PAIRS) if path.is_file()), None)
    if flickr and not data.manifest:
        pairs = _read_flickr(root, flickr)
    else:
        lists = find_all(root, data.manifest, "config.data.manifest") if data.manifest else (
            sorted(path for path in root.glob("*.json") if path.is_file()) or sorted(root.glob("*.txt")))
        pairs = [pair for path in lists for pair in read_list(root, path, data.language)]
    groups = {image: number for number, image in enumerate(sorted({pair.image for pair in pairs}))}
    items = tuple(Item(pair.wav, groups[pair.image], pair.split or sources.hashed_split(pair.image, data.split_fractions),
                       captions=Captions.of_whole(pair.text) if pair.text else NONE,
                       image=pair.image) for pair in pairs)
    return ItemSource(root, items, data.source, data.sound, pictures=True, media=root, clip_choice="whole")


def read_list(root: Path, path: Path, language: str = "") -> list[Pair]:
    """The pairs of one list, of the split that they or its name say.

    Args:
      root: folder of pictures and sounds.
      path: JSON of {image_base_path, audio_base_path, data: [{image, wav, ...}]} (Places, Spoken ObjectNet), a CSV with columns
        image and wav (or audio), or a text with a line "<image> <wav>" for each pair (the Japanese captions of Places). Keys of
        JSON may name a language: hindi_wav, hindi_audio_base_path (the Hindi captions of Places).
      language: which of several; empty: the only one, or the one that the list's name says.

    Raises:
      MissingInputError: the pictures or sounds are not there.
      DataError: it cannot be read as one.
    """
    bases = ("", "")
    if path.suffix == ".json":
        rows, bases = _read_json(path, language)
    elif path.suffix == ".csv":
        rows = [{**row, "wav": row.get("wav") or row.get("audio", "")} for row in sources.read_csv(path)]
    else:
        # The paths of the Japanese lists begin with a slash.
        rows = [dict(zip(("image", "wav"), (part.lstrip("/") for part in line.split()), strict=False))
                for line in _lines(path)]
    for number, row in enumerate(rows, start=1):
        if not all(isinstance(row.get(name), str) and row[name] for name in ("image", "wav")):
            raise errors.DataError(f"{path}, entry {number}: found {', '.join(map(str, row)) or 'nothing'}; expected the path of "
                                   "an image and of its wav.")
    if not rows:
        return []
    image_base = _base(root, bases[0], [row["image"] for row in rows], ("images", "objectnet-1.0/images"), path)
    wav_base = _base(root, bases[1], [row["wav"] for row in rows], ("wavs", "audio"), path)
    split = split_of(path)
    return [Pair(os.path.join(image_base, row["image"]), os.path.join(wav_base, row["wav"]), row.get("split") or split,
                 str(row.get("asr_text") or row.get("text") or "")) for row in rows]


def _read_json(path: Path, language: str) -> tuple[list[dict[str, Any]], tuple[str, str]]:
    """The rows of a list, and the folders of its images and wavs."""
    try:
        tree = json.loads(path.read_bytes())
        rows = tree["data"]
        if not all(isinstance(row, dict) for row in rows):
            raise TypeError("data holds what is no object")
        tree, *rows = _in_language(path, [tree, *rows], language)
        return rows, (str(tree.get("image_base_path") or ""), str(tree.get("audio_base_path") or ""))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise errors.DataError(f"{path} cannot be read as a list of spoken captions ({type(error).__name__}: {error}); expected "
                               "{image_base_path, audio_base_path, data: [{image, wav}, ...]}.") from error


def _in_language(path: Path, objects: list[dict[str, Any]], language: str) -> list[dict[str, Any]]:
    """The same objects, with keys of one language (hindi_wav) also without its name. Where nobody asks for a language, those that
    have no name anyway come first.

    Raises:
      DataError: there are several, and none is chosen.
    """
    found = sorted({named[1] for row in objects for key in row if (named := _OF_LANGUAGE.fullmatch(key))})
    likely = [name for name in found if name.lower() in path.name.lower()]
    chosen = language or (found[0] if len(found) == 1 else likely[0] if len(likely) == 1 else "")
    plain = not language and all("wav" in row for row in objects[1:])
    if chosen not in found and (plain or not found):
        return objects
    if chosen not in found:
        raise errors.DataError(f"{path} has captions in {', '.join(found)}; config.data.language: found {language!r}, expected "
                               "one of these.")
    begin = f"{chosen}_"
    own = [{key.removeprefix(begin): value for key, value in row.items() if key.startswith(begin)} for row in objects]
    return [named | row if plain else row | named for named, row in zip(own, objects, strict=True)]


def _lines(path: Path) -> list[str]:
    try:
        return [line for line in path.read_text("utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise errors.DataError(f"{path} cannot be read as text: {error}.") from error


def _base(root: Path, named: str, paths: Sequence[str], usual: Sequence[str], path: Path) -> str:
    """The folder, relative to root or absolute, that one of the first of some paths is in: a few may be missing."""
    # Lists lie beside their sounds (Hindi, Japanese), or in a folder beside them (English, Spoken ObjectNet).
    near = [os.path.relpath(folder, root) for folder in (path.parent, path.parent.parent)]
    candidates = [*([named, os.path.basename(named.rstrip("/"))] if named else []),
                  *(os.path.join(folder, name) for folder in ("", *near) for name in ("", *usual))]
    found = next((base for one in paths[:_TRIED] for base in candidates if (root / base / one).is_file()), None)
    if found is None:
        raise errors.MissingInputError(f"{path}: {paths[0]} is not in {root}, nor in its folders "
                                       f"{', '.join(base for base in candidates if base)}; put it there, or name another "
                                       "config.data.root.")
    return found


def _read_flickr(root: Path, path: Path) -> list[Pair]:
    """Flickr8k Audio: wav2capt.txt ("<wav> <image> #<number>"), wavs/, the pictures, and Flickr8k's lists of splits, if any."""
    lists = {root / folder / name: split for folder in ("", "Flickr8k_text") for name, split in _FLICKR_SPLITS.items()}
    split_of_image = {image.strip(): split for own, split in lists.items() if own.is_file()
                      for image in _lines(own)}
    rows = [line.split() for line in _lines(path)]
    if not rows or any(len(row) < 2 for row in rows):
        raise errors.DataError(f"{path}: expected lines of a wav and an image.")
    wav_base = _base(root, "", [row[0] for row in rows], ("wavs",), path)
    image_base = _base(root, "", [row[1] for row in rows], ("Flicker8k_Dataset", "Flickr8k_Dataset", "images"), path)
    unlisted = "other" if split_of_image else ""
    return [Pair(os.path.join(image_base, image), os.path.join(wav_base, wav), split_of_image.get(image, unlisted))
            for wav, image, *_ in rows]


def join_languages(lists: Mapping[str, Sequence[Pair]]) -> tuple[list[dict[str, Pair]], dict[str, list[str]]]:
    """The pictures that have a caption in every language.

    Args:
      lists: language -> its pairs.

    Returns:
      For each such picture, in the order of the first list, language -> pair (the first, where there are several); and for each
      language the pictures that turned up more than once.
    """
    first: dict[str, dict[str, Pair]] = {}
    repeated: dict[str, list[str]] = {}
    for language, pairs in lists.items():
        own: dict[str, Pair] = {}
        again: dict[str, None] = {}
        for pair in pairs:
            if pair.image in own:
                again[pair.image] = None
            own.setdefault(pair.image, pair)
        first[language], repeated[language] = own, list(again)
    common = [image for image in next(iter(first.values()), {}) if all(image in own for own in first.values())]
    return [{language: own[image] for language, own in first.items()} for image in common], repeated
