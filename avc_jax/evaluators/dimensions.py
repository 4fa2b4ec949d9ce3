"""Concepts of single dimensions: what a dimension of the common space stands for, by sound and by picture alike.

AVLnet (arXiv:2006.09199) reports such concepts; its exact protocol is not known to us, this is one that can be followed. The dot
product of a clip's sound a and picture v is a sum over dimensions, of which the k-th contributes a[k] v[k].
"""

from typing import Any, NamedTuple

import jax
import numpy as np

from avc_jax.evaluators import arrays, concepts, shown, vocabulary
from avc_jax.evaluators.base import Network, Row, Setting
from avc_jax.evaluators.features import missing_rows
from avc_jax.evaluators.vocabulary import Vocabulary

# Dimensions whose clips are counted at once, and clips shown of each on the page.
_BLOCK, _CLIPS = 512, 5
# Words that a larger share of the clips has name nothing.
_COMMON = 0.5


# Pure ---------------------------------------------------------------------------------------------------------------------


class Names(NamedTuple):
    """What best describes some clips of each dimension.

    Attributes:
      word: int[D], the place of the word with the largest F1, the first of equals.
      f1: float64[D], harmonic mean of the share of those clips that have it, and the share of clips with it that are among them.
    """

    word: np.ndarray
    f1: np.ndarray


class Tops(NamedTuple):
    """int[D, t] each: the clips to which a dimension contributes most, and where its sound or its picture alone is strongest."""

    both: np.ndarray
    audio: np.ndarray
    video: np.ndarray


def strongest(audio: np.ndarray, video: np.ndarray, count: int, seed: int) -> Tops:
    """The clips of each dimension, the strongest first; of equals any, by the seed.

    A dimension may be low where its concept is: two negative numbers contribute as much as two positive ones. Alone, sound and
    picture are ordered by the sign that the sound has on average in the clips of the largest contributions.

    Args:
      audio, video: f32[n, D] of the same clips.
      count: clips of each dimension.
    """
    both = concepts.top(audio * video, seed, count)
    sign = np.where(np.take_along_axis(audio.T, both, 1).mean(axis=1) < 0, -1, 1).astype(audio.dtype)
    return Tops(both, concepts.top(sign * audio, seed, count), concepts.top(sign * video, seed, count))


def describe(top: np.ndarray, has: np.ndarray) -> Names:
    """The word of each dimension.

    Args:
      top: int[D, t], clips of each.
      has: bool[n, W], which clip has which word; W at least 1.
    """
    held, parts = has.sum(axis=0), []
    for begin in range(0, len(top), _BLOCK):
        block = top[begin : begin + _BLOCK]
        among = np.zeros((len(block), len(has)), np.float32)
        among[np.arange(len(block))[:, None], block] = 1
        f1 = 2 * (among @ has.astype(np.float32)).astype(np.float64) / (top.shape[1] + held)
        parts.append((f1.argmax(axis=1), f1.max(axis=1)))
    return Names(*(np.concatenate(part) for part in zip(*parts, strict=True)))


def agree(tops: Tops, has: np.ndarray, least: float) -> tuple[np.ndarray, Names]:
    """Which dimensions are concepts, bool[D], and the names by contribution.

    A concept's word has an F1 of at least `least`, and is that of the sound alone and that of the picture alone.
    """
    both, audio, video = (describe(top, has) for top in tops)
    return (both.f1 >= least) & (both.word == audio.word) & (both.word == video.word), both


# The evaluator ------------------------------------------------------------------------------------------------------------


def make(setting: Setting, features) -> "Dimensions":
    return Dimensions(setting, features)


