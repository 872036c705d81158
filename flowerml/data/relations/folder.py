"""A folder of pictures with relation annotations: find the file, check every picture once, keep the usable pairs."""

import hashlib
import re
import warnings
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from flowerml.data.decode import BadImage, decode, read_bytes
from flowerml.data.folders.finder import PictureFinder
from flowerml.data.relations.formats import read_annotations
from flowerml.data.relations.parser import Annotations
from flowerml.data.relations.records import RELATIONS, Box, Pair
from flowerml.data.relations.vocabulary import Vocabulary, load_vocabulary
from flowerml.data.relations.vrd import find_vrd_files
from flowerml.data.scan import BadFile, bad_file_lines
from flowerml.errors import UserError
from flowerml.process.threads import usable_cores
from flowerml.progress_bar import track

_BOX = r"\[(?P<{}>[\d.e+-]+(?: [\d.e+-]+){{3}})\]"
_PAIR_ID = re.compile(
    rf"(?P<image>.*) {_BOX.format('subject')} (?:{'|'.join(RELATIONS)}) {_BOX.format('other')}(?: \(\d+\))?",
    re.DOTALL,
)
_OTHER_FORMATS = ("relationships.json", "sg_*annotations.json", "*.csv")


@dataclass(frozen=True)
class PairFolder:
    """Usable pairs of `classes` in pictures under `root`.

    `ids` has one id per pair, `sha256` (hex) and `paths` (the file) one entry per picture; `bad` are the pictures and
    pairs left out.
    """

    root: Path
    classes: tuple[str, ...]
    pairs: tuple[Pair, ...]
    ids: tuple[str, ...]
    sha256: Mapping[str, str]
    annotations: Annotations
    bad: tuple[BadFile, ...]
    paths: Mapping[str, Path]

    @property
    def digest(self) -> str:
        """sha256 (hex) over every pair's id and its picture's content, ordered by id: equal on every machine."""
        lines = sorted(f"{name}\t{self.sha256[pair.image]}" for name, pair in zip(self.ids, self.pairs, strict=True))
        return hashlib.sha256("\n".join(lines).encode("utf-8", "surrogateescape")).hexdigest()

    def counts(self) -> dict[str, int]:
        """Pairs per class, in label order."""
        counted = Counter(pair.relation for pair in self.pairs)
        return {name: counted[name] for name in self.classes}


def read_pair_folder(root: Path, annotations: Path | None, wording: str, classes: Sequence[str] | None) -> PairFolder:
    """Read annotations (None: those found in `root`) and every picture they name.

    `wording` is exact, synonyms, or the path of a table of names; `classes` None means all ten relations.

    Raises:
        UserError: no annotation file, several, or an unreadable one; a class that is no relation.
    """
    parsed = read_annotations(
        find_annotation_file(root) if annotations is None else annotations, load_relation_names(wording)
    )
    relations = tuple(RELATIONS if classes is None else (name for name in RELATIONS if name in classes))
    unknown = sorted({*(classes or ())} - {*RELATIONS})
    if unknown:
        raise UserError(f"--classes: {unknown[0]!r} is none of the relations. Allowed: {', '.join(RELATIONS)}")
    pairs = [pair for pair in parsed.pairs if pair.relation in relations]
    sha256, paths, bad = _read_pictures(root, pairs)
    pairs = [pair for pair in pairs if pair.image in sha256]
    left_out = [BadFile(*problem.partition(": ")[::2]) for problem in parsed.problems]
    return PairFolder(root, relations, tuple(pairs), tuple(pair_ids(pairs)), sha256, parsed, (*bad, *left_out), paths)


def find_annotation_file(root: Path) -> Path:
    """The one annotation file in a folder.

    Raises:
        UserError: there is none, or more than one, or no such folder.
    """
    if not root.is_dir():
        raise UserError(f"{root}: no such folder of pictures")
    found = find_vrd_files(root)
    for pattern in _OTHER_FORMATS:
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


def load_relation_names(wording: str) -> Mapping[str, str]:
    """Relation by text, from the packaged table (exact or synonyms) or from the file `wording`. Raises UserError."""
    if wording in tuple(Vocabulary):
        return load_vocabulary(Vocabulary(wording))
    return load_vocabulary(Vocabulary.SYNONYMS, Path(wording))


