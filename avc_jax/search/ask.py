"""A question to an index, and its answer: files in the order of how near they are."""

import os
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from avc_jax import errors
from avc_jax.data import still, windows
from avc_jax.data.decode import MediaFile
from avc_jax.data.items.words import WordVectors, tokens
from avc_jax.search import nearest
from avc_jax.search.build import digest
from avc_jax.search.index import Index, Rows
from avc_jax.search.network import Network

KINDS = {"sound": ("audio",), "picture": ("video",), "clip": ("audio", "video")}
AMONG = {"sounds": ("audio",), "pictures": ("video",), "both": ("audio", "video")}
_TRACKS = {"audio": "the sound", "video": "the picture"}
_PROPOSED = 64  # windows that lists are asked for, for each file that is wanted


class Question(NamedTuple):
    """What is asked.

    Attributes:
      path: of the file; empty where only words ask.
      kind: sound, picture, clip or words.
      at_s: the moment that was asked about; None: all of the file.
      digest: of the file's bytes.
      vectors: modality -> f32[D], the mean of its windows.
      words: that were asked with.
    """

    path: str
    kind: str
    at_s: float | None
    digest: str
    vectors: Mapping[str, np.ndarray]
    words: str = ""


class Hit(NamedTuple):
    """A file that was found.

    Attributes:
      file: its place in the index.
      score: how near it is, the larger the nearer.
      modality, time_s: of its best window.
    """

    file: int
    score: float
    modality: str
    time_s: float


class Answer(NamedTuple):
    """The nearest files.

    Attributes:
      hits: the nearest first.
      among: modality of the question -> those of the windows that it was compared with.
      ranked: how many files have such windows.
      recall: 1 where all rows were compared, else what lists are measured to find of the nearest hundred.
    """

    hits: list[Hit]
    among: Mapping[str, tuple[str, ...]]
    ranked: int
    recall: float


class Words(NamedTuple):
    """Words to ask with; `vectors` is a file of word2vec vectors, or empty: the one that the network was trained with."""

    text: str
    vectors: str = ""


def question(network: Network, path: str, kind: str | None, at_s: float | None, on_wait: Callable[[], None],
             words: Words | None = None, index: Index | None = None) -> Question:
    """Embeds what is asked with.

    Args:
      network: the one that the index was made with.
      path: a sound, an image or a video; may be empty where there are words.
      kind: sound, picture or clip; None: whatever the file holds that the network takes.
      at_s: the moment that is meant: the window of sound that starts there, the frame on screen; None: the mean of all windows.
      on_wait: called several times a second; it may raise.
      words: to ask with, too. A network that fuses sounds and words makes one vector of both.
      index: where the vectors of a file are looked up that the network cannot make, as it takes features and no frames.

    Raises:
      MissingInputError: there is no such file, or none of word vectors.
      ConfigError: the network takes no such thing, or not alone.
      DataError: the file cannot be read or does not hold what is asked with; no word has a vector.
    """
    if path and not os.path.isfile(path):
        raise errors.MissingInputError(f"--ask={path}: expected a sound, an image or a video, found no such file.")
    said = _words(network, words) if words else {}
    fused = next((query for query, _ in network.model.system.directions if {*query.split("+")} == {"audio", "text"}), "")
    found, told = {}, words.text if words else ""
    if said and fused:
        if not path or kind not in (None, "sound"):
            raise errors.ConfigError("--words: this network makes one vector of words and a sound; name the sound, --ask=SOUND "
                                     "--as=sound.")
        kind, sounds = "sound", network.sounds(path, at_s, on_wait)
        rows = len(next(iter(sounds.values())))
        if not rows:
            raise errors.DataError(f"--ask={path} cannot be asked with as sound: it has none there that can be read.")
        both = network.embed_fields(fused, sounds | {name: np.repeat(value, rows, 0) for name, value in said.items()})
        lengths = sounds.get("waveform_length", np.ones(rows))
        found[fused] = network.comparable(np.average(both, axis=0, weights=np.maximum(1, lengths)))
    elif said:
        found["text"] = network.embed_fields("text", said)[0]
    if not path:
        return Question("", "words", None, "", found, told)
    kind = kind or _kind(path, network.modalities)
    if not fused or not said:
        for modality in KINDS[kind]:
            stored = _stored(index, path, modality, at_s) if index and modality not in network.modalities else None
            found[modality] = (_vector(network, path, modality, at_s, on_wait) if stored is None else
                               network.comparable(stored))
    return Question(os.path.abspath(path), kind, at_s, digest(path), found, told)


