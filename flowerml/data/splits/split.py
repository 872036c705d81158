"""The train/val split: stratified, near-duplicate groups on one side, independent of machine and order of files."""

import hashlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from flowerml.data.scan import Picture, Scan
from flowerml.errors import UserError
from flowerml.text import distinct_nfc, nfc

FORMAT = "flowerml-split-1"


@dataclass(frozen=True)
class Split:
    """The keys (`<class>/<name>`) of both sides.

    `sha256` has each picture's content hash, to detect later changes of the folder; `skipped` are files left out on
    purpose (unreadable, or one photo under two labels). With cross-validation `val` is fold `fold` (from 1), and
    `fold_of` has the fold of every picture that is held out once; both are None without.
    """

    classes: tuple[str, ...]
    train: tuple[str, ...]
    val: tuple[str, ...]
    sha256: Mapping[str, str]
    data_digest: str
    val_split: float
    split_seed: int
    skipped: tuple[str, ...] = ()
    fold: int | None = None
    fold_of: Mapping[str, int] | None = None

    @property
    def digest(self) -> str:
        """sha256 (hex) over side, class/name and content of every picture."""
        sides = [("train", key) for key in self.train] + [("val", key) for key in self.val]
        lines = "\n".join(f"{side}\t{key}\t{self.sha256[key]}" for side, key in sorted(sides, key=lambda pair: pair[1]))
        return hashlib.sha256(lines.encode("utf-8", "surrogateescape")).hexdigest()

    @property
    def folds_digest(self) -> str:
        """sha256 (hex) over fold, class/name and content of every picture: the same for all folds of one assignment.

        Without folds it is `digest`.
        """
        if self.fold_of is None:
            return self.digest
        lines = "\n".join(f"{self.fold_of.get(key, 0)}\t{key}\t{self.sha256[key]}" for key in sorted(self.sha256))
        return hashlib.sha256(lines.encode("utf-8", "surrogateescape")).hexdigest()

    def as_json(self) -> dict[str, Any]:
        """The split as plain values, as in `split.json` and checkpoints."""
        folds = {} if self.fold_of is None else {"fold": self.fold, "fold_of": dict(self.fold_of)}
        return {
            "format": FORMAT,
            "digest": self.digest,
            "data_digest": self.data_digest,
            "val_split": self.val_split,
            "split_seed": self.split_seed,
            "classes": list(self.classes),
            "train": list(self.train),
            "val": list(self.val),
            "sha256": dict(self.sha256),
            "skipped": list(self.skipped),
            **folds,
        }

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> "Split":
        """The split from the values of `as_json`, with its keys in NFC.

        Raises:
            UserError: another format, or a digest that does not match the content.
        """
        if not isinstance(value, Mapping):
            raise UserError(f"the stored split is no split but {value!r:.40}")
        if value.get("format") != FORMAT:
            raise UserError(f"the stored split has format {value.get('format')!r}; this version reads {FORMAT!r}")
        required = {"classes", "train", "val", "sha256", "data_digest", "val_split", "split_seed", "digest"}
        missing = required - value.keys()
        well_formed = (
            not missing
            and isinstance(value["sha256"], Mapping)
            and all(isinstance(value[name], list) for name in ("train", "val"))
        )
        if not well_formed or {*value["train"], *value["val"]} != value["sha256"].keys():
            raise UserError("the stored split was changed by hand: its lists and contents do not fit each other")
        split = Split(
            classes=tuple(value["classes"]),
            train=tuple(value["train"]),
            val=tuple(value["val"]),
            sha256=dict(value["sha256"]),
            data_digest=value["data_digest"],
            val_split=value["val_split"],
            split_seed=value["split_seed"],
            skipped=tuple(value.get("skipped", ())),
            fold=value.get("fold"),
            fold_of=_fold_numbers(value),
        )
        if split.digest != value["digest"]:
            raise UserError("the stored split was changed by hand: its digest does not fit its lists")
        return _with_nfc_keys(split)


def _fold_numbers(value: Mapping[str, Any]) -> dict[str, int] | None:
    """The fold of each picture from the values of `Split.as_json`. Raises UserError where they don't fit its lists."""
    if "fold_of" not in value:
        return None
    numbers = value["fold_of"]
    if not isinstance(numbers, Mapping) or {key for key, fold in numbers.items() if fold == value.get("fold")} != set(
        value["val"]
    ):
        raise UserError("the stored split was changed by hand: its folds do not fit its lists")
    return dict(numbers)


def _with_nfc_keys(split: Split) -> Split:
    """The split with its keys as `PictureFile.key` has them: earlier versions kept the form on disk."""
    keys = [*split.sha256]
    renamed = dict(zip(keys, distinct_nfc(keys), strict=True))
    if all(key == name for key, name in renamed.items()):
        return split
    return replace(
        split,
        train=tuple(renamed[key] for key in split.train),
        val=tuple(renamed[key] for key in split.val),
        fold_of=None if split.fold_of is None else {renamed[key]: fold for key, fold in split.fold_of.items()},
        sha256={renamed[key]: digest for key, digest in split.sha256.items()},
        skipped=tuple(map(nfc, split.skipped)),
    )


