"""Each form of annotations: the order of a box's numbers, drawn; what can't be right is listed by image; wrong files
get one line.
"""

import json
import re

import numpy as np
import pytest
from PIL import Image, ImageDraw

from flowerml.data.relations.formats import COLUMNS, read_annotations, read_csv
from flowerml.data.relations.image_sizes import image_size_reader
from flowerml.data.relations.records import RELATIONS, Box, Pair
from flowerml.data.relations.vocabulary import Vocabulary, load_vocabulary
from flowerml.data.relations.vrd import find_vrd_files, read_vrd, write_vrd
from flowerml.errors import UserError
from tests.conftest import SHARED
from tests.data.relations.made import FORMS, LAMP, SIZE, TABLE, scene_graph, table, visual_genome, vrd

NAMES = load_vocabulary()
VRD = SHARED / "data" / "vrd"
needs_vrd = pytest.mark.skipif(not VRD.is_dir(), reason="the VRD annotations are not on this machine")


def refusal(path, names=NAMES):
    with pytest.raises(UserError) as caught:
        read_annotations(path, names)
    return str(caught.value)


@pytest.fixture(params=FORMS, ids=lambda name: name.replace(" ", "-"))
def write(request):
    return FORMS[request.param]


class TestBoxOrder:
    """y before x, or width instead of an edge, would cut other pixels without an error."""

    def test_the_crops_are_the_objects_that_were_drawn(self, write, tmp_path):
        """A red lamp and a blue table on white: each box must hold its colour and nothing else, up to its very edges."""
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

    def test_a_tables_sizes_come_from_the_pictures(self, tmp_path):
        rows = f"{','.join(COLUMNS)}\na.png,{','.join(map(str, LAMP + TABLE))},above\n"
        (tmp_path / "relations.csv").write_text(rows)
        assert "a.png: above: the size of the image is not known" in refusal(tmp_path / "relations.csv")
        Image.new("RGB", SIZE).save(tmp_path / "a.png")
        (pair,) = read_csv(tmp_path / "relations.csv", NAMES, image_size_reader(tmp_path)).pairs
        assert (pair.width, pair.height) == SIZE


class TestNames:
    """Which texts mean one of the ten: a table in a file."""

    def test_the_exact_names_are_the_ten(self):
        assert set(NAMES.values()) == set(RELATIONS)
        assert NAMES["on the left of"] == "left of"
        assert NAMES["outside of"] == "outside"
        assert "beside" not in NAMES

    def test_synonyms_hold_the_exact_names_and_more(self):
        synonyms = load_vocabulary(Vocabulary.SYNONYMS)
        assert NAMES.items() < synonyms.items()
        assert (synonyms["beside"], synonyms["beneath"], synonyms["on top of"]) == ("next to", "under", "on")

    def test_case_and_blanks_do_not_matter(self, tmp_path):
        assert (
            read_annotations(visual_genome(tmp_path, relation=" On the  LEFT of"), NAMES).pairs[0].relation == "left of"
        )

    def test_other_relations_are_counted_by_text(self, tmp_path):
        path = scene_graph(tmp_path)
        (graph,) = json.loads(path.read_text())
        graph["relationships"] += [
            {"objects": [0, 1], "relationship": text, "text": []} for text in ("beside", "Beside", "wears")
        ]
        path.write_text(json.dumps([graph]))
        read = read_annotations(path, NAMES)
        assert dict(read.other_relations) == {"beside": 2, "wears": 1}
        assert any("3 of 2 texts ('beside' 2, 'wears' 1" in line for line in read.summary_lines())
        assert len(read_annotations(path, load_vocabulary(Vocabulary.SYNONYMS)).pairs) == 3

    def test_a_table_of_ones_own(self, tmp_path):
        own = tmp_path / "mine.csv"
        own.write_text("text,relation\nhovers over,above\n")
        assert load_vocabulary(path=own) == {"hovers over": "above"}

    @pytest.mark.parametrize(
        ("content", "said"),
        [
            ("text,relation\nover,atop\n", "line 2: 'atop' is none of the ten relations: on, under"),
            ("text,relation\nover,above\nOVER,on\n", "line 3: 'OVER' is both 'above' and 'on'"),
            ("text,relation\nover\n", "line 2: a text and a relation are needed"),
            ("words\nover\n", "a text and a relation are needed"),
            ("text,relation\n", "no names in it"),
        ],
    )
    def test_a_wrong_table_is_refused(self, tmp_path, content, said):
        (tmp_path / "mine.csv").write_text(content)
        with pytest.raises(UserError) as caught:
            load_vocabulary(path=tmp_path / "mine.csv")
        assert said in str(caught.value)
        assert "\n" not in str(caught.value)


