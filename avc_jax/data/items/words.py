"""Words as vectors: word2vec's files, of which only the rows that are asked for are read."""

import codecs
import collections
import itertools
import mmap
import os
import re
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from avc_jax import errors

_TOKEN = re.compile(r"[\w']+")
_WORD = re.compile(rb"[^ \t\r\n\v\f]+")  # in the bytes of a file
_LARGEST = float(np.finfo(np.float16).max)  # as which vectors are handed on
_CHECKED = 100_000  # Vectors whose numbers are looked at when a file is opened; those of further words when they are asked for.


def tokens(text: str) -> list[str]:
    """The words of a text as AVLnet-Text's loader finds them: word characters and apostrophes, case kept."""
    return _TOKEN.findall(text)


class WordVectors:
    """The vectors of a file in word2vec's binary or text format, which is mapped into memory and not read as a whole.

    Binary: a line "<count> <width>", then for each word the word, a space, and `width` float32; a line feed may follow. Text: a
    line for each word, the word and its numbers with spaces or tabs between; a first line of counts may be there. A byte-order
    mark before all is passed over.

    Attributes:
      width: numbers of a vector.
      path: the file.
    """

    def __init__(self, path: str | os.PathLike, wanted: Iterable[str] | None = None):
        """
        Args:
          path: of the file.
          wanted: the words that will be asked for; None: any.

        Raises:
          MissingInputError: there is no such file.
          DataError: it is in neither format, ends in the middle of a vector, or holds what is no number of float16.
        """
        self.path = Path(path)
        if not self.path.is_file():
            raise errors.MissingInputError(f"config.data.word_vectors={path}: there is no such file.")
        if not self.path.stat().st_size:
            raise self._wrong("it is empty")
        with open(self.path, "rb") as file:
            self._bytes = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        keep = None if wanted is None else {word.encode() for word in wanted}
        first = len(codecs.BOM_UTF8) if self._bytes[:3] == codecs.BOM_UTF8 else 0
        end = self._bytes.find(b"\n")
        header = self._bytes[first : max(0, end)].split()
        is_counted = len(header) == 2 and all(part.isdigit() for part in header)
        begin = end + 1 if is_counted else first
        numbers = self._numbers_of_line(begin)
        self._is_binary = is_counted and not numbers
        if not is_counted and not numbers:
            raise self._wrong("its first line is neither a count and a width, nor a word and numbers")
        if is_counted and numbers not in (0, int(header[1])):
            raise self._wrong(f"it promises vectors of {int(header[1])} numbers, and its first has {numbers}")
        self.width = int(header[1]) if is_counted else numbers
        self._places = (self._scan_binary(begin, int(header[0]), keep) if self._is_binary else
                        self._scan_text(begin, int(header[0]) if is_counted else None, keep))
        for word, place in itertools.islice(self._places.items(), _CHECKED):
            self._vector(word, place)

    def __len__(self) -> int:
        return len(self._places)

    def __contains__(self, word: str) -> bool:
        return word.encode() in self._places

    def rows(self, words: Iterable[str], count: int) -> np.ndarray:
        """float32[n, width]: the vectors of the first `count` words that have one.

        Raises:
          DataError: a line holds other numbers than the first, or what is no number of float16.
        """
        known = [word.encode() for word in words if word in self][:count]
        found = np.zeros((len(known), self.width), np.float32)
        for row, word in enumerate(known):
            found[row] = self._vector(word, self._places[word])
        return found

    def _vector(self, word: bytes, place: int) -> np.ndarray:
        if self._is_binary:
            found = np.frombuffer(self._bytes, "<f4", self.width, place)
        else:
            end = self._bytes.find(b"\n", place)
            numbers = self._bytes[place : end if end >= 0 else len(self._bytes)].split()
            try:
                found = np.array([float(number) for number in numbers]).reshape(self.width)
            except ValueError as error:
                raise self._wrong(f"the line of {_shown(word)} does not hold the {self.width} numbers of the first") from error
        wrong = found[~(np.abs(found) <= _LARGEST)]  # what is no number is not less
        if len(wrong):
            raise self._wrong(f"the vector of {_shown(word)} holds {wrong[0]}, expected numbers up to {_LARGEST:g}")
        return found

    def _numbers_of_line(self, begin: int) -> int:
        """How many numbers follow the word of the line there; 0 if it does not read as a line of text."""
        end = self._bytes.find(b"\n", begin)
        parts = self._bytes[begin : end if end >= 0 else len(self._bytes)].split()
        try:
            return len([float(part) for part in parts[1:]])
        except ValueError:
            return 0

    def _scan_binary(self, begin: int, count: int, keep: set[bytes] | None) -> dict[bytes, int]:
        """Word -> where its vector begins."""
        places: dict[bytes, int] = {}
        size = 4 * self.width
        for _ in range(count):
            space = self._bytes.find(b" ", begin)
            if space < 0 or space + 1 + size > len(self._bytes):
                raise self._wrong(f"it ends before the last of its {count} vectors of {self.width} numbers")
            word = self._bytes[begin:space].lstrip(b"\n")
            if keep is None or word in keep:
                places.setdefault(word, space + 1)
            begin = space + 1 + size
        if self._bytes[begin : begin + size].strip():  # a wrong width reads as words and vectors all the same
            raise self._wrong(f"it goes on after the last of its {count} vectors of {self.width} numbers")
        return places

    def _scan_text(self, begin: int, count: int | None, keep: set[bytes] | None) -> dict[bytes, int]:
        """As `_scan_binary`; `count` is how many lines there have to be."""
        places: dict[bytes, int] = {}
        lines = 0
        while begin < len(self._bytes):
            end = self._bytes.find(b"\n", begin)
            end = end if end >= 0 else len(self._bytes)
            found = _WORD.match(self._bytes, begin, end)
            if found and found.end() + 1 < end:
                lines += 1
                if keep is None or found[0] in keep:
                    places.setdefault(found[0], found.end() + 1)
            begin = end + 1
        if count not in (None, lines):
            raise self._wrong(f"it promises {count} vectors, and holds {lines}")
        return places

    def _wrong(self, what: str) -> errors.DataError:
        return errors.DataError(f"config.data.word_vectors={self.path} is no file of word2vec, binary or text: {what}.")


def _shown(word: bytes) -> str:
    return repr(word.decode("utf-8", "replace"))


def count_unknown(vectors: WordVectors, texts: Iterable[str]) -> str:
    """A sentence on the words that have no vector and are left out; empty if all have one."""
    counts = collections.Counter(word for text in texts for word in tokens(text))
    unknown = collections.Counter({word: count for word, count in counts.items() if word not in vectors})
    if not unknown:
        return ""
    common = ", ".join(f"{word} ({count})" for word, count in unknown.most_common(5))
    return (f"{unknown.total()} of the {counts.total()} words of captions are not in config.data.word_vectors and are left out; "
            f"most often {common}.")