def draw_split(scanned: Scan, groups: Sequence[int], val_split: float, split_seed: int) -> Split:
    """Hold out `val_split` of every class, whole groups at a time.

    Groups are visited in the order of a hash of (seed, smallest key of the group): the result depends neither on the
    order of files nor on a library's random generator. A group that spans classes is one photo with two labels: it is
    used for training, never for validation.

    Raises:
        UserError: a class can't have a picture on both sides.
    """
    by_class = _groups_by_class(scanned, groups)
    val: set[str] = set()
    if val_split > 0:
        for name in scanned.classes:
            val |= _hold_out(name, by_class[name], val_split, split_seed)
    return _make_split(scanned, val, val_split, split_seed)


def draw_fold(scanned: Scan, groups: Sequence[int], folds: int, fold: int, split_seed: int) -> Split:
    """Hold out fold `fold` (1 to `folds`) of a stratified cross-validation, whole groups at a time.

    Every picture is held out in one fold, except those of a group that spans classes (`draw_split`), which is used for
    training in all. The groups of a class are visited in the order of `draw_split`, each goes to the fold that has the
    fewest pictures of the class; among equals, to the one with the fewest pictures of the classes before.

    Raises:
        UserError: a class has fewer groups than there are folds.
    """
    fold_of: dict[str, int] = {}
    sizes = dict.fromkeys(range(1, folds + 1), 0)
    for name, in_class in sorted(_groups_by_class(scanned, groups).items()):
        pure = _pure_groups(name, in_class)
        if len(pure) < folds:
            can = f"Allowed: 2 to {len(pure)}, or a" if len(pure) > 1 else "Add pictures, or take a"
            raise UserError(
                f"--folds {folds}: class {name} has {len(pure)} group(s) of near-duplicates that can be held out, and"
                f" each fold needs one. {can} single split with --folds 0"
            )
        taken = dict.fromkeys(sizes, 0)
        for keys in _in_hash_order(pure, split_seed):
            smallest = min(sizes, key=lambda number: (taken[number], sizes[number], number))
            taken[smallest] += len(keys)
            fold_of |= dict.fromkeys(keys, smallest)
        sizes = {number: size + taken[number] for number, size in sizes.items()}
    val = {key for key, number in fold_of.items() if number == fold}
    return replace(_make_split(scanned, val, 1 / folds, split_seed), fold=fold, fold_of=fold_of)


def _groups_by_class(scanned: Scan, groups: Sequence[int]) -> dict[str, list[list[Picture]]]:
    """The groups in which each class occurs."""
    members: dict[int, list[Picture]] = defaultdict(list)
    for picture, group in zip(scanned.pictures, groups, strict=True):
        members[group].append(picture)
    by_class: dict[str, list[list[Picture]]] = {name: [] for name in scanned.classes}
    for group_members in members.values():
        for name in {picture.label for picture in group_members}:
            by_class[name].append(group_members)
    return by_class


def _pure_groups(name: str, in_class: Sequence[Sequence[Picture]]) -> list[list[str]]:
    """The keys of the groups that have pictures of class `name` only."""
    return [[picture.key for picture in group] for group in in_class if {picture.label for picture in group} == {name}]


def _in_hash_order(groups: Sequence[list[str]], split_seed: int) -> list[list[str]]:
    return sorted(
        groups,
        key=lambda keys: hashlib.sha256(f"{split_seed}\t{min(keys)}".encode("utf-8", "surrogateescape")).digest(),
    )


def _make_split(scanned: Scan, val: set[str], val_split: float, split_seed: int) -> Split:
    return Split(
        classes=scanned.classes,
        train=tuple(picture.key for picture in scanned.pictures if picture.key not in val),
        val=tuple(picture.key for picture in scanned.pictures if picture.key in val),
        sha256={picture.key: picture.sha256 for picture in scanned.pictures},
        data_digest=scanned.digest,
        val_split=val_split,
        split_seed=split_seed,
    )


def _hold_out(name: str, in_class: Sequence[Sequence[Picture]], val_split: float, split_seed: int) -> set[str]:
    """The held-out keys of class `name`, with the groups `in_class`: as near to its share as whole groups allow, at
    least one, never all.
    """
    pure = _pure_groups(name, in_class)
    total = sum(picture.label == name for group in in_class for picture in group)
    if len(in_class) < 2 or not pure:
        raise UserError(
            f"class {name} can't be split: its {total} picture(s) form {len(in_class)} group(s) of near-duplicates, and"
            " each side needs one. Add pictures, or train on everything with --val-split 0"
        )
    target = min(max(1, round(val_split * total)), total - 1)
    order = _in_hash_order(pure, split_seed)
    held: set[str] = set()
    for keys in order:
        if len(held) + len(keys) <= target:
            held.update(keys)
    if not held:  # every group is larger than the share: take the smallest
        smallest: list[str] = min(order, key=len)
        held.update(smallest)
    return held