def _words(network: Network, words: Words) -> dict[str, np.ndarray]:
    """The fields of words, in a row."""
    feature = network.model.system.features.get("words")
    if feature is None:
        raise errors.ConfigError("--words: this network takes no words, but "
                                 f"{', '.join(network.model.system.features)}. Make the index with a variant that does.")
    path = words.vectors or network.model.config.data.word_vectors
    if not path:
        raise errors.MissingInputError("--word_vectors is missing: name the file of word2vec vectors that the network was "
                                       "trained with.")
    known = tokens(words.text)
    rows = WordVectors(path, known).rows(known, feature.shape[0])
    if not len(rows):
        raise errors.DataError(f"--words={words.text}: none of these words has a vector in {path}, where case counts.")
    if rows.shape[1] != feature.shape[1]:
        raise errors.ConfigError(f"--word_vectors={path}: found vectors of {rows.shape[1]} numbers, expected {feature.shape[1]}.")
    made = np.zeros((1, *feature.shape), feature.dtype)
    made[0, : len(rows)] = rows
    return {"words": made, "words_length": np.array([len(rows)], np.int32)}


def _kind(path: str, modalities: Sequence[str]) -> str:
    """What a file can ask with, of what a network takes."""
    if still.is_still(path):
        return "picture"
    held, last = [], ""
    for modality in KINDS["clip"]:
        try:
            with MediaFile(path, video=modality == "video", audio=modality == "audio"):
                held.append(modality)
        except errors.BadMedia as error:
            last = str(error)
    if not held:
        raise errors.DataError(f"--ask={path} cannot be read: {last}")
    taken = tuple(modality for modality in held if modality in modalities) or tuple(held)
    return next(kind for kind, own in KINDS.items() if own == taken)


def _stored(index: Index, path: str, modality: str, at_s: float | None) -> np.ndarray | None:
    """f32[D]: what an index has of a file, its mean or what is nearest to a moment; None if that is nothing."""
    place = next((place for place, file in enumerate(index.files) if file.path == os.path.abspath(path)), None)
    if place is None or modality not in index.rows:
        return None
    rows = index.rows[modality]
    own = np.flatnonzero(rows.file == place)
    if not len(own):
        return None
    return rows.vectors[own].mean(0) if at_s is None else rows.vectors[own[np.abs(rows.time_s[own] - at_s).argmin()]]


def _vector(network: Network, path: str, modality: str, at_s: float | None, on_wait: Callable[[], None]) -> np.ndarray:
    if modality not in network.modalities:
        takes = " and ".join(_TRACKS[name] for name in network.modalities) or "neither sound nor picture"
        raise errors.ConfigError(f"--ask={path}: this network makes no vectors of {_TRACKS[modality]} of a media file alone; it "
                                 f"takes {takes}. See --as and --words; or index its features, and ask with its path.")
    if at_s is None:
        ((times_s, rows),), failed = network.embed_files(modality, [path], on_wait, lambda file, rows: None)
        weights, lost = _filled(path, times_s, network.steps(modality)), [failure.reason for failure in failed]
    else:
        block = windows.read_at(path, np.array([at_s]), network.steps(modality))
        rows = np.concatenate([one.values for one in network.embed(modality, [block])] or [np.zeros((0, 1), np.float32)])
        weights, lost = np.ones(len(rows)), [str(error) for _, error in block.lost]
    if not len(rows):
        raise errors.DataError(f"--ask={path} cannot be asked with as {modality}: {lost[0]}")
    return network.comparable(np.average(rows, axis=0, weights=weights))


def _filled(path: str, times_s: np.ndarray, steps: windows.Steps) -> np.ndarray:
    """float64[n] up to 1: how much of each window a file fills, as some milliseconds at its end are no half of a question."""
    if steps.modality == "video" or not len(times_s):
        return np.ones(len(times_s))
    with MediaFile(path, video=False) as media:
        return np.clip((media.span.end_s - times_s) / steps.form.window_s, 1e-3, 1.0)


