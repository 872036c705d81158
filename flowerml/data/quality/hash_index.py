"""All pairs of near 64-bit hashes, without comparing all with all: multi-index hashing.

Norouzi, Punjani and Fleet, "Fast Exact Search in Hamming Space with Multi-Index Hashing" (TPAMI 2014). Kept instead of
faiss's binary indexes (a dependency of 30 MB that finds the nearest k, or answers one hash at a time): a table is an
argsort.
"""

from collections.abc import Iterator
from itertools import combinations, pairwise

import numpy as np
from numpy.typing import NDArray

BITS = 64

Indices = NDArray[np.int64]  # (n,)
Pairs = NDArray[np.int64]  # (pairs, 2)


def near_pairs(hashes: NDArray[np.uint64], max_distance: int) -> Pairs:
    """Index pairs (i < j), sorted, of hashes (n,), all different, that differ in 1 to `max_distance` bits; (pairs, 2).

    The bits are cut into `max_distance + 2` parts. Two hashes that differ in at most `max_distance` bits agree in two
    parts or more, so they meet in the table of those two.
    """
    edges = np.linspace(0, BITS, max_distance + 3).astype(int)
    masks = [(1 << int(end)) - (1 << int(start)) for start, end in pairwise(edges)]
    found = [np.empty((0, 2), np.int64)]
    for first, second in combinations(masks, 2):
        for i, j in _equal_pairs(hashes & np.uint64(first | second)):
            near = np.bitwise_count(hashes[i] ^ hashes[j]) <= max_distance
            pairs = np.column_stack([i[near], j[near]])
            found.append(np.sort(pairs, axis=1))
    return np.unique(np.concatenate(found), axis=0)


def _equal_pairs(keys: NDArray[np.uint64]) -> Iterator[tuple[Indices, Indices]]:
    """All index pairs of equal keys, in blocks: neighbours of the sorted order, then those two apart, …"""
    order = np.argsort(keys)
    keys = keys[order]
    at = np.flatnonzero(keys[1:] == keys[:-1])
    distance = 1
    while len(at):
        yield order[at], order[at + distance]
        distance += 1
        at = at[at + distance < len(keys)]
        at = at[keys[at] == keys[at + distance]]
