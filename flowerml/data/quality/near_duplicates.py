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

from flowerml.data.scan import Picture
from flowerml.data.table import parse_table
from flowerml.errors import UserError
from flowerml.text import nfc

MAX_DISTANCE = 4  # of 64 bits: edits of one photo are within it, different photos of one flower are not
MIN_CONTRAST = 2.0  # grey levels (of 255): below it a picture is of one colour, and its hash is that of any other
MAX_COLOUR_DIFFERENCE = 0.12  # of the colours' level, across classes: JPEG, size, brightness and crops stay below it
_BLOCK = 512  # rows compared at a time: 512 x 10,000 distances take 5 MB


def near_duplicate_pairs(pictures: Sequence[Picture], max_distance: int = MAX_DISTANCE) -> list[tuple[int, int]]:
    """Index pairs (i < j) whose perceptual hashes differ in at most `max_distance` of 64 bits.

    The hash is of grey levels. Pictures without contrast are near none, as their hash has no content. In different
    classes the colours must be alike too, since they may be what tells the classes apart; in one class a recoloured
    copy is still a copy.
    """
    hashes = np.array([picture.phash for picture in pictures], dtype=np.uint64)
    has_content = np.array([picture.contrast is None or picture.contrast >= MIN_CONTRAST for picture in pictures], bool)
    pairs: list[tuple[int, int]] = []
    for start in range(0, len(hashes), _BLOCK):
        rows = slice(start, start + _BLOCK)
        near = np.bitwise_count(hashes[rows, None] ^ hashes[None, :]) <= max_distance
        for i, j in np.argwhere(near & has_content[rows, None] & has_content[None, :]):
            if start + i < j and _may_be_one_photo(pictures[start + i], pictures[j]):
                pairs.append((int(start + i), int(j)))
    return pairs


def _may_be_one_photo(first: Picture, second: Picture) -> bool:
    if first.label == second.label or first.colours is None or second.colours is None:
        return True
    return colour_difference(bytes.fromhex(first.colours), bytes.fromhex(second.colours)) <= MAX_COLOUR_DIFFERENCE


def colour_difference(first: bytes, second: bytes) -> float:
    """The root-mean-square difference of two thumbnails (RGB bytes of equal length) as a share of their level.

    Brightness is no difference within 0.8 to 1.25 times: each is scaled to the other, and the smaller result counts.
    """
    a, b = (np.frombuffer(colours, np.uint8).astype(np.float64) for colours in (first, second))
    differences = []
    for one, other in ((a, b), (b, a)):
        scale = np.clip(one @ other / max(float(other @ other), 1.0), 0.8, 1.25)
        differences.append(_root_mean_square(one - scale * other))
    return min(differences) / max(_root_mean_square(a), _root_mean_square(b), 1.0)


def _root_mean_square(values: np.ndarray) -> float:
    return float(np.sqrt(np.mean(values * values)))


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
        rows = parse_table(path.read_bytes().decode("utf-8-sig")).rows
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path}: can't be read ({error}); mend it or take it out of the folder") from error
    if not rows or not {"class", "file", "near_dup_group"} <= rows[0].keys():
        return None
    groups = {nfc(f"{row['class']}/{row['file']}"): row["near_dup_group"] or "" for row in rows}
    if pictures and not any(nfc(picture.file) in groups or picture.key in groups for picture in pictures):
        raise UserError(
            f"{path}: names none of the pictures here (columns class and file); mend it or take it out of the folder"
        )
    by_file = [groups.get(nfc(picture.file), groups.get(picture.key, "")) for picture in pictures]
    return _link_equal(by_file)
