"""Annotation formats other than VRD: Visual Genome, scene graphs, CSV; and the choice of the reader by content."""

import csv
import math
from collections.abc import Callable, Mapping
from pathlib import Path

from flowerml.data.relations.image_sizes import image_size_reader
from flowerml.data.relations.parser import AnnotationCollector, Annotations, JsonNode, read_json
from flowerml.data.relations.records import Box
from flowerml.data.relations.vrd import read_vrd
from flowerml.data.table import parse_table
from flowerml.errors import UserError

_SIDES = ("subject", "object")
_BOX_COLUMNS = tuple(f"{side}_{edge}" for side in _SIDES for edge in ("x0", "y0", "x1", "y1"))
COLUMNS = ("image", *_BOX_COLUMNS, "relation")
"""The columns a table must have; width, height, subject and object (category names) are optional."""


def read_annotations(path: Path, names: Mapping[str, str]) -> Annotations:
    """Read a file in any of the four formats, told apart by its suffix, then by its first entry.

    Raises:
        UserError: the file is in none of the formats, can't be read, or has no pair.
    """
    if path.suffix.lower() == ".csv":
        return read_csv(path, names, image_size_reader(path.parent))
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
    """Read Visual Genome's `relationships.json` (Krishna et al., IJCV 2017), sizes in `image_data.json` beside it.

    `[{"image_id": 1, "relationships": [{"predicate": "ON", "subject": {"name", "x", "y", "w", "h"}, "object":
    {...}}]}]`; x and y are the box's left and top edge in pixels. A name may also be a list `names`. The image file is
    `<image_id>.jpg`, as in the data set, in the folder or in a sub-folder of it (VG_100K, VG_100K_2). A blank predicate
    is none of the relations.

    Raises:
        UserError: a file is missing or is not in this format; no pair is left.
    """
    sizes_path = path.with_name("image_data.json")
    sizes: dict[int, tuple[int, int]] = {}
    for entry in JsonNode(read_json(sizes_path), str(sizes_path)).items():
        sizes[entry.get("image_id" if entry.has("image_id") else "id").as_int()] = entry.as_size()
    collector = AnnotationCollector(str(path), names)
    for graph in JsonNode(read_json(path), str(path)).items():
        number = graph.get("image_id" if graph.has("image_id") else "id").as_int()
        image = f"{number}.jpg"
        collector.add_image(image)
        for entry in graph.get("relationships").items():
            relation = collector.find_relation(entry.get("predicate").as_optional_str())
            sides = [entry.get(side) for side in _SIDES]
            if relation is not None:
                boxes = sides[0].as_box(), sides[1].as_box()
                collector.add_pair(image, sizes.get(number), relation, boxes, [_category_name(side) for side in sides])
    return collector.finish()


def read_scene_graphs(path: Path, names: Mapping[str, str]) -> Annotations:
    """Read scene graphs, `sg_train_annotations.json` (Johnson et al., "Image Retrieval using Scene Graphs", CVPR 2015).

    `[{"photo_id", "filename", "height", "width", "objects": [{"names": [...], "bbox": {"x", "y", "w", "h"}}],
    "relationships": [{"objects": [i, j], "relationship": "on", "text": [...]}]}]`; i is the subject's index in
    `objects`, j the object's; x and y are the left and top edge in pixels.

    Raises:
        UserError: the file is missing or is not in this format; no pair is left.
    """
    collector = AnnotationCollector(str(path), names)
    for graph in JsonNode(read_json(path), str(path)).items():
        image, size = graph.get("filename").as_str(), graph.as_size()
        collector.add_image(image)
        objects = graph.get("objects").items()
        for entry in graph.get("relationships").items():
            relation = collector.find_relation(entry.get("relationship").as_optional_str())
            indices = [_object_index(index, len(objects)) for index in entry.get("objects").items()]
            if len(indices) != 2:
                raise entry.get("objects").error("a pair [subject, object] of places in objects")
            if relation is not None:
                subject, other = objects[indices[0]], objects[indices[1]]
                boxes = subject.get("bbox").as_box(), other.get("bbox").as_box()
                collector.add_pair(image, size, relation, boxes, [_category_name(subject), _category_name(other)])
    return collector.finish()


def read_csv(path: Path, names: Mapping[str, str], sizes: Callable[[str], tuple[int, int] | None]) -> Annotations:
    """Read a table with the columns COLUMNS, separated by commas, semicolons or tabs; edges in pixels, y downwards.

    Where semicolons separate, numbers may have a decimal comma.

    `sizes` gives an image's (width, height) where the table has no such columns. The optional columns `subject` and
    `object` are category names.

    Raises:
        UserError: the file can't be read, a column is missing, a value is no number; no pair is left.
    """
    try:
        table = parse_table(path.read_text(encoding="utf-8-sig"), strict=True)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path}: can't be read as a table ({getattr(error, 'strerror', None) or error})") from error
    missing = [name for name in COLUMNS if name not in table.columns]
    if missing:
        raise UserError(f"{path}: no column {', '.join(missing)}; the first line must name {','.join(COLUMNS)}")
    collector = AnnotationCollector(str(path), names)
    for line, row in enumerate(table.rows, start=2):
        image = row["image"]
        if not image or None in row or None in row.values():
            raise UserError(
                f"{path}, line {line}: {'no image' if not image else 'another number of fields than the first line'}"
            )
        if table.delimiter == ";":
            row |= {name: row[name].replace(",", ".") for name in _BOX_COLUMNS}
        collector.add_image(image)
        x0, y0, x1, y1, *others = (_pixel_value(row, name, f"{path}, line {line}") for name in _BOX_COLUMNS)
        relation = collector.find_relation(row["relation"])
        if relation is not None:
            boxes = Box(x0, y0, x1, y1), Box(*others)
            collector.add_pair(
                image,
                _row_image_size(row, image, sizes, f"{path}, line {line}"),
                relation,
                boxes,
                [row.get(side) or None for side in _SIDES],
            )
    return collector.finish()


def _category_name(side: JsonNode) -> str | None:
    """An object's name: `name`, or the first of `names`; None where it has neither."""
    if side.has("names"):
        names = side.get("names").items()
        return names[0].as_optional_str() if names else None
    return side.get("name").as_optional_str() if side.has("name") else None


def _object_index(entry: JsonNode, count: int) -> int:
    if entry.as_int("a place in objects") >= count:
        raise entry.error(f"a place in objects (0 to {count - 1})")
    return entry.as_int()


def _pixel_value(row: Mapping[str, str], name: str, location: str) -> float:
    try:
        value = float(row[name])
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise UserError(f"{location}: {name} is {row[name]!r:.60}; a number of pixels is needed")
    return value


def _row_image_size(
    row: Mapping[str, str], image: str, sizes: Callable[[str], tuple[int, int] | None], location: str
) -> tuple[int, int] | None:
    if not row.get("width") or not row.get("height"):
        return sizes(image)
    width, height = _pixel_value(row, "width", location), _pixel_value(row, "height", location)
    if width < 1 or height < 1 or width % 1 or height % 1:
        raise UserError(
            f"{location}: width {row['width']}, height {row['height']}; whole numbers of pixels above 0 are needed"
        )
    return int(width), int(height)
