"""Exact ranks of queries among items: avc_jax's over all devices beside plain NumPy, block by block.

    python benchmarks/ranking.py --queries=100000 --items=100000 --width=64

Pairs (query, item) scored and compared per second; both give the same counts, which is checked. NumPy is asked about a part of
the queries (--part), as it takes its time. Needs jax.
"""

import argparse
import resource
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import jax
import numpy as np

from avc_jax.evaluators import ranking
from avc_jax.parallel import mesh, nearest


def plain(queries: np.ndarray, items: np.ndarray, own: np.ndarray, block: int) -> tuple[np.ndarray, np.ndarray]:
    """Counts by NumPy, a block of queries after the other."""
    parts = [ranking.count(queries[at : at + block] @ items.T, own[at : at + block]) for at in range(0, len(queries), block)]
    return np.concatenate([part.greater for part in parts]), np.concatenate([part.equal for part in parts])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--queries", type=int, default=100_000)
    parser.add_argument("--items", type=int, default=100_000)
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--part", type=int, default=5000, help="queries for NumPy")
    parser.add_argument("--block", type=int, default=256, help="queries in a block of NumPy's")
    args = parser.parse_args()

    rng = np.random.default_rng(0)
    # Whole numbers: their products are exact, so the counts are equal whatever the order of the sums.
    queries, items = (rng.integers(-8, 9, (rows, args.width)).astype(np.float32) for rows in (args.queries, args.items))
    own = rng.integers(0, args.items, args.queries)

    search = nearest.Items(items, mesh.make_mesh())
    search.count(queries[:4096], own[:4096])  # compiles
    began = time.perf_counter()
    greater, equal = search.count(queries, own)
    ours = time.perf_counter() - began
    part = slice(min(args.part, args.queries))
    began = time.perf_counter()
    wanted = plain(queries[part], items, own[part], args.block)
    theirs = time.perf_counter() - began
    same = np.array_equal(greater[part], wanted[0]) and np.array_equal(equal[part], wanted[1])

    print(f"{args.queries} queries among {args.items} items of {args.width} numbers, {jax.device_count()} device(s)")
    print(f"avc_jax: {ours:.1f} s, {args.queries * args.items / ours:.3g} pairs/s")
    print(f"NumPy, {part.stop} of the queries: {theirs:.1f} s, {part.stop * args.items / theirs:.3g} pairs/s")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"counts {'agree' if same else 'DIFFER'}; peak memory of both {peak:.1f} GB")
    if not same:
        sys.exit(1)


if __name__ == "__main__":
    main()
