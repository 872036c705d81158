"""The split of pairs by image, proven disjoint; and how far one answer per pair can get where annotators gave several."""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from flowerml.data.relations.records import RELATIONS, Pair
from flowerml.errors import UserError


@dataclass(frozen=True)
class PairSplit:
    """Pairs on two sides; no image is on both."""

    train: tuple[Pair, ...]
    val: tuple[Pair, ...]

    def lines(self) -> list[str]:
        """The proof and what is on each side, for print and log."""
        images = [{pair.image for pair in side} for side in (self.train, self.val)]
        lines = [
            f"split by image: train {len(self.train):,} pairs of {len(images[0]):,} images, val {len(self.val):,} of"
            f" {len(images[1]):,}, images on both sides: {len(images[0] & images[1])}"
        ]
        counted = [Counter(pair.relation for pair in side) for side in (self.train, self.val)]
        lines += [f"  {name}: {counted[0][name]:,} + {counted[1][name]:,}" for name in RELATIONS]
        return lines


def require_disjoint(train: Sequence[Pair], val: Sequence[Pair]) -> PairSplit:
    """Both sides as a split.

    Raises:
        UserError: an image has pairs on both sides.
    """
    both = {pair.image for pair in train} & {pair.image for pair in val}
    if both:
        raise UserError(
            f"{len(both):,} image(s) have pairs on both sides of the split: what was learned would be tested",
            sorted(both)[:5],
        )
    return PairSplit(tuple(train), tuple(val))


def split_by_image(pairs: Sequence[Pair], val_share: float, seed: int) -> PairSplit:
    """Hold out whole images until `val_share` of the pairs is on the other side.

    Images are visited in the order of a hash of (seed, name), as pictures are in the classifiers' split: no order of
    files and no random generator of a library version comes into it. Rare relations are served first, and an image that
    would overshoot the share of any of its relations is passed over, so every relation comes near its share.

    Raises:
        UserError: a relation that occurs is on one side only, or there is one image.
    """
    by_image: dict[str, list[Pair]] = defaultdict(list)
    for pair in pairs:
        by_image[pair.image].append(pair)
    wanted = {name: max(1.0, count * val_share) for name, count in Counter(pair.relation for pair in pairs).items()}
    order = sorted(
        by_image, key=lambda image: hashlib.sha256(f"{seed}\t{image}".encode("utf-8", "surrogateescape")).digest()
    )
    held: Counter[str] = Counter()
    val: set[str] = set()
    rare_first = sorted(wanted, key=lambda name: (wanted[name], name))
    for name in rare_first:
        for image in order:
            here = Counter(pair.relation for pair in by_image[image])
            fits = all(held[other] + count <= wanted[other] or held[other] == 0 for other, count in here.items())
            if here[name] and image not in val and held[name] < wanted[name] and fits:
                val.add(image)
                held.update(here)
    split = require_disjoint(
        [pair for pair in pairs if pair.image not in val], [pair for pair in pairs if pair.image in val]
    )
    for name in wanted:
        sides = [sum(pair.relation == name for pair in side) for side in (split.train, split.val)]
        if not all(sides):
            raise UserError(
                f"relation {name!r} can't be split by image: {sides[0]} pair(s) on one side, {sides[1]} on the other."
                " Add images"
            )
    return split


def part_of(image: str, parts: int, salt: str) -> int:
    """Which of `parts` an image, and so each of its pairs, belongs to (0-based): the same in every run."""
    return int.from_bytes(hashlib.sha256(f"{salt}\t{image}".encode("utf-8", "surrogateescape")).digest()[:8]) % parts


@dataclass(frozen=True)
class Ambiguity:
    """How far the labels agree with themselves.

    `pairs` annotations name `boxes` distinct box pairs (image, subject box, object box); `several` of those carry more
    than one relation, `repeats` annotations say again what was said. At best `hits` of the annotations can be met by
    one answer per box pair.
    """

    pairs: int
    boxes: int
    several: int
    repeats: int
    hits: int

    @property
    def ceiling(self) -> float:
        """The highest accuracy any model can reach that gives one answer for one pair of boxes."""
        return self.hits / self.pairs

    def line(self) -> str:
        """In words."""
        return (
            f"{self.several:,} of {self.boxes:,} box pairs carry several relations, {self.repeats:,} annotations are"
            f" repeats: one answer a pair reaches at most {100 * self.ceiling:.1f} % accuracy"
        )


def ambiguity(pairs: Sequence[Pair]) -> Ambiguity:
    """Count box pairs with several valid relations. `pairs`: at least one."""
    said: dict[object, Counter[str]] = defaultdict(Counter)
    for pair in pairs:
        said[pair.image, pair.subject, pair.object][pair.relation] += 1
    return Ambiguity(
        pairs=len(pairs),
        boxes=len(said),
        several=sum(len(counts) > 1 for counts in said.values()),
        repeats=sum(sum(counts.values()) - len(counts) for counts in said.values()),
        hits=sum(max(counts.values()) for counts in said.values()),
    )
