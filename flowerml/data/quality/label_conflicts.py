"""One photo under two labels: at least one of them is wrong, so a person decides what becomes of it."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

from flowerml.data.scan import Picture, Scan
from flowerml.errors import UserError


def conflicting_labels(pictures: Sequence[Picture], groups: Sequence[int]) -> list[list[Picture]]:
    """The near-duplicate groups (numbers as of `group_numbers`) that have more than one label, in the pictures' order."""
    members: dict[int, list[Picture]] = defaultdict(list)
    for picture, group in zip(pictures, groups, strict=True):
        members[group].append(picture)
    return [group for group in members.values() if len({picture.label for picture in group}) > 1]


def settle_duplicates(scanned: Scan, groups: Sequence[int], duplicates: str) -> tuple[Scan, list[int]]:
    """The scan and its group numbers after `duplicates`: "stop" refuses such photos, "keep" leaves all their copies in
    (the split never judges by them), "drop" takes all their copies out, as nobody knows which label is right.

    Raises:
        UserError: lists the copies of each such photo; or "drop" leaves a class without pictures.
    """
    doubtful = conflicting_labels(scanned.pictures, groups)
    if not doubtful or duplicates == "keep":
        return scanned, list(groups)
    if duplicates == "stop":
        raise UserError(
            f"{scanned.root}: {len(doubtful)} photo(s) stand under two labels (take the wrong copies out, or train on"
            " all copies: --duplicates keep, or on none of them: --duplicates drop):",
            list_doubtful(doubtful),
        )
    gone = {picture.key for group in doubtful for picture in group}
    stays = [picture.key not in gone for picture in scanned.pictures]
    left = replace(
        scanned, pictures=tuple(picture for picture, stay in zip(scanned.pictures, stays, strict=True) if stay)
    )
    empty = [name for name, count in left.counts().items() if count == 0]
    if empty:
        raise UserError(
            f"{scanned.root}: --duplicates drop leaves no picture of {', '.join(empty)}:", list_doubtful(doubtful)
        )
    return left, [group for group, stay in zip(groups, stays, strict=True) if stay]


def list_doubtful(groups: Sequence[Sequence[Picture]]) -> list[str]:
    """One line per photo with its copies; at most 20 of them."""
    lines = ["  ".join(repr(picture.key) for picture in group) for group in groups[:20]]
    more = len(groups) - len(lines)
    return [*lines, *([f"and {more} more: flowerml dataset check --html shows them side by side"] if more else [])]
