"""Retrieval within and across modalities, for systems that have a common space (arXiv:1712.06651, 3.2; arXiv:2006.09199)."""

import hashlib
import itertools
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from avc_jax import errors
from avc_jax.data.sources import Source, read_csv
from avc_jax.evaluators import arrays, by_word, directions, graded, nearness, ranking, shown, vocabulary
from avc_jax.evaluators.base import Network, Row, Setting
from avc_jax.evaluators.directions import Direction
from avc_jax.evaluators.features import missing_rows
from avc_jax.evaluators.nearness import Nearness

Found = dict[str, Any]

# Words that clips are asked for where the config names none: the commonest that no more than this share of the clips has.
_WORDS, _COMMON = 20, 0.2
_PLACES = 5  # Items shown of each ranking on the page.


def make(setting: Setting, features) -> "Retrieval":
    """The evaluator of a run."""
    return Retrieval(setting, features)


def name_of(modality: str, source: Mapping[str, Any]) -> str:
    """What a modality of `System.embed` is to who reads of it: "sound+video". source: the features of the system."""
    words = {"video": "video" if "video" in source else "image", "audio": "sound"}
    return "+".join(words.get(part, part) for part in modality.split("+"))


def subsets_of(source: Source, given: str) -> list[str]:
    """For each clip the subset that it is of, '' for none.

    Args:
      source: the clips.
      given: config.retrieval.subsets: empty, label, or the path of a CSV with columns path and subset.

    Raises:
      DataError: it is no such CSV, or names no clip of the source.
    """
    if given in ("", "label"):
        return [clip.label if given else "" for clip in source.clips]
    named, rows = f"config.retrieval.subsets={given}", read_csv(Path(given))
    if rows and not {"path", "subset"} <= set(rows[0]):
        raise errors.DataError(f"{named}: found columns {', '.join(map(str, rows[0]))}; expected path and subset.")
    subset = {row["path"]: row["subset"] or "" for row in rows}
    found = [subset.get(clip.path, "") for clip in source.clips]
    if not any(found):
        raise errors.DataError(f"{named}: found {len(subset)} paths, none of them among the {len(found)} held-out clips; "
                               f"expected paths as the source has them, such as {', '.join(c.path for c in source.clips[:1])}.")
    return found


