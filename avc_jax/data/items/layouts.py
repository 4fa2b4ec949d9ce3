"""How items lie on disk: features of videos as avc_jax.features and HowTo100M lay them out, and pickles of clips.

Pictures with spoken captions are in `spoken`.
"""

import dataclasses
import json
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from avc_jax import errors
from avc_jax.data import sources
from avc_jax.data.items import captions, howto100m, plain_pickle, spoken
from avc_jax.data.items.source import Item, ItemSource
from avc_jax.data.items.words import WordVectors, count_unknown, tokens

_MANIFEST, _DESCRIPTION = "manifest.csv", "features.json"
_PICKLES = (".pkl", ".pickle")
_COUNTED = 100_000  # Captions whose words are looked up before training; of more, these many.
_CLIP_OF_VIDEO = re.compile(r"([\w-]{11})[_./ -].+", re.ASCII)  # A name of YouTube, and which clip of the video it is.


def open_items(config) -> ItemSource:
    """The source of a config whose data.source is one of items.

    Raises:
      MissingInputError: what the config names is not there.
      DataError: it is not what it ought to be.
    """
    data, root = config.data, Path(config.data.root)
    if not data.root:
        raise errors.MissingInputError("config.data.root is empty: name the folder of the items, --config.data.root=FOLDER.")
    if not root.exists():
        raise errors.MissingInputError(f"config.data.root={root}: expected the folder of config.data.source={data.source}, found "
                                       "nothing there.")
    opened = _OPENERS[data.source](config, root)
    if not opened.items:
        raise errors.MissingInputError(f"config.data.root={root}: expected items of config.data.source={data.source}, found "
                                       "none.")
    return _with_words(opened, data.word_vectors)


def _with_words(source: ItemSource, path: str) -> ItemSource:
    """The same with word vectors, and a note on the words that have none."""
    if not path:
        return source
    texts = [text for item in source.items for text in (*item.captions.texts, item.text)[:_COUNTED]][:_COUNTED]
    # Of a set whose captions can be gone through, only the words that turn up are looked for.
    wanted = {word for text in texts for word in tokens(text)} if len(texts) < _COUNTED else None
    vectors = WordVectors(path, wanted)
    note = count_unknown(vectors, texts)
    return dataclasses.replace(source, vectors=vectors, notes_found=(*source.notes_found, *([note] if note else [])))


# Films with features ------------------------------------------------------------------------------------------------------


def _open_features(config, root: Path) -> ItemSource:
    """A folder made by avc_jax.features: its manifest.csv (path,split,label,start_s,end_s,caption) lists the videos."""
    data = config.data
    manifest = data.manifest or _MANIFEST
    if not (root / manifest).is_file() and not Path(manifest).is_file():
        raise errors.MissingInputError(f"config.data.root={root}: expected {manifest}, which python -m avc_jax.features writes "
                                       "beside its features, found none.")
    return _films(config, root, sources.read_manifest(root, manifest, "config.data.manifest"), _media_of(root))


def _media_of(root: Path) -> Path:
    """The folder that the paths of videos are relative to: what features.json says, else the folder of the features itself."""
    try:
        described = json.loads((root / _DESCRIPTION).read_text())
    except (OSError, ValueError):
        return root
    named = described.get("videos") if isinstance(described, dict) else None
    return root / named if isinstance(named, str) and (root / named).is_dir() else root


def _open_howto100m(config, root: Path) -> ItemSource:
    """HowTo100M's features: <path>_2d.npz, _3d.npz and _spec.npz for each `path` of a CSV, see `howto100m.Features`."""
    tracks = config.data.streams.split("+")
    if config.data.manifest:
        rows = sources.read_manifest(root, config.data.manifest, "config.data.manifest")
        features = howto100m.Features(root)
        for row in rows:
            row["path"] = features.find(row["path"], [f"_{track}.npz" for track in (*tracks, "spec")]).name
    else:
        suffix = f"_{tracks[0]}.npz"
        found = sources.find_files(root, f"config.data.root={root}", (suffix,))
        rows = [{"path": path.removesuffix(suffix)} for path in found]
    return _films(config, root, rows, root)


