"""Read and write annotations in the format of the Visual Relationship Detection data set (Lu et al., ECCV 2016).

`annotations_<part>.json` (or `annotations.json`): `{image: [{"predicate": i, "subject": {"category": c, "bbox": [y0,
y1, x0, x1]}, "object": {...}}]}`, with the names in `predicates.json` and `objects.json` and the sizes in
`<part>_image_metadata.json` (or `image_metadata.json`): `{image: {"width", "height"}}`, all in one folder. In a bbox y
comes before x.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from flowerml.data.relations.parser import AnnotationCollector, Annotations, JsonNode, read_json
from flowerml.data.relations.records import RELATIONS, Box, Pair
from flowerml.errors import UserError
from flowerml.files import write_json

_PREFIX = "annotations"


def read_vrd(path: Path, names: Mapping[str, str]) -> Annotations:
    """Read `annotations*.json`; predicates, objects and sizes are in files beside it.

    Raises:
        UserError: a file is missing or is not in this format; no pair is left.
    """
    part = path.stem.removeprefix(_PREFIX).strip("_")
    beside = {
        "predicates": path.with_name("predicates.json"),
        "objects": path.with_name("objects.json"),
        "sizes": path.with_name(f"{part}_image_metadata.json" if part else "image_metadata.json"),
    }
    predicates, objects = (_read_name_list(beside[name]) for name in ("predicates", "objects"))
    sizes = {
        name: entry.as_size() for name, entry in JsonNode(read_json(beside["sizes"]), str(beside["sizes"])).members()
    }
    collector = AnnotationCollector(str(path), names)
    for image, entries in JsonNode(read_json(path), str(path)).members():
        collector.add_image(image)
        size, note = _image_size(image, sizes, beside["sizes"])
        if note is not None:
            collector.notes.append(note)
        for entry in entries.items():
            relation = collector.find_relation(entry.get("predicate").as_item_of(predicates, "predicates"))
            subject, other = entry.get("subject"), entry.get("object")
            categories = [side.get("category").as_item_of(objects, "objects") for side in (subject, other)]
            boxes = _read_box(subject.get("bbox")), _read_box(other.get("bbox"))
            if relation is not None:
                collector.add_pair(image, size, relation, boxes, categories)
    return collector.finish()


def write_vrd(folder: Path, part: str, pairs: Sequence[Pair]) -> None:
    """Write pairs into `folder` as annotations, predicates, objects and sizes, which `read_vrd` reads.

    Box edges are rounded to whole pixels, as the format requires; the category of a pair without one is `object`.

    Raises:
        UserError: a file can't be written.
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
    write_json(folder / f"{_PREFIX}_{part}.json", entries)
    write_json(folder / "predicates.json", list(RELATIONS))
    write_json(folder / "objects.json", objects)
    write_json(
        folder / f"{part}_image_metadata.json",
        {pair.image: {"width": pair.width, "height": pair.height} for pair in pairs},
    )


def _read_name_list(path: Path) -> list[str]:
    return [entry.as_str() for entry in JsonNode(read_json(path), str(path)).items()]


def _read_box(entry: JsonNode) -> Box:
    numbers = [part.as_float() for part in entry.items()]
    if len(numbers) != 4:
        raise entry.error("a box [top, bottom, left, right]")
    y0, y1, x0, x1 = numbers
    return Box(x0, y0, x1, y1)


def _image_size(
    image: str, sizes: Mapping[str, tuple[int, int]], source: Path
) -> tuple[tuple[int, int] | None, str | None]:
    """The image's (width, height), and a note where it is listed under another name.

    The published files list one image with another suffix; the only entry with the same stem is taken for it.
    """
    if image in sizes:
        return sizes[image], None
    same_stem = [name for name in sizes if Path(name).stem == Path(image).stem]
    if len(same_stem) == 1:
        return sizes[same_stem[0]], f"{image}: its size stands under {same_stem[0]} in {source.name}"
    return None, None


def find_vrd_files(folder: Path) -> list[Path]:
    """The annotation files of a folder in VRD's format, sorted; empty for other folders. Raises UserError."""
    try:
        if not (folder / "predicates.json").is_file():
            return []
        return sorted(folder.glob(f"{_PREFIX}*.json"))
    except OSError as error:
        raise UserError(f"{folder}: {error.strerror or error}") from error