class Dimensions:
    """Counts the dimensions that are concepts among the held-out clips, and leaves the best for the page."""

    def __init__(self, setting: Setting, features):
        self._setting, self._features, self._own = setting, features, setting.config.dimensions
        self._seed, self._terms = setting.config.evaluate.seed, vocabulary.terms(setting.heldout)

    def missing(self) -> str | None:
        if not self._setting.system.common_space:
            return (f"the embeddings of {self._setting.config.system.name} with this config have no common space, whose "
                    "dimensions could mean something by sound and by picture")
        if len(self._words(self._terms).words) < 2:
            return (f"the captions and labels of the {len(self._terms)} held-out clips have fewer than two words that between "
                    f"{self._own.least_clips} and half of the clips have")
        return None

    def _words(self, terms: list[frozenset[str]]) -> Vocabulary:
        return vocabulary.common(terms, least=self._own.least_clips, most=_COMMON)

    def __call__(self, network: Network) -> dict[str, Any]:
        table = self._features.clips(network, self._setting.heldout, "embed")
        if not {"audio", "video"} <= set(table.values):
            return {}
        kept = np.flatnonzero(~(missing_rows(table.values["audio"]) | missing_rows(table.values["video"])))
        clips, audio, video = table.clip[kept], table.values["audio"][kept], table.values["video"][kept]
        if self._setting.system.similarity == "cosine":
            audio, video = (rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12) for rows in (audio, video))
        words = self._words([self._terms[clip] for clip in clips])
        count = min(self._own.top, len(clips) // 10)
        if len(words.words) < 2 or not count:
            return {}
        tops = strongest(audio, video, count, self._seed)
        self._setting.pulse()
        is_concept, names = agree(tops, words.has, self._own.f1)
        order = np.argsort(-names.f1, kind="stable")
        found = order[is_concept[order]]
        if network.name == "trained":
            self._write(found, names, tops, audio * video, clips, words)
        return {"dimensions": audio.shape[1], "clips": len(clips), "words": len(words.words), "top": count,
                "concepts": len(found), "different": len(np.unique(names.word[found])),
                "found": [{"dimension": int(k), "word": words.words[names.word[k]], "f1": float(names.f1[k])} for k in found],
                **self._shuffled(tops, words.has)}

    def _shuffled(self, tops: Tops, has: np.ndarray) -> dict[str, float]:
        """How many concepts there are, in the mean, where words are dealt out to clips at random."""
        rng, counts = np.random.default_rng(self._seed), []
        for _ in range(self._own.shuffles):
            is_concept, names = agree(tops, has[rng.permutation(len(has))], self._own.f1)
            counts.append((int(is_concept.sum()), len(np.unique(names.word[is_concept]))))
        if not counts:
            return {}
        concepts_, different = np.mean(counts, axis=0).tolist()
        return {"shuffled_concepts": concepts_, "shuffled_different": different}

    def rows(self, trained: dict[str, Any], untrained: dict[str, Any] | None) -> list[Row]:
        if not trained:
            return []
        note = (f"F1 of at least {self._own.f1:g} with the {trained['top']} clips to which a dimension contributes most, the "
                f"same word by sound and by picture; {trained['clips']} clips, {trained['words']} words; chance: shuffled words")
        return [Row("Dimensions that stand for a word", trained["concepts"], (untrained or {}).get("concepts"),
                    trained.get("shuffled_concepts"), "number", note),
                Row("Different words that a dimension stands for", trained["different"], (untrained or {}).get("different"),
                    trained.get("shuffled_different"), "number", f"of {trained['words']} words")]

    def _write(self, found: np.ndarray, names: Names, tops: Tops, contribution: np.ndarray, clips: np.ndarray,
               words: Vocabulary) -> None:
        """The best dimensions, each of another word, with the clips to which they contribute most."""
        if jax.process_index() != 0:
            return
        folder = self._setting.folder / "pictures"
        _, first = np.unique(names.word[found], return_index=True)
        chosen = found[np.sort(first)][: self._own.shown]
        if not len(chosen):
            for name in ("dimensions", "dimensions_media"):
                (folder / f"{name}.npz").unlink(missing_ok=True)
            return
        rows = tops.both[chosen, :_CLIPS]
        heldout, asked = self._setting.heldout, clips[rows]
        media = shown.read(self._setting, asked.reshape(-1))
        arrays.write(folder / "dimensions.npz", dict(
            dimension=chosen, word=np.array(words.words)[names.word[chosen]], f1=names.f1[chosen],
            clip=np.array([clip.path for clip in heldout.clips])[asked], text=shown.short(vocabulary.texts(heldout))[asked],
            has=words.has[rows, names.word[chosen][:, None]], contribution=contribution[rows, chosen[:, None]],
            media=media.rows(asked)), compress=True)
        shown.write(folder / "dimensions_media.npz", media)