class Retrieval:
    """Every held-out clip asks, with one modality, for its own other one among those of all clips (`System.directions`).

    Where clips are labelled, nDCG asks for clips of a relevant class, also within a modality. Where clips have words, those that
    have one ask for others that do. Rows of NaN are modalities that a clip lacks: such clips are no candidates there, and what
    they would ask for counts as not found. A picture that several clips share asks once, and is one candidate (`directions`).
    """

    def __init__(self, setting: Setting, features):
        """
        Raises:
          MissingInputError, DataError: see `graded.read_relevance` and `subsets_of`.
          ConfigError: there are more held-out clips than config.retrieval.official says.
        """
        self._setting, self._features, self._own = setting, features, setting.config.retrieval
        clips = setting.heldout.clips
        if 0 < self._own.official < len(clips):
            raise errors.ConfigError(f"config.retrieval.official: found {self._own.official}, expected at least the {len(clips)} "
                                     "held-out clips that there are, or 0 for their number.")
        self._official = self._own.official or len(clips)
        self._picture = directions.pictures(setting.heldout)
        self._classes = sorted({clip.label for clip in clips} - {""})
        given = self._own.relevance
        self._relevance = graded.read_relevance(Path(given), self._classes) if given else np.eye(len(self._classes))
        self._subset = np.array(subsets_of(setting.heldout, self._own.subsets), str)
        self.data_sha256 = ""
        if given or self._own.subsets:
            self.data_sha256 = hashlib.sha256(self._relevance.tobytes() + "\n".join(self._subset).encode()).hexdigest()

    def missing(self) -> str | None:
        if not self._setting.system.common_space:
            return (f"the embeddings of {self._setting.config.system.name} with this config have no common space, in which an "
                    "image and a sound can be compared")
        if len(self._setting.heldout.clips) < 2:
            return f"found {len(self._setting.heldout.clips)} held-out clips, expected two at least"
        return None

    def __call__(self, network: Network) -> Found:
        table = self._features.clips(network, self._setting.heldout, "embed")
        values = {name: self._comparable(rows) for name, rows in table.values.items()}
        found = {"clips": len(table.clip), "official": self._official, "tie_rule": self._own.ties,
                 "denominator": self._own.denominator, "k": self._own.k, "directions": {}}
        lacks, picture = {name: missing_rows(rows) for name, rows in values.items()}, self._picture[table.clip]
        asked = [Direction(query, item, near, picture, ~lacks[query], ~lacks[item])
                 for (query, item), near in self._near(network, values, table.clip).items()]
        for direction in asked:
            found["directions"][self._name(direction.query, direction.item)] = self._across(direction, table.clip)
        for k in ("1", "10"):  # numbers that can become curves
            found[f"recall_at_{k}"] = {name.replace(" ", "_"): value["recall"][k] for name, value in found["directions"].items()}
        found |= self._by_class(found["directions"], asked, values, table.clip)
        found["by_word"] = {self._name(one.query, one.item): told for one in asked
                          if {one.query, one.item} == {"audio", "video"} and (told := self._by_word(one, table.clip))}
        if network.name == "trained":
            self._write_lists(asked, table.clip)
        return found

    def _near(self, network: Network, values: dict[str, np.ndarray], clips: np.ndarray) -> dict[tuple[str, str], Nearness]:
        """(query, item) -> how near clips are, for the directions whose modalities are there."""
        system = self._setting.system
        pairs = [(query, item) for query, item in system.directions if query in values and item in values]
        if system.compare is None:
            return {(query, item): nearness.Products(values[query], values[item], self._setting.mesh) for query, item in pairs}
        scores = nearness.compared(system.compare, self._setting, self._features, network, clips)
        return {(query, item): nearness.Matrix(scores if query == "video" else scores.T) for query, item in pairs}

    def _comparable(self, rows: np.ndarray) -> np.ndarray:
        """f32[n, D] whose dot products are the system's similarity."""
        if self._setting.system.similarity == "dot":
            return rows
        return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)

    def _name(self, query: str, item: str) -> str:
        features = self._setting.system.features
        return f"{name_of(query, features)} to {name_of(item, features)}"

    # The other half of the same clip ---------------------------------------------------------------------------------------

    def _across(self, direction: Direction, clips: np.ndarray) -> Found:
        """One direction, among all good clips int[n] and within each subset."""
        unlisted = self._official - len(self._subset)  # clips of the benchmark that are not here count as pictures of their own
        found = self._find_own(direction, np.ones(len(clips), bool),
                               unlisted + self._queries(direction, np.ones(len(self._subset), bool)))
        names = sorted({*self._subset} - {""})
        within = {name: self._find_own(direction, self._subset[clips] == name, self._queries(direction, self._subset == name))
                  for name in names}
        return found | ({"subsets": within} if names else {})

    def _queries(self, direction: Direction, among: np.ndarray) -> int:
        """How many queries there are of bool[n] held-out clips, the bad ones included."""
        return len({*self._picture[among]}) if direction.query == directions.PICTURE else int(among.sum())

    def _find_own(self, direction: Direction, among: np.ndarray, official: int) -> Found:
        """How well bool[n] clips find their own items among those of the same clips."""
        counts, items, right = direction.find_own(among, complete=self._own.candidates == "complete")
        asking = self._own.ties, self._own.denominator, official
        told = ranking.summarise(counts, *asking)
        chance = ranking.chance(items, right, told["divisor"]) if len(right) else {}
        seed = self._setting.config.evaluate.seed
        return told | {
            "asked": len(right), "candidates": items, "official": official, "right": float(right.mean()) if len(right) else 1.0,
            "interval": ranking.intervals(counts, *asking, resamples=self._own.resamples, seed=seed),
            "recall_available": ranking.summarise(counts, self._own.ties, "available", official)["recall"],
            "chance_recall": chance.get("recall"), "chance_median_rank": chance.get("median_rank")}

    # Classes and words -------------------------------------------------------------------------------------------------------

    def _by_class(self, told: dict[str, Found], asked: list[Direction], values: dict[str, np.ndarray],
                  clips: np.ndarray) -> Found:
        """nDCG in every direction, and within each modality."""
        labels = np.array([self._setting.heldout.clips[clip].label for clip in clips], str)
        kept = np.flatnonzero((labels != "") & ~np.any([missing_rows(rows) for rows in values.values()], axis=0))
        if len(kept) > 1:
            of_clip = np.searchsorted(self._classes, labels[kept])
            within = {(name, name): (rows[kept], rows[kept]) for name, rows in values.items() if "+" not in name}
            across = {(one.query, one.item): one.near.vectors(kept) for one in asked}
            for (query, item), vectors in (across | within).items():
                told.setdefault(self._name(query, item), {}).update(graded.mean_ndcg(
                    *vectors, lambda block: self._relevance[of_clip[block]][:, of_clip], k=self._own.k, gain=self._own.gain,
                    leave_out_own=query == item and not self._own.keep_query))
        return {"labelled": len(kept)}

    def _by_word(self, direction: Direction, clips: np.ndarray) -> Found:
        """Whole clips ask for words; a caption's time is that of a sentence and does not say where in it a word is."""
        kept = np.flatnonzero(direction.asking & direction.there)
        said = vocabulary.captions(self._setting.heldout)
        words = self._vocabulary([vocabulary.words(said[clip]) for clip in clips[kept]])
        return by_word.ask(direction, kept, words, self._own.ties) if words.words else {}

    def _vocabulary(self, said: list[frozenset[str]]) -> vocabulary.Vocabulary:
        """The words that the config names, those that two clips have; otherwise the commonest."""
        named = [word.strip().lower() for word in self._own.words.split(",") if word.strip()]
        if named:
            words, has = vocabulary.select(said, named)
            there = has.sum(axis=0) > 1
            return vocabulary.Vocabulary(tuple(itertools.compress(words, there)), has[:, there])
        words, has = vocabulary.common(said, least=2, most=_COMMON)
        return vocabulary.Vocabulary(words[:_WORDS], has[:, :_WORDS])

    # The page ---------------------------------------------------------------------------------------------------------------

    def _write_lists(self, asked: list[Direction], clips: np.ndarray) -> None:
        """The first places of a few rankings in every direction, for the page; and what can be seen and heard of them."""
        lists: dict[str, list[Any]] = {name: [] for name in ("direction", "query", "found", "score")}
        for one in asked:
            asks, there = np.unique(one.asks[one.asking]), np.unique(one.answers[one.there])
            if not len(asks) or len(there) < _PLACES:
                continue
            chosen = asks[np.unique(np.linspace(0, len(asks) - 1, min(self._own.shown, len(asks))).astype(int))]
            score, found = one.near.top(chosen, there, _PLACES)
            lists["direction"] += [self._name(one.query, one.item)] * len(chosen)
            lists["query"] += clips[chosen].tolist()
            lists["found"] += clips[there[found]].tolist()
            lists["score"] += score.tolist()
        if jax.process_index() == 0:
            self._write(lists)

    def _write(self, lists: dict[str, list[Any]]) -> None:
        folder = self._setting.folder / "pictures"
        if not lists["query"]:
            for name in ("retrieval", "retrieval_media"):
                (folder / f"{name}.npz").unlink(missing_ok=True)
            return
        query, found = (np.array(lists[name], np.int64) for name in ("query", "found"))
        names = np.array([clip.path for clip in self._setting.heldout.clips])
        texts = shown.short(vocabulary.texts(self._setting.heldout))
        media = shown.read(self._setting, np.concatenate([query, found.reshape(-1)]))
        arrays.write(folder / "retrieval.npz", dict(
            direction=np.array(lists["direction"]), query=names[query], query_text=texts[query], query_media=media.rows(query),
            found=names[found], found_text=texts[found], found_media=media.rows(found),
            own=self._picture[found] == self._picture[query][:, None], score=np.array(lists["score"], np.float32)), compress=True)
        shown.write(folder / "retrieval_media.npz", media)

    def rows(self, trained: Found, untrained: Found | None) -> list[Row]:
        found = [row for direction, value in trained["directions"].items()
                 for row in _rows(direction, value, untrained and untrained["directions"].get(direction), trained)]
        for direction, value in trained["by_word"].items():
            found += _word_rows(direction, value, (untrained or {}).get("by_word", {}).get(direction))
        return found