def _films(config, root: Path, rows: Sequence[Mapping[str, str]], media: Path) -> ItemSource:
    data = config.data
    names = {path: number for number, path in enumerate(sorted({row["path"] for row in rows}))}
    table, notes = _captions(config, root, names)
    items = []
    for row in rows:
        own = row.get("caption") or ""
        said = table.get(row["path"]) or (captions.Captions.of_whole(own) if own else captions.NONE)
        split = row.get("split") or sources.hashed_split(row["path"], data.split_fractions)
        items.append(Item(row["path"], names[row["path"]], split, row.get("label") or "", *sources.stretch_of(dict(row)),
                          film=True, captions=said))
    streams = tuple(data.streams.split("+"))
    if data.sound == "spectrogram":
        items, silent = _with_silence(root, items, streams)
        notes += silent
    return ItemSource(root, tuple(items), data.source, data.sound, streams, media=media, clip_choice=data.clip_choice,
                      min_clip_s=data.min_clip_s, notes_found=notes)


def _with_silence(root: Path, items: Sequence[Item], streams: Sequence[str]) -> tuple[list[Item], tuple[str, ...]]:
    """The same items, of which those that have features and no spectrogram are silent; and a note on them.

    Raises:
      MissingInputError: all of them are.
    """
    features = howto100m.Features(root)

    def is_silent(item: Item) -> bool:
        return not features.has(f"{item.stem}_spec.npz") and any(features.has(f"{item.stem}_{stream}.npz") for stream in streams)

    marked = [dataclasses.replace(item, silent=True) if is_silent(item) else item for item in items]
    films = sorted({item.path for item in marked if item.silent})
    if marked and all(item.silent for item in marked):
        raise errors.MissingInputError(f"config.data.root={root}: none of the {len(films)} films has a spectrogram, such as "
                                       f"{marked[0].stem}_spec.npz; make them with python -m avc_jax.features --spectrograms, or "
                                       "read sounds from the videos (config.data.sound=waveform).")
    return marked, (f"{len(films)} of the {len({item.path for item in marked})} films have no spectrogram and count as silent, "
                    f"such as {films[0]}.",) if films else ()


def _captions(config, root: Path, paths: Iterable[str]) -> tuple[dict[str, captions.Captions], tuple[str, ...]]:
    """Path of a film -> its captions; and a note on films without any, and on captions without a film."""
    if not config.data.captions:
        return {}, ()
    # A caption file names a video by its path, with or without its extension, or by its last part.
    called = {path: (path, os.path.splitext(path)[0], os.path.splitext(os.path.basename(path))[0], os.path.basename(path))
              for path in paths}
    file = captions.find(root, config.data.captions, "config.data.captions", folder=True)
    found, strangers, backwards = captions.read(file, {name for own in called.values() for name in own})
    chosen = {path: next((name for name in own if name in found), None) for path, own in called.items()}
    table = {path: found[name] for path, name in chosen.items() if name is not None}
    lacking = [path for path in called if path not in table]
    notes = [f"{config.data.captions} has no captions of {len(lacking)} of the {len(called)} films, such as {lacking[0]}."
             ] if lacking else []
    if strangers:
        notes.append(f"{config.data.captions} has captions of {len(strangers)} videos that are not in the list and are left out, "
                     f"such as {strangers[0]}.")
    if backwards:
        notes.append(f"{config.data.captions} has {len(backwards)} captions that end before they begin and are left out, such as "
                     f"one of {backwards[0]}.")
    return table, tuple(notes)


# Pickles of clips ----------------------------------------------------------------------------------------------------------


