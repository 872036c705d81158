"""A folder of pictures with annotations: which file is meant, what can't be used, names for pairs, a digest of the
content.
"""

import shutil

import pytest
from PIL import Image

from flowerml.data.relations.folder import find_annotation_file, pair_ids, read_pair_folder, require_pairs
from flowerml.data.relations.records import RELATIONS, Box, Pair
from flowerml.data.relations.vrd import write_vrd
from flowerml.errors import UserError
from tests.data.pictures import encode, put, scene


@pytest.fixture
def root(tmp_path):
    """Four pictures of 48 x 40, each with a pair `on` and a pair `near`."""
    pairs = []
    for number in range(4):
        name = f"{number}.png"
        put(tmp_path / name, encode(scene(number), "PNG"))
        pairs += [
            Pair(name, 48, 40, Box(2, 3, 20, 30), Box(10, 12, 44, 38), relation, "cup", "table")
            for relation in ("on", "near")
        ]
    write_vrd(tmp_path, "train", pairs)
    return tmp_path


def read(root, **options):
    return read_pair_folder(
        root, options.get("annotations"), options.get("wording", "exact"), options.get("classes", ("near", "on"))
    )


def refusal(call, *arguments):
    with pytest.raises(UserError) as caught:
        call(*arguments)
    return str(caught.value)


def test_all_pairs_in_the_order_of_the_relations(root):
    found = read(root)
    assert found.classes == ("on", "near"), "the order of the ten, whatever was typed"
    assert found.counts() == {"on": 4, "near": 4}
    assert len(found.sha256) == 4
    assert found.bad == ()


def test_the_annotations_are_found_or_named(root, tmp_path_factory):
    assert find_annotation_file(root) == root / "annotations_train.json"
    elsewhere = tmp_path_factory.mktemp("boxes")
    for path in root.glob("*.json"):
        shutil.move(path, elsewhere / path.name)
    assert "no annotations" in refusal(find_annotation_file, root)
    assert len(read(root, annotations=elsewhere / "annotations_train.json").pairs) == 8


def test_of_several_annotations_one_must_be_named(root):
    shutil.copy(root / "annotations_train.json", root / "annotations_test.json")
    assert "several files of annotations (annotations_test.json, annotations_train.json)" in refusal(
        find_annotation_file, root
    )
    assert "--annotations" in refusal(find_annotation_file, root)


@pytest.mark.parametrize("spoil", ["missing", "text", "other size"])
def test_a_picture_that_can_not_be_used_is_listed_and_stops_the_run(root, spoil):
    path = root / "2.png"
    if spoil == "missing":
        path.unlink()
    elif spoil == "text":
        path.write_text("<html>")
    else:
        Image.new("RGB", (40, 48)).save(path)
    found = read(root)
    assert len(found.pairs) == 6
    assert [bad.file for bad in found.bad] == ["2.png"]
    message = refusal(require_pairs, found, "stop")
    assert message.startswith(
        "1 annotated pictures can't be used (mend them, or go on without them: --bad-images skip):"
    )
    assert "2.png" in message
    if spoil == "other size":
        assert "40x48 pixels, annotated as 48x40" in message
    require_pairs(found, "skip")


def test_boxes_that_can_not_be_right_are_listed_and_stop_nothing(root):
    pairs = [*read(root).pairs, Pair("3.png", 48, 40, Box(2, 3, 60, 30), Box(1, 1, 9, 9), "near", "a", "b")]
    write_vrd(root, "train", pairs)
    found = read(root)
    assert len(found.pairs) == 8
    assert [(bad.file, "not inside the image of 48x40" in bad.reason) for bad in found.bad] == [("3.png", True)]
    require_pairs(found, "stop")


def test_a_relation_without_a_pair_is_refused_with_the_flag_that_leaves_it_out(root):
    found = read(root, classes=None)
    assert found.classes == RELATIONS
    message = refusal(require_pairs, found, "stop")
    assert "no usable pair of under, above, below" in message
    assert "--classes 'on,near'" in message


def test_a_class_that_is_no_relation_is_refused(root):
    assert "'beside' is none of the relations. Allowed: on, under" in refusal(
        lambda: read(root, classes=("on", "beside"))
    )


def test_a_pair_is_named_by_picture_boxes_and_relation_and_a_repeat_has_a_number():
    pair = Pair("a.jpg", 48, 40, Box(2, 3, 20, 30), Box(10.5, 12, 44, 38), "left of")
    assert pair_ids([pair, pair]) == [
        "a.jpg [2 3 20 30] left of [10.5 12 44 38]",
        "a.jpg [2 3 20 30] left of [10.5 12 44 38] (2)",
    ]


def test_the_digest_is_of_content_and_not_of_order(root):
    before = read(root).digest
    write_vrd(root, "train", list(reversed(read(root).pairs)))
    assert read(root).digest == before
    put(root / "1.png", encode(scene(77), "PNG"))
    assert read(root).digest != before
    write_vrd(root, "train", list(read(root).pairs)[1:])
    assert read(root).digest != before


def test_pictures_stay_as_they_are_stored(root):
    """A camera's note on how to turn the picture is not followed: boxes are drawn on stored pixels."""
    turned = Image.Exif()
    turned[0x0112] = 6
    Image.new("RGB", (48, 40), "red").save(root / "0.png", exif=turned)
    assert read(root).bad == ()
