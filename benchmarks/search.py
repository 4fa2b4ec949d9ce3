"""Search in large indexes: lists of faiss beside comparing every row, by recall and time.

    python benchmarks/search.py --rows=1000000 --width=128

Rows lie around centres, as the windows of films of some kinds do; queries are of another modality: around the same centres, moved
aside by a constant, and with more noise. Lists are made with one half of the queries and measured with the other. Times are of
one query: opening the arrays or lists, which lie in the system's cache of the disk, and searching. Needs faiss-cpu.
"""

import argparse
import resource
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np

from avc_jax.search import nearest

PLACES = 100


def draw(rng: np.random.Generator, centres: np.ndarray, count: int, noise: float, aside: float) -> np.ndarray:
    """f32[count, D] of length one."""
    rows = np.empty((count, centres.shape[1]), np.float32)
    for begin in range(0, count, 1 << 16):
        own = centres[rng.integers(len(centres), size=min(1 << 16, count - begin))]
        made = own + noise * rng.standard_normal(own.shape, np.float32) + aside
        rows[begin : begin + len(own)] = made / np.linalg.norm(made, axis=1, keepdims=True)
    return rows


def timed(function, rounds: int = 5) -> tuple[float, np.ndarray]:
    """Seconds of the fastest of the rounds, and what it gave."""
    best = float("inf")
    for _ in range(rounds):
        began = time.perf_counter()
        found = function()
        best = min(best, time.perf_counter() - began)
    return best, found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--centres", type=int, default=5000)
    parser.add_argument("--queries", type=int, default=512)
    args = parser.parse_args()

    rng = np.random.default_rng(0)
    centres = rng.standard_normal((args.centres, args.width), np.float32)
    rows = draw(rng, centres, args.rows, 0.5, 0.0)
    queries = draw(rng, centres, args.queries, 0.7, 0.3)
    with tempfile.TemporaryDirectory() as folder:
        path, stored = Path(folder) / "a.faiss", Path(folder) / "a.npy"
        np.save(stored, rows)
        began = time.perf_counter()
        told = nearest.build(path, rows, queries[: args.queries // 2])
        built_s = time.perf_counter() - began
        measured = queries[args.queries // 2 :]

        def compare_all(query: np.ndarray) -> np.ndarray:
            scores = nearest.scores(np.load(stored, mmap_mode="r"), query)
            return np.argpartition(-scores, PLACES - 1)[:PLACES]

        def look_up(query: np.ndarray) -> np.ndarray:
            return nearest.Lists(path).propose(query, PLACES, told["probes"])

        hits = [len(set(compare_all(query).tolist()) & set(look_up(query).tolist())) / PLACES for query in measured]
        exact_s, lists_s = (timed(lambda answer=answer: answer(measured[0]))[0] for answer in (compare_all, look_up))
        size = path.stat().st_size / 2**20
    print(f"{args.rows:,} rows of {args.width} numbers, {len(measured)} queries that the lists were not made with\n")
    print("| | ms a query | recall at 100 |\n|---|---|---|")
    print(f"| every row compared | {1e3 * exact_s:.1f} | 1 |")
    print(f"| {told['probes']:.0f} of {told['lists']:.0f} lists | {1e3 * lists_s:.1f} | {np.mean(hits):.3f} |")
    print(f"\nMaking the lists took {built_s:.0f} s; they have {size:.0f} MB. Told when they were made: {told['recall']:.3f}. "
          f"Largest resident memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.1f} GB.")


if __name__ == "__main__":
    main()
