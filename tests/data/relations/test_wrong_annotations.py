"""Annotation files that are damaged or in no known format are refused in one line."""

import json
import re

import pytest

from tests.data.relations.annotation_files import scene_graph, table, visual_genome, vrd
from tests.data.relations.readers_common import refusal


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
        ("old", "new", "expected"),
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
    def test_table(self, tmp_path, old, new, expected):
        path = table(tmp_path)
        path.write_text(path.read_text().replace(old, new, 1))
        message = refusal(path)
        assert expected in message
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
