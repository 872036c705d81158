"""A folder of pictures with annotations beside them: which file they are in, what of it can be used, each picture read
once.
"""

import hashlib
import os
import re
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from flowerml.data.decode import BadImage, decode, read_bytes
from flowerml.data.relations.formats import read_annotations
from flowerml.data.relations.parser import Annotations
from flowerml.data.relations.records import RELATIONS, Box, Pair
from flowerml.data.relations.vocabulary import Vocabulary, load_vocabulary
from flowerml.data.relations.vrd import find_annotations
from flowerml.data.scan import BadFile, list_bad
from flowerml.errors import UserError
from flowerml.progress_bar import track

_EDGES = r"\[(?P<{}>[\d.e+-]+(?: [\d.e+-]+){{3}})\]"
_ID = re.compile(
    rf"(?P<image>.*) {_EDGES.format('subject')} (?:{'|'.join(RELATIONS)}) {_EDGES.format('other')}(?: \(\d+\))?",
    re.DOTALL,
)
_OTHER_FORMS = ("relationships.json", "sg_*annotations.json", "*.csv")


@dataclass(frozen=True)
class PairFolder:
    """Pairs of `classes` with readable pictures under `root`, an id for each, every picture's sha256 (hex); what is
    left out, and why.
    """

    root: Path
    classes: tuple[str, ...]
    pairs: tuple[Pair, ...]
    ids: tuple[str, ...]
    sha256: Mapping[str, str]
    annotations: Annotations
    bad: tuple[BadFile, ...]

    @property
    def digest(self) -> str:
        """sha256 (hex) over every pair's id and its picture's content, in the order of the ids: the same on every
        machine.
        """
        lines = sorted(f"{name}\t{self.sha256[pair.image]}" for name, pair in zip(self.ids, self.pairs, strict=True))
        return hashlib.sha256("\n".join(lines).encode("utf-8", "surrogateescape")).hexdigest()

    def counts(self) -> dict[str, int]:
        """Pairs per class, in label order."""
        counted = Counter(pair.relation for pair in self.pairs)
        return {name: counted[name] for name in self.classes}


def read_pair_folder(root: Path, annotations: Path | None, wording: str, classes: Sequence[str] | None) -> PairFolder:
    """Read annotations (None: those found in `root`) and every picture they name.

    `wording` is exact, synonyms, or the path of a table of names; `classes` None are the ten relations.

    Raises:
        UserError: no annotations, several, or none that can be read; a class that is no relation or has no pair.
    """
    read = read_annotations(find_file(root) if annotations is None else annotations, names_of(wording))
    wanted = tuple(RELATIONS if classes is None else (name for name in RELATIONS if name in classes))
    unknown = sorted({*(classes or ())} - {*RELATIONS})
    if unknown:
        raise UserError(f"--classes: {unknown[0]!r} is none of the relations. Allowed: {', '.join(RELATIONS)}")
    pairs = [pair for pair in read.pairs if pair.relation in wanted]
    sha256, bad = _look_at_all(root, pairs)
    pairs = [pair for pair in pairs if pair.image in sha256]
    left_out = [BadFile(*problem.partition(": ")[::2]) for problem in read.problems]
    return PairFolder(root, wanted, tuple(pairs), tuple(ids_of(pairs)), sha256, read, (*bad, *left_out))


def find_file(root: Path) -> Path:
    """The one file of annotations in a folder.

    Raises:
        UserError: there is none, or more than one, or no such folder.
    """
    if not root.is_dir():
        raise UserError(f"{root}: no such folder of pictures")
    found = find_annotations(root)
    for pattern in _OTHER_FORMS:
        found = found or sorted(root.glob(pattern))
    if len(found) != 1:
        what = (
            "no annotations"
            if not found
            else f"several files of annotations ({', '.join(path.name for path in found[:5])})"
        )
        raise UserError(
            f"{root}: {what}: name one with --annotations PATH (VRD's annotations_*.json, Visual Genome's"
            " relationships.json, scene graphs, or a .csv)"
        )
    return found[0]


