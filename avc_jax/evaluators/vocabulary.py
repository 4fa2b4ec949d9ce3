"""What is said in clips, or what they are labelled with, as words that can be counted."""

import re
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from avc_jax.data.sources import Source

_WORD = re.compile(r"[^\W_]+(?:'[^\W_]+)*")


class Vocabulary(NamedTuple):
    """Words, the commonest first.

    Attributes:
      words: W of them.
      has: bool[n, W], which of n clips has which.
    """

    words: tuple[str, ...]
    has: np.ndarray


def captions(source: Source) -> list[str]:
    """For each clip what is said in it, as far as captions say so; '' for one without."""
    items = getattr(source, "items", None)  # sources without captions have none
    return [""] * len(source.clips) if items is None else [item.text or " ".join(item.captions.texts) for item in items]


def texts(source: Source) -> list[str]:
    """As `captions`; the label of a clip without."""
    return [said or clip.label for said, clip in zip(captions(source), source.clips, strict=True)]


def terms(source: Source) -> list[frozenset[str]]:
    """For each clip the words of its captions, in lower case; of one without captions its label, whole."""
    return [words(said) if said else frozenset([clip.label]) - {""}
            for said, clip in zip(captions(source), source.clips, strict=True)]


def words(text: str) -> frozenset[str]:
    """The words of a text, in lower case."""
    return frozenset(_WORD.findall(text.lower()))


def common(clips: Sequence[frozenset[str]], *, least: int, most: float) -> Vocabulary:
    """The words that at least `least` clips have, and at most the share `most` of them."""
    counts = Counter(word for clip in clips for word in clip)
    kept = sorted((word for word, count in counts.items() if least <= count <= most * len(clips)),
                  key=lambda word: (-counts[word], word))
    return select(clips, kept)


def select(clips: Sequence[frozenset[str]], wanted: Sequence[str]) -> Vocabulary:
    """Words that are given."""
    place = {word: column for column, word in enumerate(wanted)}
    has = np.zeros((len(clips), len(place)), bool)
    for row, clip in enumerate(clips):
        has[row, [place[word] for word in clip if word in place]] = True
    return Vocabulary(tuple(place), has)
