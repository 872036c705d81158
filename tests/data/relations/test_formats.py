"""The four annotation formats: order of edges, sizes, invalid boxes, round trip, the real files."""

import json
import re

import numpy as np
import pytest
from PIL import Image, ImageDraw

from flowerml.data.relations.formats import COLUMNS, read_annotations, read_csv
from flowerml.data.relations.image_sizes import image_size_reader
from flowerml.data.relations.records import RELATIONS, Box, Pair
from flowerml.data.relations.vrd import find_vrd_files, read_vrd, write_vrd
from tests.data.relations.annotation_files import FORMS, LAMP, SIZE, TABLE, visual_genome, vrd
from tests.data.relations.readers_common import NAMES, VRD, needs_vrd, refusal


class TestBoxOrder:
    """y before x, or width instead of an edge, would cut other pixels without an error."""

    def test_the_crops_are_the_objects_that_were_drawn(self, write, tmp_path):
        """A red lamp and a blue table on white: each box must hold only its colour, up to its edges."""
        picture = Image.new("RGB", SIZE, "white")
        draw = ImageDraw.Draw(picture)
        for (x0, y0, x1, y1), colour in ((LAMP, "red"), (TABLE, "blue")):
            draw.rectangle((x0, y0, x1 - 1, y1 - 1), fill=colour)
        (pair,) = read_annotations(write(tmp_path), NAMES).pairs
        for box, colour in ((pair.subject, (255, 0, 0)), (pair.object, (0, 0, 255))):
            crop = np.asarray(picture.crop((box.x0, box.y0, box.x1, box.y1)))
            assert (crop == colour).all()
            assert crop.shape[0] * crop.shape[1] == (np.asarray(picture) == colour).all(axis=2).sum()

    def test_roles_categories_size_and_relation(self, write, tmp_path):
        (pair,) = read_annotations(write(tmp_path), NAMES).pairs
        assert (pair.width, pair.height) == SIZE
        assert (pair.subject_category, pair.object_category, pair.relation) == ("lamp", "table", "above")
        assert pair.subject.y1 < pair.object.y0

    def test_every_form_gives_the_same_pair(self, tmp_path):
        found = set()
        for name, write in FORMS.items():
            folder = tmp_path / name
            folder.mkdir()
            (pair,) = read_annotations(write(folder), NAMES).pairs
            found.add(
                (
                    pair.subject,
                    pair.object,
                    pair.relation,
                    pair.width,
                    pair.height,
                    pair.subject_category,
                    pair.object_category,
                )
            )
        assert found == {(Box(*LAMP), Box(*TABLE), "above", *SIZE, "lamp", "table")}


class TestWhatCantBeRight:
    """Listed with its image, never mended in silence."""

    @pytest.mark.parametrize(
        ("box", "reason"),
        [
            ((120, 10, 201, 40), "not inside the image of 200x100"),
            ((120, 10, 150, 101), "not inside the image of 200x100"),
            ((-1, 10, 150, 40), "not inside the image"),
            ((120, 10, 120, 40), "no area"),
            ((150, 10, 120, 40), "no area"),
            ((120, 40, 150, 40), "no area"),
        ],
    )
    def test_boxes(self, write, tmp_path, box, reason):
        assert re.search(
            rf"1 pairs left out.*\n  (a|7)\.jpg: above: subject box .*{reason}", refusal(write(tmp_path, subject=box))
        )

    def test_the_objects_box_too_and_the_rest_is_kept(self, tmp_path):
        path = vrd(tmp_path)
        value = json.loads(path.read_text())
        bad = json.loads(json.dumps(value["a.jpg"][0]))
        bad["object"]["bbox"] = [60, 95, 20, 300]
        path.write_text(json.dumps({**value, "b.jpg": [], "a.jpg": [value["a.jpg"][0], bad]}))
        read = read_annotations(path, NAMES)
        assert len(read.pairs) == 1
        assert read.problems == (
            "a.jpg: above: object box left 20, top 60, right 300, bottom 95: not inside the image of 200x100",
        )
        assert any("left out, 1 pair(s)" in line for line in read.summary_lines())
        assert any(read.problems[0] in line for line in read.summary_lines())

    def test_an_image_whose_size_is_not_told(self, tmp_path):
        path = vrd(tmp_path)
        (tmp_path / "train_image_metadata.json").write_text("{}")
        assert "a.jpg: above: the size of the image is not known" in refusal(path)
        path = visual_genome(tmp_path)
        (tmp_path / "image_data.json").write_text("[]")
        assert "7.jpg: above: the size of the image is not known" in refusal(path)

    def test_a_size_under_another_suffix_is_taken_and_told(self, tmp_path):
        path = vrd(tmp_path)
        (tmp_path / "train_image_metadata.json").write_text(json.dumps({"a.gif": {"width": 200, "height": 100}}))
        read = read_annotations(path, NAMES)
        assert len(read.pairs) == 1
        assert read.notes == ("a.jpg: its size stands under a.gif in train_image_metadata.json",)

    def test_two_sizes_under_other_suffixes_are_not_chosen_from(self, tmp_path):
        path = vrd(tmp_path)
        sizes = {name: {"width": 200, "height": 100} for name in ("a.gif", "a.png")}
        (tmp_path / "train_image_metadata.json").write_text(json.dumps(sizes))
        assert "the size of the image is not known" in refusal(path)

    @pytest.mark.parametrize("separator", [",", ";", "\t"])
    def test_a_table_may_be_separated_by_semicolons_or_tabs(self, tmp_path, separator):
        values = ["a.png", *map(str, LAMP + TABLE), "above", *map(str, SIZE)]
        lines = [separator.join(line) for line in ((*COLUMNS, "width", "height"), values)]
        (tmp_path / "relations.csv").write_text("\r\n".join([*lines, ""]))
        (pair,) = read_annotations(tmp_path / "relations.csv", NAMES).pairs
        assert (pair.subject, pair.width) == (Box(*LAMP), SIZE[0])

    def test_with_semicolons_numbers_may_have_a_decimal_comma(self, tmp_path):
        values = ["a.png", "0,5", *map(str, (LAMP + TABLE)[1:]), "above", *map(str, SIZE)]
        lines = [";".join(line) for line in ((*COLUMNS, "width", "height"), values)]
        (tmp_path / "relations.csv").write_text("\n".join([*lines, ""]))
        assert read_annotations(tmp_path / "relations.csv", NAMES).pairs[0].subject.x0 == 0.5

    def test_a_tables_sizes_come_from_the_pictures(self, tmp_path):
        rows = f"{','.join(COLUMNS)}\na.png,{','.join(map(str, LAMP + TABLE))},above\n"
        (tmp_path / "relations.csv").write_text(rows)
        assert "a.png: above: the size of the image is not known" in refusal(tmp_path / "relations.csv")
        Image.new("RGB", SIZE).save(tmp_path / "a.png")
        (pair,) = read_csv(tmp_path / "relations.csv", NAMES, image_size_reader(tmp_path)).pairs
        assert (pair.width, pair.height) == SIZE


