"""Makes an index, or brings one up to date: only new and changed files are embedded."""

import dataclasses
import itertools
import os
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol, TextIO

import xxhash

from avc_jax import errors
from avc_jax.data import still
from avc_jax.data.inputs import SOUNDS, find_inputs
from avc_jax.embed import Progress
from avc_jax.search.films import Films, is_folder
from avc_jax.search.index import Entry, File, Index, Store
from avc_jax.search.network import Found, Network
from avc_jax.train.guard import Guard

_TOGETHER = 64  # files that are embedded together: enough for full batches, few enough to lose when stopped
_COMMIT_S = 60.0
_CHUNK = 1 << 20
# A file need not have both tracks.
_NO_TRACK = ("no_audio", "no_video")


class Wish(NamedTuple):
    """What is asked of an index.

    Attributes:
      inputs: files, folders and globs to add.
      forget: inputs of earlier commands to leave out.
      checkpoint: a run or a model folder; empty: the one that the index was made with.
      hop_s: seconds from one window to the next; 0: as the index has it, a new one the length of a window.
      exact_rows: more rows of a modality get lists.
      batch_size: windows embedded at once.
    """

    inputs: Sequence[str]
    forget: Sequence[str] = ()
    checkpoint: str = ""
    hop_s: float = 0.0
    exact_rows: int = 1 << 60
    batch_size: int = 32


class Kind(Protocol):
    """A kind of input: what its vectors depend on, and how they are made."""

    def parts(self, path: str) -> list[str]:
        """The files on the disk that the vectors of a path depend on."""

    def embed(self, network: Network, paths: Sequence[str], on_wait: Callable[[], None],
              on_rows: Callable[[int, int], None]) -> list[Found]:
        """What becomes of each path.

        Args:
          network: what embeds.
          paths: which.
          on_wait: called several times a second; it may raise.
          on_rows: told now and then: a place in `paths`, and how many windows were embedded since.
        """


class Media:
    """Sounds, videos and images."""

    def parts(self, path: str) -> list[str]:
        return [path]

    def embed(self, network: Network, paths: Sequence[str], on_wait: Callable[[], None],
              on_rows: Callable[[int, int], None]) -> list[Found]:
        windows: list[dict] = [{} for _ in paths]
        failures: list[dict[str, tuple[str, str, str]]] = [{} for _ in paths]
        for modality in network.modalities:
            places = [place for place, path in enumerate(paths) if _may_have(modality, path)]
            if not places:
                continue
            found, failed = network.embed_files(modality, [paths[place] for place in places], on_wait, _at(places, on_rows))
            for place, own in zip(places, found, strict=True):
                if len(own[0]):
                    windows[place][modality] = own
            place_of = {paths[place]: place for place in places}
            for one in failed:
                failures[place_of[one.path]][modality] = modality, one.kind, one.reason
        return [Found(own, tuple(one for one in lost.values() if not (own and one[1] in _NO_TRACK)))
                for own, lost in zip(windows, failures, strict=True)]


def _at(places: Sequence[int], on_rows: Callable[[int, int], None]) -> Callable[[int, int], None]:
    return lambda place, rows: on_rows(places[place], rows)


def _may_have(modality: str, path: str) -> bool:
    """Whether a file is worth looking into, by its name; a strange name may hold anything."""
    return not path.lower().endswith(still.EXTENSIONS if modality == "audio" else SOUNDS)


class Plan(NamedTuple):
    """What becomes of each file that was found.

    Attributes:
      kinds: path -> its kind, in the order in which the index will list them.
      known: path -> what the index knows of it already.
      new: path -> the file, to be embedded.
      dropped: how many files of the index are gone.
    """

    kinds: Mapping[str, Kind]
    known: dict[str, Entry]
    new: dict[str, File]
    dropped: int


