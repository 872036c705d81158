"""One scene, written in each of the four forms: a lamp (subject) above and to the right of a table (object), in an
image of 200x100.
"""

import csv
import json

LAMP, TABLE = (120, 10, 150, 40), (20, 60, 140, 95)  # left, top, right, bottom
SIZE = (200, 100)


def _json(path, value):
    path.write_text(json.dumps(value))
    return path


def vrd(folder, relation="above", subject=LAMP, table=TABLE, size=SIZE, image="a.jpg"):
    def side(category, box):
        x0, y0, x1, y1 = box
        return {"category": category, "bbox": [y0, y1, x0, x1]}

    _json(folder / "objects.json", ["table", "lamp"])
    _json(folder / "predicates.json", ["wear", relation])
    _json(folder / "train_image_metadata.json", {image: {"width": size[0], "height": size[1]}})
    entry = {"predicate": 1, "subject": side(1, subject), "object": side(0, table)}
    return _json(folder / "annotations_train.json", {image: [entry], "empty.jpg": []})


def by_size(box):
    x0, y0, x1, y1 = box
    return {"x": x0, "y": y0, "w": x1 - x0, "h": y1 - y0}


def visual_genome(folder, relation="ABOVE", subject=LAMP, table=TABLE, size=SIZE):
    _json(folder / "image_data.json", [{"image_id": 7, "width": size[0], "height": size[1], "url": "7"}])
    sides = {
        "subject": {"name": "lamp", "object_id": 1, **by_size(subject)},
        "object": {"names": ["table"], **by_size(table)},
    }
    return _json(
        folder / "relationships.json",
        [{"image_id": 7, "relationships": [{"predicate": relation, "relationship_id": 1, **sides}]}],
    )


def scene_graph(folder, relation="above", subject=LAMP, table=TABLE, size=SIZE):
    graph = {
        "photo_id": 7,
        "filename": "a.jpg",
        "width": size[0],
        "height": size[1],
        "objects": [{"names": ["table"], "bbox": by_size(table)}, {"names": ["lamp"], "bbox": by_size(subject)}],
        "relationships": [{"objects": [1, 0], "relationship": relation, "text": ["lamp", relation, "table"]}],
    }
    return _json(folder / "sg_train_annotations.json", [graph])


def table(folder, relation="above", subject=LAMP, table=TABLE, size=SIZE):
    path = folder / "relations.csv"
    sides = [f"{side}_{edge}" for side in ("subject", "object") for edge in ("x0", "y0", "x1", "y1")]
    with path.open("w", newline="") as handle:
        writer = csv.writer(handle)
        writer.writerow(["image", *sides, "relation", "width", "height", "subject", "object"])
        writer.writerow(["a.jpg", *subject, *table, relation, *size, "lamp", "table"])
    return path


FORMS = {"vrd": vrd, "visual genome": visual_genome, "scene graph": scene_graph, "table": table}