def _word_rows(direction: str, found: Found, untrained: Found | None) -> Iterator[Row]:
    note = f"Another clip that has a word which the query has, mean of {len(found['words'])} words"
    for k, value in found["recall"].items():
        yield Row(f"Retrieval by words, {direction}: recall at {k}", value, untrained["recall"][k] if untrained else None,
                  found["chance_recall"][k], "share", note)
    yield Row(f"Retrieval by words, {direction}: precision at {by_word.AT}", found["precision"],
              untrained["precision"] if untrained else None, found["chance"], "share", note)


def _rows(direction: str, found: Found, untrained: Found | None, whole: Found) -> Iterator[Row]:
    def other(*path: str) -> float | None:
        value: Any = untrained
        for name in path:
            value = value and value.get(name)
        return value

    if found.get("ndcg") is not None:
        yield Row(f"Retrieval, {direction}: nDCG@{whole['k']}", found["ndcg"], other("ndcg"), found["chance"], "number",
                  f"{found['queries']} queries among {whole['labelled']} labelled clips")
    if found.get("median_rank") is not None:
        for k, value in found["recall"].items():
            yield Row(f"Retrieval, {direction}: recall at {k}", value, other("recall", k), found["chance_recall"][k], "share",
                      _in_words(found, k))
        yield Row(f"Retrieval, {direction}: median rank", found["median_rank"], other("median_rank"), found["chance_median_rank"],
                  "number", f"The smaller the better, 1 is the best of {found['candidates']}", lower_is_better=True)
    for name, within in found.get("subsets", {}).items():
        if within["median_rank"] is not None:
            yield Row(f"Retrieval within {name}, {direction}: recall at 10", within["recall"]["10"],
                      other("subsets", name, "recall", "10"), within["chance_recall"]["10"], "share", _in_words(within, "10"))


def _in_words(found: Found, k: str) -> str:
    """What a recall is of, and how sure it is."""
    said = "The other half of the same clip" if found["right"] == 1 else f"One of the {found['right']:g} captions of the picture"
    said += f", among {found['candidates']}"
    if found["asked"] != found["official"]:
        said += (f"; {found['official'] - found['asked']} of {found['official']} could not be asked; of those that could "
                 f"{100 * found['recall_available'][k]:.1f} %")
    if found["interval"]:
        low, high = found["interval"]["recall"][k]
        said += f"; 95 % interval {100 * low:.1f} to {100 * high:.1f} %"
    return said
