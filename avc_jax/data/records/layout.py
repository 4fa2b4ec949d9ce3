"""How a folder of records is laid out: which clip lies in which shard, and the files that say so.

    recipe.json               what the records were asked to be
    clips-SPLIT.array_record-00000-of-00002     a shard: the records of consecutive clips of a split
    shards/<shard>.json       beside each finished shard: its digest, its clips, and why some have no record
    shards/<shard>.records.npy, .parts.npy      where its records and their parts lie; see places.py
    dataset_info.json, features.json            for tensorflow-datasets
    clips.npy                 the tables of records of all shards, in the order of the clips
    digests.json              of recipe.json, clips.npy and clips.jsonl, which say what is what; and the sizes of the shards
    clips.jsonl               every clip and where it is; written last, so that its presence means that all is done
    quarantine.jsonl, summary.json              for people
"""

import dataclasses
import hashlib
import json
import os
import re
import secrets
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

from avc_jax import errors
from avc_jax.data.sources import Clip, Source

VERSION = 2
DATASET = "clips"
RECIPE, INDEX, TABLE, DIGESTS = "recipe.json", "clips.jsonl", "clips.npy", "digests.json"
SUMMARY, LEDGER = "summary.json", "quarantine.jsonl"


@dataclasses.dataclass(frozen=True)
class Recipe:
    """What a record holds of its clip.

    Attributes:
      fps: frames per second of the clip.
      short_side: pixels of the shorter side of a frame.
      quality: of the JPEGs.
      rate_hz: sample rate of the sound.
      window_s: a clip shorter than this is of no use; training may ask for sounds of this length or longer.
      longest_s: a clip longer than this does not fit into one record.
      clips_per_shard: consecutive clips of a split that share a shard, less those that are of no use.
      split_fractions: shares of train, validation and test where no manifest gave splits.
    """

    fps: float = 5.0
    short_side: int = 256
    quality: int = 90
    rate_hz: int = 48000
    window_s: float = 1.0
    longest_s: float = 600.0
    clips_per_shard: int = 100
    split_fractions: tuple[float, ...] = (0.8, 0.1, 0.1)


@dataclasses.dataclass(frozen=True)
class Shard:
    """The clips of one shard: (place among all clips, clip), in order."""

    split: str
    number: int
    count: int
    clips: tuple[tuple[int, Clip], ...]

    @property
    def name(self) -> str:
        return f"{DATASET}-{self.split}.array_record-{self.number:05d}-of-{self.count:05d}"


def assign(source: Source, clips_per_shard: int) -> list[Shard]:
    """The shards of all clips: the n-th clip of a split goes to the split's shard n // clips_per_shard.

    Raises:
      DataError: the name of a split cannot be part of a file name that tensorflow-datasets reads.
    """
    splits: dict[str, list[tuple[int, Clip]]] = {}
    for place, clip in enumerate(source.clips):
        splits.setdefault(clip.split, []).append((place, clip))
    shards = []
    for split, clips in sorted(splits.items()):
        if not re.fullmatch(r"[A-Za-z]\w*", split, re.ASCII) or split == "all":
            raise errors.DataError(f"The manifest names a split {split!r}; expected a letter, then letters, digits and _, "
                                   "and not all, for tensorflow-datasets to read it. Rename it in the manifest.")
        parts = [tuple(clips[i : i + clips_per_shard]) for i in range(0, len(clips), clips_per_shard)]
        shards += [Shard(split, number, len(parts), part) for number, part in enumerate(parts)]
    return shards


def sidecar(folder: Path, shard_name: str) -> Path:
    """The file whose presence means that a shard is finished."""
    return folder / "shards" / f"{shard_name}.json"


def records_table(folder: Path, shard_name: str) -> Path:
    """The RECORD table of a shard."""
    return folder / "shards" / f"{shard_name}.records.npy"


def parts_table(folder: Path, shard_name: str) -> Path:
    """The PART table of a shard."""
    return folder / "shards" / f"{shard_name}.parts.npy"


def describe(recipe: Recipe, source: Source) -> dict[str, Any]:
    """What recipe.json says."""
    return {"version": VERSION, "clips_sha256": source.sha256(), **json.loads(json.dumps(dataclasses.asdict(recipe)))}


