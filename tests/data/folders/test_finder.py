"""Annotated pictures are found in sub-folders and in either Unicode form; blank predicates are no error."""

import json
import unicodedata

import pytest

from flowerml.data.decode import BadImage
from flowerml.data.folders.finder import PictureFinder
from flowerml.data.relations.folder import read_pair_folder
from flowerml.tasks.pair_examples import make_pair_examples
from tests.data.pictures import put_scene

NAMES = ("on", "under", "left of")
SIDES = {
    "subject": {"name": "cup", "x": 5, "y": 5, "w": 20, "h": 20},
    "object": {"names": ["table"], "x": 10, "y": 20, "w": 20, "h": 20},
}


def put_genome(root, folders, predicates=NAMES, **sides):
    """Two pictures in Visual Genome's form, in the given folders."""
    for number, folder in enumerate(folders, start=1):
        put_scene(root / folder / f"{number}.jpg", number)
    pairs = [{"predicate": name, **SIDES, **sides} for name in predicates]
    graphs = [{"image_id": number, "relationships": pairs} for number in (1, 2)]
    sizes = [{"image_id": number, "width": 48, "height": 40} for number in (1, 2)]
    (root / "relationships.json").write_text(json.dumps(graphs))
    (root / "image_data.json").write_text(json.dumps(sizes))
    return root


def test_visual_genome_is_read_as_it_is_delivered_in_two_folders(tmp_path):
    put_genome(tmp_path, ("VG_100K", "images/VG_100K_2"))
    folder = read_pair_folder(tmp_path, None, "exact", None)
    assert folder.bad == ()
    assert {pair.image for pair in folder.pairs} == {"1.jpg", "2.jpg"}
    assert folder.paths == {
        "1.jpg": tmp_path / "VG_100K" / "1.jpg",
        "2.jpg": tmp_path / "images" / "VG_100K_2" / "2.jpg",
    }
    assert all(example.read() for example in make_pair_examples(folder))


def test_the_same_pairs_have_the_same_digest_wherever_the_pictures_lie(tmp_path):
    flat = read_pair_folder(put_genome(tmp_path / "flat", ("", "")), None, "exact", None)
    deep = read_pair_folder(put_genome(tmp_path / "deep", ("VG_100K", "VG_100K_2")), None, "exact", None)
    assert (flat.digest, flat.ids) == (deep.digest, deep.ids)


def test_blank_predicates_and_names_are_counted_and_left_out(tmp_path):
    blank = {"object": {**SIDES["object"], "names": [" "]}}
    put_genome(tmp_path, ("", ""), predicates=("on", "", "  ", None), **blank)
    folder = read_pair_folder(tmp_path, None, "exact", None)
    assert len(folder.pairs) == 2
    assert dict(folder.annotations.other_relations) == {"": 6}
    assert folder.pairs[0].object_category is None


def test_a_picture_in_two_sub_folders_is_ambiguous(tmp_path):
    put_genome(tmp_path, ("a", "a"))
    put_scene(tmp_path / "b" / "1.jpg", 5)
    folder = read_pair_folder(tmp_path, None, "exact", None)
    assert [bad.file for bad in folder.bad] == ["1.jpg"]
    assert "in several sub-folders (a/1.jpg, b/1.jpg)" in folder.bad[0].reason


def test_a_long_list_of_boxes_outside_is_cut(tmp_path):
    outside = {"object": {**SIDES["object"], "w": 400}}
    put_genome(tmp_path, ("", ""), predicates=["on"] * 60, **outside)
    graphs = json.loads((tmp_path / "relationships.json").read_text())
    graphs[0]["relationships"].append({"predicate": "on", **SIDES})
    (tmp_path / "relationships.json").write_text(json.dumps(graphs))
    folder = read_pair_folder(tmp_path, None, "exact", None)
    lines = folder.annotations.summary_lines()
    assert len(folder.bad) == 120
    assert sum("not inside the image" in line for line in lines) == 20
    assert lines[-1].strip().startswith("and 100 more")


class TestFinder:
    @pytest.mark.parametrize("form", ["NFC", "NFD"])
    @pytest.mark.parametrize("stored", ["NFC", "NFD"])
    def test_names_are_found_in_either_form(self, tmp_path, form, stored):
        names = {kind: unicodedata.normalize(kind, "été/café.jpg") for kind in ("NFC", "NFD")}
        put_scene(tmp_path / names[stored], 1)
        assert PictureFinder(tmp_path).path(names[form]) == tmp_path / names[stored]

    def test_a_name_that_is_not_there_is_itself(self, tmp_path):
        for name in ("nothing.jpg", "a/nothing.jpg", "x" * 300):
            assert PictureFinder(tmp_path).path(name) == tmp_path / name
        assert PictureFinder(tmp_path / "no folder").path("1.jpg") == tmp_path / "no folder" / "1.jpg"

    def test_two_of_a_name_are_an_error_but_a_path_is_not(self, tmp_path):
        put_scene(tmp_path / "a" / "1.jpg", 1)
        put_scene(tmp_path / "b" / "1.jpg", 2)
        with pytest.raises(BadImage, match="several sub-folders"):
            PictureFinder(tmp_path).path("1.jpg")
        assert PictureFinder(tmp_path).path("b/1.jpg") == tmp_path / "b" / "1.jpg"
