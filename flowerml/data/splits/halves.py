"""Held-out examples in two halves: one to choose by, one to judge the choice by."""

import hashlib
from collections import defaultdict
from collections.abc import Sequence


def split_halves(
    keys: Sequence[str], labels: Sequence[int], groups: Sequence[int], seed: int
) -> tuple[list[int], list[int]]:
    """Positions of the choosing and of the judging half, each ascending: half of every class, groups on one side.

    As in `draw_split`, groups are visited in the order of a hash of (seed, smallest key): the result depends neither
    on the order of files nor on a random generator. The odd example of a class goes to one half and the other in
    turn. A group of several classes counts for the class of its smallest key.
    """
    members: dict[int, list[int]] = defaultdict(list)
    for position in sorted(range(len(keys)), key=keys.__getitem__):
        members[groups[position]].append(position)
    by_class: dict[int, list[list[int]]] = defaultdict(list)
    for group in members.values():
        by_class[labels[group[0]]].append(group)

    def place(group: list[int]) -> bytes:
        return hashlib.sha256(f"{seed}\t{keys[group[0]]}".encode("utf-8", "surrogateescape")).digest()

    choosing: set[int] = set()
    odd = 0
    for _, in_class in sorted(by_class.items()):
        total = sum(map(len, in_class))
        target = total // 2
        if total % 2:
            target += 1 - odd % 2
            odd += 1
        taken = 0
        for group in sorted(in_class, key=place):
            if taken + len(group) <= target:
                choosing.update(group)
                taken += len(group)
    return sorted(choosing), [position for position in range(len(keys)) if position not in choosing]