def refresh(store: Store, wish: Wish, guard: Guard, stream: TextIO) -> Index:
    """Makes the index of a store what was wished for.

    A stop keeps the files that are finished; the same call goes on with the others.

    Args:
      store: where it lies, or is to lie.
      wish: what is asked.
      guard: tells when to stop.
      stream: where progress is told.

    Raises:
      MissingInputError: inputs or checkpoint are missing.
      ConfigError: the network has no common space, or is not the one that the index was made with.
      CannotWriteError: it cannot be written.
      Stopped: a signal came.
    """
    old = store.read()
    inputs = _inputs(old, wish)
    plan = _plan(old, _find(inputs), guard)
    work = _Work(store, plan, guard, Progress(len(plan.new), stream))
    if old and not plan.new and not wish.checkpoint:  # nothing to load the network for
        facts = old.facts
        _check_hop(old, wish.hop_s)
    else:
        before: dict[str, Any] = old.facts if old else {"checkpoint": "", "hop_s": 0.0}
        network = Network(wish.checkpoint or before["checkpoint"], wish.hop_s or before["hop_s"], wish.batch_size)
        facts = network.facts()
        _check_same(old, facts, wish)
    facts = facts | {"inputs": inputs}
    if plan.new:
        work.embed(network, facts)
    entries = work.entries()
    if old is None or old.facts != facts or [entry.file for entry in entries] != list(old.files):
        store.commit(facts, entries)
    for modality in store.add_lists(wish.exact_rows, {"video": "audio", "audio": "video"}):
        work.progress.say(f"{modality}: more than {wish.exact_rows:,} windows, so lists were made for an approximate search.")
    made = store.read()
    assert made is not None
    counts = ", ".join(f"{len(rows.file)} windows of {name}" for name, rows in made.rows.items())
    work.progress.say(f"{store.folder}: {len(entries)} files ({len(plan.new)} embedded now, {len(plan.known)} known before, "
                      f"{plan.dropped} dropped); {counts or 'none can be found'}.")
    return made


def _inputs(old: Index | None, wish: Wish) -> list[str]:
    """Everything the index is made of: what earlier commands named, and what this one does, absolute."""
    known = list(old.facts["inputs"]) if old else []
    forget = [os.path.abspath(one) for one in wish.forget]
    for one in forget:
        if one not in known:
            raise errors.MissingInputError(f"--forget={one}: expected one of what the index was made of, "
                                           f"{', '.join(known) or 'which is nothing yet'}.")
    kept = [one for one in known if one not in forget]
    for one in kept:
        # A disk that is not there today must not empty the index.
        if not _names_something(one):
            raise errors.MissingInputError(f"{one}, which this index was made of, names no file any more. Bring it back, or "
                                           f"leave it out with --forget={one}.")
    return list(dict.fromkeys([*kept, *(os.path.abspath(one) for one in wish.inputs)]))


def _find(inputs: Sequence[str]) -> dict[str, Kind]:
    """Path -> its kind, of all that inputs name."""
    found: dict[str, Kind] = {}
    media = Media()
    for one in inputs or [""]:
        films = Films(one) if one and is_folder(one) else None
        for path in films.paths if films else find_inputs([one] if one else [], "any"):
            found.setdefault(path, films or media)
    return found


def _names_something(one: str) -> bool:
    if is_folder(one):
        return True
    try:
        return bool(find_inputs([one], "any"))
    except errors.MissingInputError:
        return False


def _check_hop(old: Index, hop_s: float) -> None:
    if hop_s not in (0, old.facts["hop_s"]):
        raise errors.ConfigError(f"--hop_s={hop_s:g}: the index was made with {old.facts['hop_s']:g}; leave the flag out, or "
                                 "make another index in another folder.")


def _check_same(old: Index | None, facts: dict[str, Any], wish: Wish) -> None:
    if old is None:
        return
    _check_hop(old, wish.hop_s)
    check_network(old, facts, "make another index in another folder")


