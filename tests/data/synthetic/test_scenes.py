"""The generated scenes: each relation holds by construction, the annotations say what was drawn, the same arguments
give the same files.
"""

from collections import Counter

import numpy as np
import pytest
from PIL import Image

from flowerml.data.relations.records import RELATIONS
from flowerml.data.relations.vocabulary import load_vocabulary
from flowerml.data.relations.vrd import read_vrd
from flowerml.data.synthetic.scene_layout import FLAT, FLOATING, HOLLOW, PLACE_PAIR, POSTS, SMALL, SOLID, Placement
from flowerml.data.synthetic.scene_shapes import DRAW_OBJECT
from flowerml.data.synthetic.scenes import EXPERIMENT_2_COUNTS, make_scenes, relation_counts

DRAWS = 300


def gap(placement: Placement) -> float:
    """Free space between the two boxes along x; negative where they overlap."""
    one, other = placement.subject_box, placement.object_box
    return max(one.x0 - other.x1, other.x0 - one.x1)


def within(placement: Placement) -> bool:
    one, other = placement.subject_box, placement.object_box
    return other.x0 < one.x0 < one.x1 < other.x1 and other.y0 < one.y0 < one.y1 < other.y1


def middle(low: float, high: float) -> float:
    return (low + high) / 2


# What must be true of two placement things for the relation's name to be right.
HOLDS = {
    "on": lambda p: (
        within(p)
        if p.object == "board"
        else p.object in FLAT and p.object_box.y0 <= p.subject_box.y1 <= p.object_box.y1
    ),
    "under": lambda p: (
        p.object in ("table", "umbrella") and p.subject_box.y0 > p.object_box.y0 and p.subject_box.y1 <= p.object_box.y1
    ),
    "above": lambda p: p.subject in FLOATING and middle(p.subject_box.y0, p.subject_box.y1) < p.object_box.y0 + 0.1,
    "below": lambda p: p.object in FLOATING and p.subject_box.y0 > middle(p.object_box.y0, p.object_box.y1),
    "left of": lambda p: p.object in POSTS and p.subject_box.x1 < p.object_box.x0,
    "right of": lambda p: p.object in POSTS and p.subject_box.x0 > p.object_box.x1,
    "near": lambda p: p.object in FLAT + SOLID and 0.34 < gap(p) < 0.51,
    "next to": lambda p: p.object in FLAT + SOLID and -1e-9 <= gap(p) < 0.07,
    "inside": lambda p: p.object in HOLLOW and within(p),
    "outside": lambda p: p.object in HOLLOW and gap(p) > 0,
}


@pytest.mark.parametrize("relation", RELATIONS)
def test_the_relation_holds_between_what_is_placed(relation):
    rng = np.random.default_rng(5)
    for _ in range(DRAWS):
        width = float(rng.uniform(1.15, 1.45))
        placement = PLACE_PAIR[relation](rng, width)
        assert HOLDS[relation](placement), placement
        assert {placement.subject, placement.object} <= {*DRAW_OBJECT}
        assert placement.subject in (FLOATING if relation == "above" else SMALL)
        for box in (placement.subject_box, placement.object_box):
            assert 0 <= box.x0 < box.x1 <= width + 1e-9, placement
            assert 0 <= box.y0 < box.y1 <= 1, placement


def test_boxes_alone_do_not_tell_all_ten_apart():
    """Of two things side by side, or one within the other, the boxes can be equal and the relation another: the
    pictures must be seen.
    """
    rng = np.random.default_rng(0)
    areas = {
        name: [PLACE_PAIR[name](rng, 1.3) for _ in range(DRAWS)]
        for name in ("outside", "left of", "next to", "inside", "on", "under")
    }
    side = {name: [gap(one) for one in areas[name]] for name in ("outside", "left of", "next to")}
    assert min(side["outside"]) < 0.06
    assert min(side["left of"]) < 0.06
    assert sum(within(one) for one in areas["on"]) > DRAWS / 5
    assert sum(within(one) for one in areas["inside"]) == DRAWS


def test_equal_counts_or_the_long_tail_of_experiment_2():
    assert relation_counts(1000, long_tail=False) == dict.fromkeys(RELATIONS, 100)
    tail = relation_counts(3000, long_tail=True)
    assert max(tail, key=tail.__getitem__) == "on"
    assert tail["on"] == round(3000 * 13_103 / 30_876)
    assert tail["outside"] == 5  # 3.7 by proportion: too few for a split
    assert sum(EXPERIMENT_2_COUNTS.values()) == 30_876
    with pytest.raises(ValueError, match="at least 20"):
        relation_counts(19, long_tail=False)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    root = tmp_path_factory.mktemp("scenes")
    reported: list[int] = []
    pairs = make_scenes(root, relation_counts(40, long_tail=False), size=64, seed=3, on_image=reported.append)
    return root, pairs, reported


def test_annotations_match_the_drawing(made):
    root, pairs, _ = made
    read = read_vrd(root / "annotations_train.json", load_vocabulary())
    assert Counter(read.pairs) == Counter(pairs)
    assert read.problems == ()
    assert read.counts() == [4] * 10


def test_each_picture_has_the_size_and_the_pairs_that_the_annotations_say(made):
    root, pairs, reported = made
    images = {pair.image for pair in pairs}
    assert images == {path.name for path in root.glob("*.jpg")}
    assert sum(reported) == len(pairs) == 40
    assert {*Counter(pair.image for pair in pairs).values()} == {1, 2, 3}
    for pair in pairs:
        assert Image.open(root / pair.image).size == (pair.width, pair.height)
        for box in (pair.subject, pair.object):
            assert 0 <= box.x0 < box.x1 <= pair.width
            assert 0 <= box.y0 < box.y1 <= pair.height


def test_the_same_arguments_give_the_same_bytes(made, tmp_path):
    root, pairs, _ = made
    assert make_scenes(tmp_path, relation_counts(40, long_tail=False), size=64, seed=3) == pairs
    for path in root.iterdir():
        assert (tmp_path / path.name).read_bytes() == path.read_bytes()
    other = make_scenes(tmp_path / "other", relation_counts(40, long_tail=False), size=64, seed=4)
    assert other != pairs


@pytest.mark.parametrize(("counts", "size"), [({"on": 3}, 63), ({"beside": 3}, 64)])
def test_what_can_not_be_drawn_is_refused(tmp_path, counts, size):
    with pytest.raises(ValueError, match="size must be"):
        make_scenes(tmp_path, counts, size=size)
