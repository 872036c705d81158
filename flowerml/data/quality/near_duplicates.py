"""Near-duplicate groups: pictures that are one photo or an edit of it, and so must stay on one side of a split.

Kept instead of imagededup and fastdup (large dependencies that read every picture again) because imagehash, which only
computes the hashes, leaves 20 lines of numpy to compare them, on the scan's cached values.
"""

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from flowerml.data.folders import PictureFile
from flowerml.data.scan import Picture
from flowerml.errors import UserError

MAX_DISTANCE = 4  # of 64 bits: edits of one photo are within it, different photos of one flower are not
_BLOCK = 512  # rows compared at a time: 512 x 10,000 distances take 5 MB


def near_duplicate_pairs(pictures: Sequence[Picture], max_distance: int = MAX_DISTANCE) -> list[tuple[int, int]]:
    """Index pairs (i < j) whose perceptual hashes differ in at most `max_distance` of 64 bits."""
    hashes = np.array([picture.phash for picture in pictures], dtype=np.uint64)
    pairs: list[tuple[int, int]] = []
    for start in range(0, len(hashes), _BLOCK):
        rows = hashes[start : start + _BLOCK, None]
        near = np.bitwise_count(rows ^ hashes[None, :]) <= max_distance
        for i, j in np.argwhere(near):
            if start + i < j:
                pairs.append((int(start + i), int(j)))
    return pairs


def group_numbers(pictures: Sequence[Picture], root: Path) -> tuple[list[int], str]:
    """A group number for each picture, and the source of the groups in words.

    The groups come from the column `near_dup_group` of `root/manifest.csv` where there is one, else from the perceptual
    hash. Pictures of equal content are in one group either way.

    Raises:
        UserError: the manifest can't be read, or has the column but names none of the pictures.
    """
    links = _manifest_links(pictures, root)
    source = "manifest.csv"
    if links is None:
        links, source = near_duplicate_pairs(pictures), f"perceptual hash, distance <= {MAX_DISTANCE} of 64"
    links = links + _link_equal([picture.sha256 for picture in pictures])
    size = len(pictures)
    rows, columns = [i for i, _ in links], [j for _, j in links]
    graph = coo_matrix((np.ones(len(links)), (rows, columns)), shape=(size, size))
    return connected_components(graph, directed=False)[1].tolist(), source


def _link_equal(values: Sequence[str]) -> list[tuple[int, int]]:
    """Index pairs that link each value to the first equal one; empty values have no links."""
    first: dict[str, int] = {}
    return [(first[value], i) for i, value in enumerate(values) if value and first.setdefault(value, i) != i]


def _manifest_links(pictures: Sequence[Picture], root: Path) -> list[tuple[int, int]] | None:
    path = root / "manifest.csv"
    if not path.is_file():
        return None
    try:
        with path.open(newline="", encoding="utf-8-sig") as handle:
            rows = list(csv.DictReader(handle))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path}: can't be read ({error}); mend it or take it out of the folder") from error
    if not rows or not {"class", "file", "near_dup_group"} <= rows[0].keys():
        return None
    groups = {
        PictureFile(f"{row['class']}/{row['file']}", str(row["class"])).key: row["near_dup_group"] or "" for row in rows
    }
    if pictures and not any(picture.file in groups or picture.key in groups for picture in pictures):
        raise UserError(
            f"{path}: names none of the pictures here (columns class and file); mend it or take it out of the folder"
        )
    by_file = [groups.get(picture.file, groups.get(picture.key, "")) for picture in pictures]
    return _link_equal(by_file)