def require_pairs(folder: PairFolder, bad_images: str | None) -> None:
    """Raise on unusable pictures unless `bad_images` is "skip", and always where a class has no pair left.

    `bad_images` None means "stop", for commands without that flag. Pairs with invalid boxes are left out and listed
    without an error.

    Raises:
        UserError: lists the unusable pictures by path and reason.
    """
    problems = {*folder.annotations.problems}
    pictures = [bad for bad in folder.bad if f"{bad.file}: {bad.reason}" not in problems]
    if pictures and bad_images != "skip":
        skip_hint = "" if bad_images is None else ", or go on without them: --bad-images skip"
        raise UserError(
            f"{len(pictures)} annotated pictures can't be used (mend them{skip_hint}):", bad_file_lines(pictures)
        )
    empty = [name for name, count in folder.counts().items() if count == 0]
    if empty:
        rest = ",".join(name for name in folder.classes if name not in empty)
        hint = f"leave it out with --classes {rest!r}" if rest else "look at the folder and its annotations"
        raise UserError(
            f"{folder.annotations.source}: no usable pair of {', '.join(empty)}: {hint}", bad_file_lines(pictures[:5])
        )


def pair_ids(pairs: Sequence[Pair]) -> list[str]:
    """A unique id per pair: picture, subject box, relation, object box, and a number for repeats."""
    seen: Counter[str] = Counter()
    ids = []
    for pair in pairs:
        boxes = [f"[{box.x0:g} {box.y0:g} {box.x1:g} {box.y1:g}]" for box in (pair.subject, pair.object)]
        name = f"{pair.image} {boxes[0]} {pair.relation} {boxes[1]}"
        seen[name] += 1
        ids.append(name if seen[name] == 1 else f"{name} ({seen[name]})")
    return ids


def parse_pair_id(name: str) -> tuple[str, Box, Box] | None:
    """Picture, subject box and object box from an id of `pair_ids` (to six digits); None for any other text."""
    found = _PAIR_ID.fullmatch(name)
    if found is None:
        return None
    subject, other = (Box(*map(float, found[side].split())) for side in ("subject", "other"))
    return found["image"], subject, other


def _read_pictures(root: Path, pairs: Sequence[Pair]) -> tuple[dict[str, str], dict[str, Path], list[BadFile]]:
    """sha256 and file by usable picture, and the unusable ones with the reason."""
    sizes = {pair.image: (pair.width, pair.height) for pair in pairs}
    found = _find_pictures(root, sizes)
    # Warning filters are process-wide: set here once, not in the threads.
    with warnings.catch_warnings(), ThreadPoolExecutor(max_workers=min(16, usable_cores())) as pool:
        warnings.simplefilter("ignore")
        checked = pool.map(lambda image: _read_annotated(image, found[image], sizes[image]), sizes)
        results = dict(zip(sizes, track(checked, "reading pictures", total=len(sizes)), strict=True))
    digests = {image: result for image, result in results.items() if isinstance(result, str)}
    paths = {image: path for image, path in found.items() if image in digests and isinstance(path, Path)}
    return digests, paths, [result for result in results.values() if isinstance(result, BadFile)]


def _find_pictures(root: Path, images: Iterable[str]) -> dict[str, Path | BadFile]:
    finder = PictureFinder(root)
    found: dict[str, Path | BadFile] = {}
    for image in images:
        try:
            found[image] = finder.path(image)
        except BadImage as error:
            found[image] = BadFile(image, str(error))
    return found


def _read_annotated(image: str, found: Path | BadFile, size: tuple[int, int]) -> str | BadFile:
    """The picture's sha256, or why it can't be used: unreadable, or not of the annotated size (width, height)."""
    if isinstance(found, BadFile):
        return found
    try:
        image.encode()
        data = read_bytes(found)
        stored = decode(data, upright=False).size
    except UnicodeEncodeError:
        return BadFile(image, "the file name is not valid UTF-8: rename it")
    except (BadImage, ValueError) as error:
        return BadFile(image, str(error))
    if stored != size:
        return BadFile(
            image, f"{stored[0]}x{stored[1]} pixels, annotated as {size[0]}x{size[1]}: the boxes are of another picture"
        )
    return hashlib.sha256(data).hexdigest()