def recipe_from(described: dict[str, Any]) -> Recipe:
    """The recipe that `describe` was given.

    Raises:
      DataError: it is of another version of avc_jax.
    """
    if described.get("version") != VERSION:
        raise errors.DataError(f"The records are of version {described.get('version')}, expected {VERSION}: make them again "
                               "with avc_jax.prepare.")
    values = {field.name: described[field.name] for field in dataclasses.fields(Recipe)}
    return Recipe(**values | {"split_fractions": tuple(values["split_fractions"])})


def own_suffix() -> str:
    """Ends the name of a file that is not finished; whoever else writes it, an orphan or another machine, uses another."""
    return f"{os.getpid()}-{secrets.token_hex(4)}.tmp"


def write_text(path: Path, text: str) -> None:
    """Writes a file that is whole and on the disk once it has its name.

    Raises:
      OSError: it cannot be written.
    """
    _write(path, lambda temporary: temporary.write_text(text))


def write_table(path: Path, table: np.ndarray) -> None:
    """As `write_text`, for an array."""
    def save(temporary: Path) -> None:
        with open(temporary, "wb") as file:  # of a name alone, np.save would make another
            np.save(file, table, allow_pickle=False)

    _write(path, save)


def _write(path: Path, write: Callable[[Path], object]) -> None:
    temporary = path.with_name(f".{path.name}.{own_suffix()}")
    write(temporary)
    commit(temporary, path)


def commit(temporary: Path, path: Path) -> None:
    """Gives a finished file its name, after its bytes have reached the disk."""
    _sync(temporary)
    os.replace(temporary, path)
    _sync(path.parent)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove_leftovers(folder: Path) -> None:
    """Removes what a killed run left half written."""
    for path in [*folder.glob(".*.tmp"), *(folder / "shards").glob(".*.tmp")]:
        path.unlink(missing_ok=True)


def write_index(folder: Path, rows: Iterable[dict[str, Any]], shard_bytes: dict[str, int]) -> None:
    """Writes clips.jsonl, and before it the digests of what training believes without looking further.

    Args:
      folder: where recipe and table lie already.
      rows: of `clip` with either `shard` and `record`, or `kind` and `reason`.
      shard_bytes: shard -> size of its file.
    """
    text = "".join(json.dumps(row) + "\n" for row in rows)
    contents = {RECIPE: (folder / RECIPE).read_bytes(), TABLE: (folder / TABLE).read_bytes(), INDEX: text.encode()}
    digests = {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}
    write_text(folder / DIGESTS, json.dumps({"sha256": digests, "shard_bytes": shard_bytes}, indent=1) + "\n")
    write_text(folder / INDEX, text)


def check_digests(folder: Path) -> dict[str, int]:
    """Shard -> size of its file, after the digests of the files that describe the records were compared.

    Raises:
      DataError: one of them is not what was written.
    """
    name = DIGESTS
    try:
        found = json.loads((folder / DIGESTS).read_text())
        for name in (RECIPE, TABLE, INDEX):
            if hashlib.sha256((folder / name).read_bytes()).hexdigest() != found["sha256"][name]:
                raise ValueError("its sha256 is not the one it was written with")
        return {shard: int(size) for shard, size in found["shard_bytes"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise errors.DataError(f"{folder / name} is damaged ({error}); run avc_jax.prepare again to write it anew.") from error


def read_index(folder: Path) -> list[dict[str, Any]]:
    """The rows of clips.jsonl.

    Raises:
      MissingInputError: the folder holds no finished records.
      DataError: the file is damaged.
    """
    path = folder / INDEX
    if not path.is_file():
        begun = (folder / RECIPE).is_file()
        raise errors.MissingInputError(
            f"{folder}: expected records made by avc_jax.prepare, found "
            + ("unfinished ones; run the command that makes them again." if begun else "none there."))
    try:
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        for row in rows:
            row["clip"] = Clip(*row["clip"])
        return rows
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise errors.DataError(f"{path} is damaged ({error}); run avc_jax.prepare again to write it anew.") from error