def names_of(wording: str) -> Mapping[str, str]:
    """Relation by text: the packaged table, exact or with synonyms, or a file's. Raises UserError."""
    if wording in tuple(Vocabulary):
        return load_vocabulary(Vocabulary(wording))
    return load_vocabulary(Vocabulary.SYNONYMS, Path(wording))


def require_pairs(folder: PairFolder, bad_images: str | None) -> None:
    """Stop on pictures that can't be used unless `bad_images` is "skip"; stop in any case where a class has no pair
    left.

    None is "stop" of a command without such a flag. Pairs whose boxes can't be right are no reason to stop: they are
    left out and listed.

    Raises:
        UserError: lists every bad picture by path and reason.
    """
    problems = {*folder.annotations.problems}
    pictures = [bad for bad in folder.bad if f"{bad.file}: {bad.reason}" not in problems]
    if pictures and bad_images != "skip":
        otherwise = "" if bad_images is None else ", or go on without them: --bad-images skip"
        raise UserError(f"{len(pictures)} annotated pictures can't be used (mend them{otherwise}):", list_bad(pictures))
    empty = [name for name, count in folder.counts().items() if count == 0]
    if empty:
        rest = ",".join(name for name in folder.classes if name not in empty)
        hint = f"leave it out with --classes {rest!r}" if rest else "look at the folder and its annotations"
        raise UserError(
            f"{folder.annotations.source}: no usable pair of {', '.join(empty)}: {hint}", list_bad(pictures[:5])
        )


def ids_of(pairs: Sequence[Pair]) -> list[str]:
    """A name for each pair that says which it is: picture, subject's edges, relation, object's edges; a repeat has its
    number behind it.
    """
    seen: Counter[str] = Counter()
    names = []
    for pair in pairs:
        sides = [f"[{box.x0:g} {box.y0:g} {box.x1:g} {box.y1:g}]" for box in (pair.subject, pair.object)]
        name = f"{pair.image} {sides[0]} {pair.relation} {sides[1]}"
        seen[name] += 1
        names.append(name if seen[name] == 1 else f"{name} ({seen[name]})")
    return names


def read_id(name: str) -> tuple[str, Box, Box] | None:
    """Picture, subject's and object's box from a name that `ids_of` gave (to six digits); None for any other text."""
    found = _ID.fullmatch(name)
    if found is None:
        return None
    subject, other = (Box(*map(float, found[side].split())) for side in ("subject", "other"))
    return found["image"], subject, other


def _look_at_all(root: Path, pairs: Sequence[Pair]) -> tuple[dict[str, str], list[BadFile]]:
    """sha256 of each usable picture, and the others with the reason."""
    sizes = {pair.image: (pair.width, pair.height) for pair in pairs}
    # Filters belong to the process, so they are set here, once, and not in the threads.
    with warnings.catch_warnings(), ThreadPoolExecutor(max_workers=min(16, os.cpu_count() or 1)) as pool:
        warnings.simplefilter("ignore")
        looked = pool.map(lambda image: _look(root, image, sizes[image]), sizes)
        results = dict(zip(sizes, track(looked, "reading pictures", total=len(sizes)), strict=True))
    good = {image: found for image, found in results.items() if isinstance(found, str)}
    return good, [found for found in results.values() if isinstance(found, BadFile)]


def _look(root: Path, image: str, size: tuple[int, int]) -> str | BadFile:
    try:
        image.encode()
        data = read_bytes(root / image)
        found = decode(data, upright=False).size
    except UnicodeEncodeError:
        return BadFile(image, "the file name is not valid UTF-8: rename it")
    except (BadImage, ValueError) as error:
        return BadFile(image, str(error))
    if found != size:
        return BadFile(
            image, f"{found[0]}x{found[1]} pixels, annotated as {size[0]}x{size[1]}: the boxes are of another picture"
        )
    return hashlib.sha256(data).hexdigest()