class TestRoundTrip:
    def test_what_is_written_is_read(self, tmp_path):
        pairs = [
            Pair(f"{name}.png", 64, 48, Box(1, 2, 30, 40), Box(5, 6, 64, 48), name, "cup", "table")
            for name in RELATIONS
            for _ in range(2)
        ]
        write_vrd(tmp_path, "train", pairs)
        assert find_vrd_files(tmp_path) == [tmp_path / "annotations_train.json"]
        read = read_vrd(tmp_path / "annotations_train.json", NAMES)
        assert read.pairs == tuple(pairs)
        assert read.counts() == [2] * 10

    def test_categories_without_a_name(self, tmp_path):
        write_vrd(tmp_path, "x", [Pair("a.png", 9, 9, Box(0, 0, 1, 1), Box(1, 1, 2, 2), "on")])
        (pair,) = read_vrd(tmp_path / "annotations_x.json", NAMES).pairs
        assert (pair.subject_category, pair.object_category) == ("object", "object")

    def test_a_folder_of_another_form_has_none(self, tmp_path):
        (tmp_path / "annotations_train.json").write_text("{}")
        assert find_vrd_files(tmp_path) == []


@needs_vrd
class TestRealAnnotations:
    """Stanford's files: the counts that are known of them."""

    @pytest.mark.parametrize(
        ("part", "counts", "images", "empty"),
        [
            ("train", [5113, 1481, 2417, 762, 381, 364, 1372, 2366, 29, 6], 4000, 220),
            ("test", [1385, 386, 553, 176, 103, 88, 332, 682, 11, 1], 1000, 45),
        ],
    )
    def test_counts(self, part, counts, images, empty):
        read = read_annotations(VRD / f"annotations_{part}.json", NAMES)
        assert read.counts() == counts
        assert len(read.images) == images
        assert len(json.loads((VRD / f"annotations_{part}.json").read_text())) == images
        assert read.problems == ()
        assert sum(not pairs for pairs in json.loads((VRD / f"annotations_{part}.json").read_text()).values()) == empty

    def test_the_image_keyed_with_another_suffix_is_named(self):
        (remark,) = read_annotations(VRD / "annotations_test.json", NAMES).notes
        assert remark.startswith("4392556686_44d71ff5a0_o.jpg: its size stands under 4392556686_44d71ff5a0_o.gif")

    def test_what_is_above_lies_higher(self):
        """With x and y exchanged both shares would be near a half."""
        pairs = [
            pair
            for pair in read_annotations(VRD / "annotations_train.json", NAMES).pairs
            if pair.relation in ("above", "below")
        ]
        right = [
            (pair.subject.y0 + pair.subject.y1 < pair.object.y0 + pair.object.y1) == (pair.relation == "above")
            for pair in pairs
        ]
        assert sum(right) / len(right) > 0.95
