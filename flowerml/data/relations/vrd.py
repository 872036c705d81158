"""Annotations in the form of Stanford's Visual Relationship Detection set (Lu et al., ECCV 2016), read and written.

`annotations_<part>.json` (or `annotations.json`): `{image: [{"predicate": i, "subject": {"category": c, "bbox": [y0,
y1, x0, x1]}, "object": {...}}]}`, with the names in `predicates.json` and `objects.json` and the sizes in
`<part>_image_metadata.json` (or `image_metadata.json`): `{image: {"width", "height"}}`, all in one folder. The trap: y
stands before x.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from flowerml.data.relations.parser import AnnotationCollector, Annotations, Entry, read_json
from flowerml.data.relations.records import RELATIONS, Box, Pair
from flowerml.errors import UserError
from flowerml.files import write_json

_START = "annotations"


def read_vrd(path: Path, names: Mapping[str, str]) -> Annotations:
    """The pairs of an annotations file whose name begins with `annotations`; predicates, objects and sizes lie beside
    it.

    Raises:
        UserError: a file is missing or is not of this form; no pair is left.
    """
    part = path.stem.removeprefix(_START).strip("_")
    beside = {
        "predicates": path.with_name("predicates.json"),
        "objects": path.with_name("objects.json"),
        "sizes": path.with_name(f"{part}_image_metadata.json" if part else "image_metadata.json"),
    }
    predicates, objects = (_words(beside[name]) for name in ("predicates", "objects"))
    sizes = {name: entry.size() for name, entry in Entry(read_json(beside["sizes"]), str(beside["sizes"])).named()}
    gathering = AnnotationCollector(str(path), names)
    for image, entries in Entry(read_json(path), str(path)).named():
        gathering.image(image)
        size, remark = _size(image, sizes, beside["sizes"])
        if remark is not None:
            gathering.remarks.append(remark)
        for entry in entries.items():
            relation = gathering.relation(entry.get("predicate").one_of(predicates, "predicates"))
            subject, other = entry.get("subject"), entry.get("object")
            categories = [side.get("category").one_of(objects, "objects") for side in (subject, other)]
            boxes = _box(subject.get("bbox")), _box(other.get("bbox"))
            if relation is not None:
                gathering.pair(image, size, relation, boxes, categories)
    return gathering.done()


def write_vrd(folder: Path, part: str, pairs: Sequence[Pair]) -> None:
    """Write pairs in this form into `folder`: annotations, predicates, objects and sizes. The opposite of `read_vrd`.
    Raises UserError.

    Box edges are rounded to whole pixels, as the form has them; a pair without categories gets `object`.
    """
    objects = sorted(
        {category or "object" for pair in pairs for category in (pair.subject_category, pair.object_category)}
    )
    entries: dict[str, list[dict[str, Any]]] = {}
    for pair in pairs:
        sides = {
            role: {
                "category": objects.index(category or "object"),
                "bbox": [round(edge) for edge in (box.y0, box.y1, box.x0, box.x1)],
            }
            for role, box, category in (
                ("subject", pair.subject, pair.subject_category),
                ("object", pair.object, pair.object_category),
            )
        }
        entries.setdefault(pair.image, []).append({"predicate": pair.label, **sides})
    write_json(folder / f"{_START}_{part}.json", entries)
    write_json(folder / "predicates.json", list(RELATIONS))
    write_json(folder / "objects.json", objects)
    write_json(
        folder / f"{part}_image_metadata.json",
        {pair.image: {"width": pair.width, "height": pair.height} for pair in pairs},
    )


def _words(path: Path) -> list[str]:
    return [entry.text() for entry in Entry(read_json(path), str(path)).items()]


def _box(entry: Entry) -> Box:
    numbers = [part.number() for part in entry.items()]
    if len(numbers) != 4:
        raise entry.wrong("a box [top, bottom, left, right]")
    y0, y1, x0, x1 = numbers
    return Box(x0, y0, x1, y1)


def _size(image: str, sizes: Mapping[str, tuple[int, int]], place: Path) -> tuple[tuple[int, int] | None, str | None]:
    """The image's size, and a remark where it is not simply there.

    One image of the published files is keyed with another suffix there; an entry that is alone in having this stem is
    the image's own.
    """
    if image in sizes:
        return sizes[image], None
    alike = [name for name in sizes if Path(name).stem == Path(image).stem]
    if len(alike) == 1:
        return sizes[alike[0]], f"{image}: its size stands under {alike[0]} in {place.name}"
    return None, None


def find_annotations(folder: Path) -> list[Path]:
    """The annotation files of a folder in this form, sorted; empty where it is not in this form. Raises UserError."""
    try:
        if not (folder / "predicates.json").is_file():
            return []
        return sorted(folder.glob(f"{_START}*.json"))
    except OSError as error:
        raise UserError(f"{folder}: {error.strerror or error}") from error
