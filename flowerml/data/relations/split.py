"""Split pairs by image into disjoint sides; measure how ambiguous the labels are."""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from flowerml.data.relations.records import RELATIONS, Pair
from flowerml.errors import UserError


@dataclass(frozen=True)
class PairSplit:
    """Pairs on two sides; no image is on both."""

    train: tuple[Pair, ...]
    val: tuple[Pair, ...]

    def summary_lines(self) -> list[str]:
        """Counts of both sides, and of images on both (always 0), for print and log."""
        images = [{pair.image for pair in side} for side in (self.train, self.val)]
        lines = [
            f"split by image: train {len(self.train):,} pairs of {len(images[0]):,} images, val {len(self.val):,} of"
            f" {len(images[1]):,}, images on both sides: {len(images[0] & images[1])}"
        ]
        counts = [Counter(pair.relation for pair in side) for side in (self.train, self.val)]
        lines += [f"  {name}: {counts[0][name]:,} + {counts[1][name]:,}" for name in RELATIONS]
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

    Images are visited in the order of a hash of (seed, name), as in `data.split`: the result depends neither on the
    order of files nor on a library's random generator. Rare relations come first, and an image that would exceed the
    share of any of its relations is skipped, so every relation comes near its share.

    Raises:
        UserError: a relation is on one side only, or there is only one image.
    """
    by_image: dict[str, list[Pair]] = defaultdict(list)
    for pair in pairs:
        by_image[pair.image].append(pair)
    target = {name: max(1.0, count * val_share) for name, count in Counter(pair.relation for pair in pairs).items()}
    order = sorted(by_image, key=lambda image: _hash_order(seed, image))
    held: Counter[str] = Counter()
    val: set[str] = set()
    rare_first = sorted(target, key=lambda name: (target[name], name))
    for name in rare_first:
        for image in order:
            counts = Counter(pair.relation for pair in by_image[image])
            fits = all(held[other] + count <= target[other] or held[other] == 0 for other, count in counts.items())
            if counts[name] and image not in val and held[name] < target[name] and fits:
                val.add(image)
                held.update(counts)
    split = require_disjoint(
        [pair for pair in pairs if pair.image not in val], [pair for pair in pairs if pair.image in val]
    )
    for name in target:
        sides = [sum(pair.relation == name for pair in side) for side in (split.train, split.val)]
        if not all(sides):
            raise UserError(
                f"relation {name!r} can't be split by image: {sides[0]} pair(s) on one side, {sides[1]} on the other."
                " Add images"
            )
    return split


def draw_image_folds(pairs: Sequence[Pair], folds: int, seed: int, content: Mapping[str, str]) -> dict[str, int]:
    """The fold (1 to `folds`) of every image and all of its pairs, every relation in as equal shares as that allows.

    `content` is the digest of each image: images of one content stay together. Those with the largest shares of the
    relations' pairs come first, equal ones in the order of `split_by_image`; each goes to the fold where it adds least
    to the squared shares of the relations in the folds, among equals to the one with the fewest pairs (the criterion
    of scikit-learn's StratifiedGroupKFold, which shuffles by a random generator).

    Raises:
        UserError: a fold would have no pair of a relation.
    """
    groups: dict[str, list[Pair]] = defaultdict(list)
    for pair in pairs:
        groups[content[pair.image]].append(pair)
    counts = {key: Counter(pair.relation for pair in group) for key, group in groups.items()}
    total = Counter(pair.relation for pair in pairs)
    held: dict[int, Counter[str]] = {number: Counter() for number in range(1, folds + 1)}

    def added(of_group: Mapping[str, int], number: int) -> float:
        # In one order of the names: a sum of floats in another could differ.
        return sum(of_group[name] * held[number][name] / total[name] ** 2 for name in sorted(of_group))

    def share(key: str) -> float:
        return sum(counts[key][name] / total[name] for name in sorted(counts[key]))

    fold_of_group: dict[str, int] = {}
    in_hash_order = sorted(groups, key=lambda key: _hash_order(seed, min(pair.image for pair in groups[key])))
    for key in sorted(in_hash_order, key=share, reverse=True):
        of_group = counts[key]
        best = min(held, key=lambda number: (added(of_group, number), held[number].total(), number))
        fold_of_group[key] = best
        held[best].update(of_group)
    for name in sorted(total):
        if lacking := [number for number, of_fold in held.items() if not of_fold[name]]:
            images = len({pair.image for pair in pairs if pair.relation == name})
            raise UserError(
                f"--folds {folds}: relation {name!r} has {total[name]:,} pair(s) in {images:,} image(s), and fold"
                f" {lacking[0]} would have none: an image stays whole. Add images, or take fewer folds, or a single"
                " split with --folds 0"
            )
    return {pair.image: fold_of_group[content[pair.image]] for pair in pairs}


def _hash_order(seed: int, image: str) -> bytes:
    return hashlib.sha256(f"{seed}\t{image}".encode("utf-8", "surrogateescape")).digest()


def fold_of(image: str, folds: int, salt: str) -> int:
    """The fold (0 to `folds` - 1) of an image and all of its pairs: the same in every run."""
    return int.from_bytes(hashlib.sha256(f"{salt}\t{image}".encode("utf-8", "surrogateescape")).digest()[:8]) % folds


@dataclass(frozen=True)
class Ambiguity:
    """How consistent the labels are.

    `pairs` annotations name `boxes` distinct box pairs (image, subject box, object box), of which `several` have more
    than one relation; `repeats` annotations are exact duplicates. One answer per box pair can match at most `hits`
    annotations.
    """

    pairs: int
    boxes: int
    several: int
    repeats: int
    hits: int

    @property
    def ceiling(self) -> float:
        """The highest accuracy of any model that gives one answer per pair of boxes."""
        return self.hits / self.pairs

    def summary(self) -> str:
        """The figures in one line."""
        return (
            f"{self.several:,} of {self.boxes:,} box pairs carry several relations, {self.repeats:,} annotations are"
            f" repeats: one answer a pair reaches at most {100 * self.ceiling:.1f} % accuracy"
        )


def measure_ambiguity(pairs: Sequence[Pair]) -> Ambiguity:
    """Count box pairs with several relations. `pairs`: at least one."""
    relations: dict[object, Counter[str]] = defaultdict(Counter)
    for pair in pairs:
        relations[pair.image, pair.subject, pair.object][pair.relation] += 1
    return Ambiguity(
        pairs=len(pairs),
        boxes=len(relations),
        several=sum(len(counts) > 1 for counts in relations.values()),
        repeats=sum(sum(counts.values()) - len(counts) for counts in relations.values()),
        hits=sum(max(counts.values()) for counts in relations.values()),
    )