def _open_pickles(config, root: Path) -> ItemSource:
    """Lists of records, as AVLnet evaluates on: 2d, 3d (or 2d_pooled, 3d_pooled), audio, caption, eval_caption, id."""
    data = config.data
    paths = captions.find_all(root, data.manifest, "config.data.manifest") if data.manifest else (
        [root] if root.is_file() else sorted(path for path in root.iterdir() if path.suffix in _PICKLES))
    records: list[tuple[str, Path, Any]] = []
    for path in paths:
        tree = plain_pickle.read(path)
        if not isinstance(tree, list) or not all(isinstance(record, dict) for record in tree):
            raise errors.DataError(f"{path}: found a {type(tree).__name__}, expected a list of records (dicts), one for each "
                                   "clip.")
        records += [(spoken.split_of(path), path, record) for record in tree]
    streams = tuple(data.streams.split("+"))
    films: dict[str, int] = {}
    items, silent = [], 0
    for number, (split, path, record) in enumerate(records):
        named = record.get("id") is not None
        name = str(record["id"]) if named else f"{path.stem}/{number}"
        of_video = _CLIP_OF_VIDEO.fullmatch(name) if named else None
        film = of_video[1] if of_video else name
        arrays = _arrays_of(record, streams, f"{path}, record {name}")
        silent += "spectrogram" not in arrays
        said = _texts(record.get("caption"), f"{path}, record {name}")
        split = split or sources.hashed_split(film, data.split_fractions)
        items.append(Item(name, films.setdefault(film, len(films)), split, str(record.get("label") or ""),
                          captions=captions.Captions.of_whole(*said), text=str(record.get("eval_caption") or ""), arrays=arrays))
    notes = (f"{silent} of the {len(items)} clips have no sound.",) if silent else ()
    return ItemSource(root if root.is_dir() else root.parent, tuple(items), data.source, data.sound, streams, notes_found=notes)


def _arrays_of(record: Mapping[str, Any], streams: Sequence[str], where: str) -> dict[str, np.ndarray]:
    """The tracks of a record: spectrogram float16[bands, frames], and float[n, D] of each stream."""
    found = {}
    for name in streams:
        rows = next((record[key] for key in (name, f"{name}_pooled") if record.get(key) is not None), None)
        if rows is None:
            raise errors.DataError(f"{where}: found {', '.join(sorted(map(str, record)))}, expected {name} or {name}_pooled; "
                                   "config.data.streams says which features to read.")
        numbers = _numbers(rows, where, name)
        if not numbers.ndim:
            raise errors.DataError(f"{where}: {name} is a single number, expected a row of them.")
        found[name] = numbers.reshape(-1, numbers.shape[-1]) if numbers.size else np.zeros((0, 0), np.float32)
    if record.get("audio") is not None:
        sound = _numbers(record["audio"], where, "audio")
        if sound.ndim != 2:
            raise errors.DataError(f"{where}: audio has {sound.ndim} axes, expected bands and frames.")
        with np.errstate(over="ignore"):  # its reader says what is not finite
            found["spectrogram"] = sound.astype(np.float16)
    return found


def _texts(said: Any, where: str) -> list[str]:
    if isinstance(said, str):
        return [said]
    if not isinstance(said, list | tuple | None):
        raise errors.DataError(f"{where}: caption is a {type(said).__name__}, expected a text, or a list of them.")
    return [str(text) for text in said or ()]


def _numbers(values: Any, where: str, name: str) -> np.ndarray:
    try:
        found = np.asarray(values)
    except ValueError as error:
        raise errors.DataError(f"{where}: {name} is no array of numbers.") from error
    if found.dtype.kind not in "fiu":
        raise errors.DataError(f"{where}: {name} is no array of numbers.")
    return found


_OPENERS: dict[str, Callable[[Any, Path], ItemSource]] = {
    "features": _open_features,
    "howto100m": _open_howto100m,
    "clip_pickles": _open_pickles,
    "spoken_captions": spoken.open_spoken,
}