def answer(index: Index, asked: Question, directions: Sequence[tuple[str, str]], *, among: str | None = None, top: int = 10,
           exact: bool = False) -> Answer:
    """The files that are nearest to a question.

    A file is as near as the best of its windows. Where the question has two halves, such as the sound and the picture of a clip,
    each is compared with the windows that it is meant for, and the mean counts of what a file has.

    Args:
      index: where to look.
      asked: with what.
      directions: (query, items) that the system is made for; others are only looked at where a file has nothing else to offer.
      among: sounds, pictures or both; None: what the system is made for.
      top: how many files.
      exact: compare all rows, also where there are lists.

    Raises:
      MissingInputError: no file of the index has what is looked for.
      ConfigError: faiss is needed, and not installed.
    """
    compared = {modality: _among(index, modality, directions, among) for modality in asked.vectors}
    if not any(compared.values()):
        raise errors.MissingInputError(f"--among={among}: the index has windows of {', '.join(index.rows) or 'nothing'} only.")
    names = sorted({name for own in compared.values() for name in own})
    has = np.zeros(len(index.files), bool)
    for name in names:
        has[index.rows[name].file] = True
    large = [] if exact else [name for name in names if index.rows[name].lists]
    chosen = _proposed(index, asked, compared, large, top) if large else np.flatnonzero(has)
    halves = [_best(index, asked.vectors[modality], own, chosen, whole=not large) for modality, own in compared.items() if own]
    scores = np.stack([score for score, _, _ in halves])
    there = np.isfinite(scores)
    total = np.where(there, scores, 0).sum(0) / np.maximum(there.sum(0), 1)
    order = np.argsort(-total, kind="stable")[:top]
    hits = []
    for place in order:
        _, modality, time_s = halves[scores[:, place].argmax()]
        hits.append(Hit(int(chosen[place]), float(total[place]), modality[place], float(time_s[place])))
    return Answer(hits, compared, int(has.sum()), min([1.0, *(index.rows[name].recall for name in large)]))


def _among(index: Index, modality: str, directions: Sequence[tuple[str, str]], among: str | None) -> tuple[str, ...]:
    wanted = AMONG[among] if among else tuple(items for query, items in directions if query == modality)
    found = tuple(name for name in wanted if name in index.rows)
    return found or (() if among else tuple(index.rows))


def _proposed(index: Index, asked: Question, compared: Mapping[str, tuple[str, ...]], large: Sequence[str],
              top: int) -> np.ndarray:
    """int64: the files whose rows are compared: what lists propose, and of modalities without lists the best."""
    found: set[int] = set()
    for modality, own in compared.items():
        for name in own:
            rows, query = index.rows[name], asked.vectors[modality]
            if name in large:
                found |= _files_of(rows, query, top)
            else:
                best, _ = nearest.best_of_files(nearest.scores(rows.vectors, query), rows.file, len(index.files))
                found |= {int(place) for place in np.argsort(-best, kind="stable")[:top] if np.isfinite(best[place])}
    return np.array(sorted(found), np.int64)


def _files_of(rows: Rows, query: np.ndarray, top: int) -> set[int]:
    """At least `top` files, if there are so many: a long file may hold many of the nearest windows, and the nearest lists few."""
    assert rows.lists is not None
    lists, count, probes = nearest.Lists(rows.lists), _PROPOSED * top, rows.probes
    while True:
        places = lists.propose(query, count, probes)
        files = set(rows.file[places].tolist())
        if len(files) >= top or (len(places) < count and probes >= lists.count):
            return files
        if len(places) < count:
            probes = min(2 * probes, lists.count)
        else:
            count *= 4


def _best(index: Index, query: np.ndarray, names: Sequence[str], chosen: np.ndarray, *,
          whole: bool) -> tuple[np.ndarray, list[str], np.ndarray]:
    """Of each chosen file the best window among some modalities: f32 score (-inf: it has none), modality, float64 time."""
    best = np.full(len(chosen), -np.inf, np.float32)
    modality, time_s = [""] * len(chosen), np.zeros(len(chosen))
    place_of = np.full(len(index.files), -1)
    place_of[chosen] = np.arange(len(chosen))
    for name in names:
        rows = index.rows[name]
        kept = np.arange(len(rows.file)) if whole else np.flatnonzero(place_of[rows.file] >= 0)
        values = nearest.scores(rows.vectors if whole else rows.vectors[kept], query)
        score, row = nearest.best_of_files(values, place_of[rows.file[kept]], len(chosen))
        for place in np.flatnonzero(score > best):
            best[place], modality[place], time_s[place] = score[place], name, rows.time_s[kept[row[place]]]
    return best, modality, time_s
