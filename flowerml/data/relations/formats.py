"""The other forms of annotations: Visual Genome, scene graphs, a plain table; and the choice of the reader by what a
file holds.
"""

import csv
import io
import math
from collections.abc import Callable, Mapping
from pathlib import Path

from flowerml.data.relations.image_sizes import size_on_disk
from flowerml.data.relations.parser import AnnotationCollector, Annotations, Entry, read_json
from flowerml.data.relations.records import Box
from flowerml.data.relations.vrd import read_vrd
from flowerml.errors import UserError

_SIDES = ("subject", "object")
_BOX_COLUMNS = tuple(f"{side}_{edge}" for side in _SIDES for edge in ("x0", "y0", "x1", "y1"))
COLUMNS = ("image", *_BOX_COLUMNS, "relation")
"""The columns a table must have; width, height, subject and object (names) may be there too."""


def read_annotations(path: Path, names: Mapping[str, str]) -> Annotations:
    """Read a file in whichever of the four forms it is: by its suffix, then by what the first entry holds.

    Raises:
        UserError: the file is in none of the forms, can't be read, or holds no pair.
    """
    if path.suffix.lower() == ".csv":
        return read_csv(path, names, size_on_disk(path.parent))
    value = read_json(path)
    if isinstance(value, dict):
        return read_vrd(path, names)
    first = value[0] if isinstance(value, list) and value else None
    if isinstance(first, dict) and "objects" in first and "relationships" in first:
        return read_scene_graphs(path, names)
    if isinstance(first, dict) and "relationships" in first:
        return read_visual_genome(path, names)
    raise UserError(
        f"{path}: none of the four forms (VRD's annotations_*.json, Visual Genome's relationships.json, a list of scene"
        f" graphs with objects and relationships, a .csv with the columns {','.join(COLUMNS)})"
    )


def read_visual_genome(path: Path, names: Mapping[str, str]) -> Annotations:
    """Visual Genome's `relationships.json` (Krishna et al., IJCV 2017), the images' sizes in `image_data.json` beside
    it.

    `[{"image_id": 1, "relationships": [{"predicate": "ON", "subject": {"name", "x", "y", "w", "h"}, "object":
    {...}}]}]`; x and y are the box's left and top edge. A side's name may also be a list `names`. An image is named
    `<image_id>.jpg`, as the set's own files are.

    Raises:
        UserError: a file is missing or is not of this form; no pair is left.
    """
    sizes_path = path.with_name("image_data.json")
    sizes: dict[int, tuple[int, int]] = {}
    for entry in Entry(read_json(sizes_path), str(sizes_path)).items():
        sizes[entry.get("image_id" if entry.has("image_id") else "id").whole()] = entry.size()
    gathering = AnnotationCollector(str(path), names)
    for graph in Entry(read_json(path), str(path)).items():
        number = graph.get("image_id" if graph.has("image_id") else "id").whole()
        image = f"{number}.jpg"
        gathering.image(image)
        for entry in graph.get("relationships").items():
            relation = gathering.relation(entry.get("predicate").text()) if entry.get("predicate").value else None
            sides = [entry.get(side) for side in _SIDES]
            if relation is not None:
                boxes = sides[0].box_by_size(), sides[1].box_by_size()
                gathering.pair(image, sizes.get(number), relation, boxes, [_name(side) for side in sides])
    return gathering.done()


def read_scene_graphs(path: Path, names: Mapping[str, str]) -> Annotations:
    """Scene graphs as in Johnson et al., "Image Retrieval using Scene Graphs" (CVPR 2015): `sg_train_annotations.json`.

    `[{"photo_id", "filename", "height", "width", "objects": [{"names": [...], "bbox": {"x", "y", "w", "h"}}],
    "relationships": [{"objects": [i, j], "relationship": "on", "text": [...]}]}]`; i is the subject's place in
    `objects`, j the object's; x and y are the left and top edge.

    Raises:
        UserError: the file is missing or is not of this form; no pair is left.
    """
    gathering = AnnotationCollector(str(path), names)
    for graph in Entry(read_json(path), str(path)).items():
        image, size = graph.get("filename").text(), graph.size()
        gathering.image(image)
        objects = graph.get("objects").items()
        for entry in graph.get("relationships").items():
            relation = gathering.relation(entry.get("relationship").text())
            ends = [_place(one, len(objects)) for one in entry.get("objects").items()]
            if len(ends) != 2:
                raise entry.get("objects").wrong("a pair [subject, object] of places in objects")
            if relation is not None:
                subject, other = objects[ends[0]], objects[ends[1]]
                boxes = subject.get("bbox").box_by_size(), other.get("bbox").box_by_size()
                gathering.pair(image, size, relation, boxes, [_name(subject), _name(other)])
    return gathering.done()


def read_csv(path: Path, names: Mapping[str, str], sizes: Callable[[str], tuple[int, int] | None]) -> Annotations:
    """A table with the columns COLUMNS: image, left, top, right and bottom edge of the subject and of the object in
    pixels, relation.

    `sizes` gives an image's width and height where the table has no such columns. Columns `subject` and `object` name
    the objects.

    Raises:
        UserError: the file can't be read, a column is missing, a number is none; no pair is left.
    """
    try:
        table = csv.DictReader(io.StringIO(path.read_text(encoding="utf-8-sig")), strict=True)
        rows, header = list(table), table.fieldnames or ()
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path}: can't be read as a table ({getattr(error, 'strerror', None) or error})") from error
    missing = [name for name in COLUMNS if name not in header]
    if missing:
        raise UserError(f"{path}: no column {', '.join(missing)}; the first line must name {','.join(COLUMNS)}")
    gathering = AnnotationCollector(str(path), names)
    for line, row in enumerate(rows, start=2):
        image = row["image"]
        if not image or None in row or None in row.values():
            raise UserError(
                f"{path}, line {line}: {'no image' if not image else 'another number of fields than the first line'}"
            )
        gathering.image(image)
        x0, y0, x1, y1, *others = (_number(row, name, f"{path}, line {line}") for name in _BOX_COLUMNS)
        relation = gathering.relation(row["relation"])
        if relation is not None:
            boxes = Box(x0, y0, x1, y1), Box(*others)
            gathering.pair(
                image,
                _size(row, image, sizes, f"{path}, line {line}"),
                relation,
                boxes,
                [row.get(side) or None for side in _SIDES],
            )
    return gathering.done()


def _name(side: Entry) -> str | None:
    """An object's name: `name`, or the first of `names`; None where it has neither."""
    if side.has("names"):
        said = side.get("names").items()
        return said[0].text() if said else None
    return side.get("name").text() if side.has("name") else None


def _place(entry: Entry, count: int) -> int:
    if entry.whole("a place in objects") >= count:
        raise entry.wrong(f"a place in objects (0 to {count - 1})")
    return entry.whole()


def _number(row: Mapping[str, str], name: str, place: str) -> float:
    try:
        value = float(row[name])
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise UserError(f"{place}: {name} is {row[name]!r:.60}; a number of pixels is needed")
    return value


def _size(
    row: Mapping[str, str], image: str, sizes: Callable[[str], tuple[int, int] | None], place: str
) -> tuple[int, int] | None:
    if not row.get("width") or not row.get("height"):
        return sizes(image)
    width, height = _number(row, "width", place), _number(row, "height", place)
    if width < 1 or height < 1 or width % 1 or height % 1:
        raise UserError(
            f"{place}: width {row['width']}, height {row['height']}; whole numbers of pixels above 0 are needed"
        )
    return int(width), int(height)