def check_network(index: Index, facts: dict[str, Any], remedy: str) -> None:
    """Raises ConfigError unless a network, of which these are the facts, is the one that an index was made with."""
    if facts["network_sha256"] != index.facts["network_sha256"]:
        asked, own = (f"step {one['step']} of {one['checkpoint']} (parameters {one['params_sha256'][:12]})"
                      for one in (facts, index.facts))
        raise errors.ConfigError(f"The index was made with {own}, found {asked}. Vectors of two networks cannot be compared: "
                                 f"name the checkpoint that it was made with, or {remedy}.")


def _plan(old: Index | None, kinds: Mapping[str, Kind], guard: Guard) -> Plan:
    """Compares what is found with what is known: by size and time, and else by digest, so that moved files are known too."""
    entries = old.entries() if old else []
    # What gave nothing is tried again: a file may just have been under way, or a disk have had hiccups.
    by_path = {entry.file.path: entry for entry in entries if entry.windows}
    by_digest = {entry.file.digest: entry for entry in by_path.values()}
    plan = Plan(kinds, {}, {}, len({entry.file.path for entry in entries} - kinds.keys()))
    for path, kind in kinds.items():
        guard.raise_if_stopped()
        try:
            parts = kind.parts(path)
            states = [os.stat(part) for part in parts]
            size, mtime_ns = sum(state.st_size for state in states), max((state.st_mtime_ns for state in states), default=0)
            known = by_path.get(path)
            if known and (known.file.size, known.file.mtime_ns) == (size, mtime_ns):
                plan.known[path] = known
                continue
            file = File(path, size, mtime_ns, digest(*parts))
        except OSError:
            file = File(path, 0, 0, "")  # whoever reads it will say why it cannot be read
        if file.digest in by_digest:
            same = by_digest[file.digest]
            plan.known[path] = Entry(dataclasses.replace(file, failures=same.file.failures), same.windows)
        else:
            plan.new[path] = file
    return plan


def digest(*paths: str) -> str:
    """xxh3_128 of the bytes of files, one after the other, in hexadecimal."""
    found = xxhash.xxh3_128()
    for path in paths:
        with open(path, "rb") as file:
            while chunk := file.read(_CHUNK):
                found.update(chunk)
    return found.hexdigest()


class _Work:
    """The files that are finished so far."""

    def __init__(self, store: Store, plan: Plan, guard: Guard, progress: Progress):
        self._store, self._plan, self._guard, self.progress = store, plan, guard, progress
        self._done = dict(plan.known)

    def entries(self) -> list[Entry]:
        """The finished files, in order."""
        return [self._done[path] for path in self._plan.kinds if path in self._done]

    def embed(self, network: Network, facts: dict[str, Any]) -> None:
        """Embeds what is new, and commits now and then."""
        new, committed = list(self._plan.new.values()), time.monotonic()
        for begin in range(0, len(new), _TOGETHER):
            try:
                for entry in self._together(network, new[begin : begin + _TOGETHER], begin):
                    self._done[entry.file.path] = entry
                self._guard.raise_if_stopped()
            except errors.Stopped as stopped:
                self._store.commit(facts, self.entries())
                raise errors.Stopped(f"{stopped} {len(self._done)} of {len(self._plan.kinds)} files are in the index; the same "
                                     "command goes on.") from None
            if time.monotonic() - committed > _COMMIT_S:
                self._store.commit(facts, self.entries())
                committed = time.monotonic()

    def _together(self, network: Network, files: Sequence[File], before: int) -> list[Entry]:
        entries, place = [], before
        for kind, group in itertools.groupby(files, lambda file: self._plan.kinds[file.path]):
            own = list(group)
            found = kind.embed(network, [file.path for file in own], self._guard.raise_if_stopped, self._teller(place))
            for file, one in zip(own, found, strict=True):
                for modality, name, reason in one.lost:
                    self.progress.say(f"{file.path}: {modality}: {name}: {reason}")
                entries.append(Entry(dataclasses.replace(file, failures=one.lost), one.windows))
            place += len(own)
        return entries

    def _teller(self, before: int) -> Callable[[int, int], None]:
        return lambda place, rows: self.progress.add(before + place, rows)
