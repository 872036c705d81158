"""One photo under two labels: at least one is wrong, so the user decides whether to stop, keep or drop it."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

from flowerml.data.scan import Picture, Scan
from flowerml.errors import UserError
from flowerml.text import cut_list


def conflicting_labels(pictures: Sequence[Picture], groups: Sequence[int]) -> list[list[Picture]]:
    """The near-duplicate groups (numbers as of `group_numbers`) with more than one label, in the order of pictures."""
    members: dict[int, list[Picture]] = defaultdict(list)
    for picture, group in zip(pictures, groups, strict=True):
        members[group].append(picture)
    return [group for group in members.values() if len({picture.label for picture in group}) > 1]


def resolve_label_conflicts(scanned: Scan, groups: Sequence[int], duplicates: str) -> tuple[Scan, list[int]]:
    """Apply the policy `duplicates` to photos under several labels; return the scan and its group numbers.

    "stop" raises, "keep" keeps all copies (the split never validates on them), "drop" removes all copies, since the
    right label is unknown.

    Raises:
        UserError: "stop" lists the copies of each such photo; "drop" leaves a class without pictures.
    """
    conflicts = conflicting_labels(scanned.pictures, groups)
    if not conflicts or duplicates == "keep":
        return scanned, list(groups)
    if duplicates == "stop":
        raise UserError(
            f"{scanned.root}: {len(conflicts)} photo(s) stand under two labels (take the wrong copies out, or train on"
            " all copies: --duplicates keep, or on none of them: --duplicates drop):",
            conflict_lines(conflicts),
        )
    dropped = {picture.key for group in conflicts for picture in group}
    is_kept = [picture.key not in dropped for picture in scanned.pictures]
    remaining = replace(
        scanned, pictures=tuple(picture for picture, keep in zip(scanned.pictures, is_kept, strict=True) if keep)
    )
    empty = [name for name, count in remaining.counts().items() if count == 0]
    if empty:
        raise UserError(
            f"{scanned.root}: --duplicates drop leaves no picture of {', '.join(empty)}:", conflict_lines(conflicts)
        )
    return remaining, [group for group, keep in zip(groups, is_kept, strict=True) if keep]


def conflict_lines(groups: Sequence[Sequence[Picture]]) -> list[str]:
    """One line per photo with its copies; a long list is cut."""
    lines = ["  ".join(repr(picture.key) for picture in group) for group in groups]
    return cut_list(lines, "`flowerml dataset check --html` shows them side by side")
