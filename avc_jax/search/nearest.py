"""Which rows are near to a query: all of them compared, or, where they are too many for that, those that faiss proposes.

Larger is nearer: the dot product, which is the cosine where rows and queries have length one. faiss is imported only where it is
used.
"""

from pathlib import Path

import numpy as np

from avc_jax import errors

_SAMPLE = 64  # rows of each list that its centre is learned from
_BLOCK = 1 << 18  # rows that are compared or added at once
# What calibration asks for, with what, and how much of the exact answer it wants to see. More places than files that are mostly
# wanted, as several of the nearest windows are of one file.
_PLACES, _QUERIES, _GOAL = 100, 256, 0.98


def scores(rows: np.ndarray, query: np.ndarray) -> np.ndarray:
    """f32[n]: how near each of f32[n, D] rows is to a query f32[D]; rows may be a file mapped into memory."""
    return np.concatenate([np.asarray(rows[begin : begin + _BLOCK]) @ query for begin in range(0, len(rows), _BLOCK)]
                          or [np.zeros(0, np.float32)])


def best_of_files(scores: np.ndarray, file: np.ndarray, files: int) -> tuple[np.ndarray, np.ndarray]:
    """The best row of each file; of equals the first.

    Args:
      scores: f32[n].
      file: int[n], the file of each row.
      files: how many files there are.

    Returns:
      f32[files] the score, -inf where a file has no row; int64[files] its place among the n, -1 where there is none.
    """
    best = np.full(files, -np.inf, np.float32)
    np.maximum.at(best, file, scores)
    row = np.full(files, -1, np.int64)
    winners = np.flatnonzero(scores == best[file])[::-1]
    row[file[winners]] = winners
    return best, row


class Lists:
    """Rows sorted into lists by the centre that is nearest to each; a query looks into the lists that are nearest to it.

    An inverted file of faiss (IVF with half-precision rows, Johnson et al., "Billion-scale similarity search with GPUs",
    arXiv:1702.08734). Dot products become distances by one more coordinate, sqrt(max |x|^2 - |x|^2), which is 0 of a query
    (Bachrach et al., "Speeding up the Xbox recommender system", RecSys 2014), so that long rows do not fill all lists.
    """

    def __init__(self, path: Path):
        """Opens what `build` wrote; lists are read from the disk when they are looked into.

        Raises:
          ConfigError: faiss is not installed.
          DataError: the file is damaged.
        """
        faiss = require_faiss("This index is larger than --exact_rows, and is searched with faiss")
        try:
            self._index = faiss.read_index(str(path), faiss.IO_FLAG_MMAP)
        except RuntimeError as error:
            raise errors.DataError(f"{path} is damaged: remove the index and make it anew.") from error

    @property
    def count(self) -> int:
        return self._index.nlist

    def propose(self, query: np.ndarray, count: int, probes: int) -> np.ndarray:
        """int64[<= count]: rows that are near to a query f32[D], the nearest first, from the `probes` nearest lists."""
        return _propose(self._index, query[None], count, probes)[0]


def require_faiss(what: str):
    """The module faiss.

    Raises:
      ConfigError: it is not installed; `what` says what needs it.
    """
    try:
        import faiss
    except ImportError as error:
        raise errors.ConfigError(f"{what}, which is not installed: pip install faiss-cpu (or pip install 'avc_jax[search]'). "
                                 "Without it, --exact compares every row.") from error
    return faiss


def build(path: Path, rows: np.ndarray, queries: np.ndarray) -> dict[str, float]:
    """Writes the lists of rows, and chooses how many of them a query looks into.

    Args:
      path: the file to write.
      rows: f32[n, D].
      queries: f32[m, D] like those that will be asked: of another modality than the rows if that is what asks. Neighbours are
        easier to find for a query that is one of the rows' own kind.

    Returns:
      lists: how many; probes: how many are looked into; recall: share of the nearest hundred rows that are found so.

    Raises:
      ConfigError: faiss is not installed.
    """
    faiss = require_faiss("So many rows are searched with faiss")
    lists = max(1, round(np.sqrt(len(rows))))
    index = faiss.index_factory(rows.shape[1] + 1, f"IVF{lists},SQfp16", faiss.METRIC_L2)
    index.cp.max_points_per_centroid = _SAMPLE
    index.cp.min_points_per_centroid = 1
    longest = float(max(np.square(rows[begin : begin + _BLOCK]).sum(1).max() for begin in range(0, len(rows), _BLOCK)))
    rng = np.random.default_rng(0)
    sample = np.sort(rng.choice(len(rows), min(len(rows), _SAMPLE * lists), replace=False))
    index.train(_lengthen(rows[sample], longest))
    for begin in range(0, len(rows), _BLOCK):
        index.add(_lengthen(rows[begin : begin + _BLOCK], longest))
    faiss.write_index(index, str(path))
    return {"lists": lists, **_calibrate(index, rows, queries[rng.permutation(len(queries))[:_QUERIES]])}


def _calibrate(index, rows: np.ndarray, queries: np.ndarray) -> dict[str, float]:
    """The fewest probes, as powers of two, that find enough of the nearest rows."""
    places = min(_PLACES, len(rows))
    exact = [set(np.argpartition(-scores(rows, query), places - 1)[:places].tolist()) for query in queries]
    probes = 1
    while True:
        probes = min(probes, index.nlist)
        found = _propose(index, queries, places, probes)
        recall = float(np.mean([len(own & set(one.tolist())) / places for own, one in zip(exact, found, strict=True)]))
        if recall >= _GOAL or probes == index.nlist:
            return {"probes": probes, "recall": recall}
        probes *= 2


def _propose(index, queries: np.ndarray, count: int, probes: int) -> list[np.ndarray]:
    index.nprobe = probes
    lengthened = np.pad(np.asarray(queries, np.float32), ((0, 0), (0, 1)))
    return [row[row >= 0] for row in index.search(lengthened, min(count, index.ntotal))[1]]


def _lengthen(rows: np.ndarray, longest: float) -> np.ndarray:
    """f32[n, D + 1]: rows of one length, the root of `longest`."""
    rest = np.sqrt(np.maximum(longest - np.square(rows).sum(1), 0))
    return np.concatenate([rows, rest[:, None]], 1, dtype=np.float32)
