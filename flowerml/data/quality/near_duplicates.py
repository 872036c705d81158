"""Near-duplicate groups: pictures that are one photo or an edit of it, and so must stay on one side of a split.

Kept instead of imagededup and fastdup (large dependencies that read every picture again) because imagehash, which only
computes the hashes, leaves a page of numpy to compare them, on the scan's cached values.
"""

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from flowerml.data.quality.hash_index import Indices, Pairs, near_pairs
from flowerml.data.scan import Picture
from flowerml.data.table import parse_table
from flowerml.errors import UserError
from flowerml.text import nfc

MAX_DISTANCE = 4  # of 64 bits: edits of one photo are within it, different photos of one flower are not
MIN_CONTRAST = 2.0  # grey levels (of 255): below it a picture is of one colour, and its hash is that of any other
MAX_COLOUR_DIFFERENCE = 0.12  # of the colours' level, across classes: JPEG, size, brightness and crops stay below it
_BLOCK = 1 << 18  # pairs whose colours are compared at a time: some 100 MB


def near_duplicate_links(pictures: Sequence[Picture], max_distance: int = MAX_DISTANCE) -> Pairs:
    """Index pairs (links, 2), i < j and sorted, that join pictures whose perceptual hashes differ in at most
    `max_distance` of 64 bits: all such pairs, but of the pictures of one class with one hash a chain.

    The hash is of grey levels. Pictures without contrast are near none, as their hash has no content. In different
    classes the colours must be alike too, since they may be what tells the classes apart; in one class a recoloured
    copy is still a copy.
    """
    used = [at for at, picture in enumerate(pictures) if picture.contrast is None or picture.contrast >= MIN_CONTRAST]
    hashes, of_hash = np.unique(np.array([pictures[at].phash for at in used], np.uint64), return_inverse=True)
    labels = np.unique(np.array([pictures[at].label for at in used], np.str_), return_inverse=True)[1]
    order = np.lexsort((labels, of_hash))  # stable: pictures of one hash side by side, in them those of one class
    index, labels, of_hash = np.array(used, np.int64)[order], labels[order], of_hash[order]
    is_chained = (of_hash[1:] == of_hash[:-1]) & (labels[1:] == labels[:-1])
    links = [np.column_stack([index[:-1][is_chained], index[1:][is_chained]])]
    counts = np.bincount(of_hash, minlength=len(hashes))
    equal = np.flatnonzero(counts > 1)
    groups = np.concatenate([near_pairs(hashes, max_distance), np.column_stack([equal, equal])])
    for i, j in _members(groups, np.cumsum(counts) - counts, counts):
        is_new = (i < j) & ((of_hash[i] != of_hash[j]) | (labels[i] != labels[j]))
        i, j = i[is_new], j[is_new]
        across = labels[i] != labels[j]
        kept = ~across
        kept[across] = _are_colours_alike(pictures, index[i[across]], index[j[across]])
        links.append(np.column_stack([index[i[kept]], index[j[kept]]]))
    return np.unique(np.sort(np.concatenate(links), axis=1), axis=0)


def _members(groups: Pairs, starts: Indices, counts: Indices) -> Iterator[tuple[Indices, Indices]]:
    """For each pair of groups all pairs of their members, in blocks; a group is `counts` members from `starts` on."""
    are_single = counts[groups].max(axis=1, initial=1) == 1
    for first, second in np.array_split(starts[groups[are_single]].T, 1 + are_single.sum() // _BLOCK, axis=1):
        yield first, second
    for first, second in groups[~are_single]:
        columns = np.arange(starts[second], starts[second] + counts[second])
        height = max(1, _BLOCK // len(columns))
        for start in range(0, int(counts[first]), height):
            rows = starts[first] + np.arange(start, min(start + height, counts[first]))
            yield np.repeat(rows, len(columns)), np.tile(columns, len(rows))


def _are_colours_alike(pictures: Sequence[Picture], i: Indices, j: Indices) -> NDArray[np.bool_]:
    """Whether the colours of the pictures `i` (n,) are those of `j` (n,); yes where they are not known."""
    colours = [(pictures[one].colours, pictures[other].colours) for one, other in zip(i, j, strict=True)]
    known = [at for at, (one, other) in enumerate(colours) if one is not None and other is not None]
    alike = np.ones(len(i), bool)
    if known:
        content = bytes.fromhex("".join(f"{colours[at][0]}{colours[at][1]}" for at in known))
        thumbnails = np.frombuffer(content, np.uint8).reshape(len(known), 2, -1)
        alike[known] = colour_differences(thumbnails[:, 0], thumbnails[:, 1]) <= MAX_COLOUR_DIFFERENCE
    return alike


def colour_differences(first: NDArray[np.uint8], second: NDArray[np.uint8]) -> NDArray[np.float64]:
    """The root-mean-square difference of thumbnails (n, values) to others (n, values), as a share of their level; (n,).

    Brightness is no difference within 0.8 to 1.25 times: each is scaled to the other, and the smaller result counts.
    """
    a, b = first.astype(np.float64), second.astype(np.float64)
    differences = []
    for one, other in ((a, b), (b, a)):
        scale = np.clip((one * other).sum(axis=1) / np.maximum((other * other).sum(axis=1), 1.0), 0.8, 1.25)
        differences.append(_root_mean_square(one - scale[:, None] * other))
    level = np.maximum(np.maximum(_root_mean_square(a), _root_mean_square(b)), 1.0)
    return np.minimum(*differences) / level


def _root_mean_square(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.sqrt(np.mean(values * values, axis=1))


def group_numbers(pictures: Sequence[Picture], root: Path) -> tuple[list[int], str]:
    """A group number for each picture, and the source of the groups in words.

    The groups come from the column `near_dup_group` of `root/manifest.csv` (of the folder of a list, where `root` is
    one) where there is one, else from the perceptual hash. Pictures of equal content are in one group either way.

    Raises:
        UserError: the manifest can't be read, or has the column but names none of the pictures.
    """
    links = _manifest_links(pictures, root)
    source = "manifest.csv"
    if links is None:
        links, source = near_duplicate_links(pictures), f"perceptual hash, distance <= {MAX_DISTANCE} of 64"
    links = np.concatenate([links, _link_equal([picture.sha256 for picture in pictures])])
    return _components(links, len(pictures)), source


def _components(links: Pairs, size: int) -> list[int]:
    """The number of the connected component of each of `size` pictures, from 0 in the order of their first ones."""
    if not len(links):
        return list(range(size))
    from scipy.sparse import coo_matrix  # a third of a second, which a set without near-duplicates does not need
    from scipy.sparse.csgraph import connected_components

    graph = coo_matrix((np.ones(len(links)), (links[:, 0], links[:, 1])), shape=(size, size))
    return connected_components(graph, directed=False)[1].tolist()


def _link_equal(values: Sequence[str]) -> Pairs:
    """Index pairs (links, 2) that link each value to the first equal one; empty values have no links."""
    first: dict[str, int] = {}
    links = [(first[value], i) for i, value in enumerate(values) if value and first.setdefault(value, i) != i]
    return np.array(links, np.int64).reshape(-1, 2)


def _manifest_links(pictures: Sequence[Picture], root: Path) -> Pairs | None:
    path = (root if root.is_dir() else root.parent) / "manifest.csv"
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