class TestWrongFiles:
    """One line: which file, which entry, what should be there."""

    def spoil(self, path, change):
        value = json.loads(path.read_text())
        change(value)
        path.write_text(json.dumps(value))
        message = refusal(path)
        assert "\n" not in message
        assert str(path) in message
        return message

    def test_vrd(self, tmp_path):
        def entry(name, new):
            return lambda value: value["a.jpg"][0].__setitem__(name, new)

        assert "a.jpg, entry 0: no 'object'" in self.spoil(vrd(tmp_path), lambda value: value["a.jpg"][0].pop("object"))
        assert "predicate: 2 where the number of one of the 2 predicates (0 to 1)" in self.spoil(
            vrd(tmp_path), entry("predicate", 2)
        )
        assert "predicate: True" in self.spoil(vrd(tmp_path), entry("predicate", True))
        assert "category: -1" in self.spoil(vrd(tmp_path), entry("subject", {"category": -1, "bbox": [1, 2, 3, 4]}))
        three = {"category": 1, "bbox": [1, 2, 3]}
        assert "bbox: [1, 2, 3] where a box [top, bottom, left, right]" in self.spoil(
            vrd(tmp_path), entry("subject", three)
        )
        text = {"category": 1, "bbox": [1, 2, 3, "x"]}
        assert "bbox, entry 3: 'x' where a number" in self.spoil(vrd(tmp_path), entry("subject", text))
        assert "a list" in self.spoil(vrd(tmp_path), lambda value: value.__setitem__("a.jpg", {}))

    def test_vrd_without_its_other_files(self, tmp_path):
        for name in ("objects.json", "predicates.json", "train_image_metadata.json"):
            path = vrd(tmp_path)
            (tmp_path / name).unlink()
            assert f"{tmp_path / name}: no such file" in refusal(path)

    def test_visual_genome(self, tmp_path):
        def relationship(value):
            return value[0]["relationships"][0]

        assert "no 'predicate'" in self.spoil(
            visual_genome(tmp_path), lambda value: relationship(value).pop("predicate")
        )
        assert "no 'w'" in self.spoil(visual_genome(tmp_path), lambda value: relationship(value)["subject"].pop("w"))
        assert "image_id: '7'" in self.spoil(
            visual_genome(tmp_path), lambda value: value[0].__setitem__("image_id", "7")
        )
        assert "x: None" in self.spoil(
            visual_genome(tmp_path), lambda value: relationship(value)["object"].__setitem__("x", None)
        )

    def test_scene_graph(self, tmp_path):
        def set_ends(ends):
            return lambda value: value[0]["relationships"][0].__setitem__("objects", ends)

        assert "no 'filename'" in self.spoil(scene_graph(tmp_path), lambda value: value[0].pop("filename"))
        assert "2 where a place in objects (0 to 1)" in self.spoil(scene_graph(tmp_path), set_ends([0, 2]))
        assert "a pair [subject, object]" in self.spoil(scene_graph(tmp_path), set_ends([0]))
        assert "above 0" in self.spoil(scene_graph(tmp_path), lambda value: value[0].__setitem__("height", 0))

    @pytest.mark.parametrize(
        ("old", "new", "said"),
        [
            ("subject_x0", "x0", "no column subject_x0; the first line must name image,subject_x0"),
            ("120,", "left,", "line 2: subject_x0 is 'left'; a number of pixels is needed"),
            ("120,", "nan,", "subject_x0 is 'nan'"),
            ("a.jpg", "", "line 2: no image"),
            (",lamp,table", "", "another number of fields"),
            (",lamp,table", ",lamp,table,more", "another number of fields"),
            (",200,100,", ",0,100,", "whole numbers of pixels above 0"),
        ],
    )
    def test_table(self, tmp_path, old, new, said):
        path = table(tmp_path)
        path.write_text(path.read_text().replace(old, new, 1))
        message = refusal(path)
        assert said in message
        assert "\n" not in message

    @pytest.mark.parametrize("content", ["{", "", "[1, 2", "<html>", "[" * 100_000])
    def test_what_is_no_json(self, tmp_path, content):
        (tmp_path / "annotations.json").write_text(content)
        assert re.fullmatch(
            r".*annotations\.json: not JSON \(.*\); is the download whole\?", refusal(tmp_path / "annotations.json")
        )

    @pytest.mark.parametrize("value", [[], [1], 5, [{"image_id": 1, "regions": []}]])
    def test_json_of_no_known_form(self, tmp_path, value):
        (tmp_path / "x.json").write_text(json.dumps(value))
        assert "none of the four forms" in refusal(tmp_path / "x.json")

    def test_not_text_and_not_there(self, tmp_path):
        (tmp_path / "x.json").write_bytes(b"\xff\xfe\x00")
        assert "not UTF-8 text" in refusal(tmp_path / "x.json")
        assert "no such file" in refusal(tmp_path / "y.json")
        assert "can't be read" in refusal(tmp_path / "y.csv")
        (tmp_path / "x.csv").write_bytes(b"\xff\xfe\x00")
        assert "can't be read" in refusal(tmp_path / "x.csv")

    def test_nothing_of_the_ten(self, write, tmp_path):
        assert "no pair of the ten relations in it" in refusal(write(tmp_path, relation="wears"))
        assert "'wears'" in refusal(write(tmp_path, relation="wears"))


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
