"""Pairs are split by image, and what the labels themselves leave open is counted."""

import random
from collections import Counter

import pytest

from flowerml.data.relations.formats import read_annotations
from flowerml.data.relations.records import RELATIONS, Box, Pair
from flowerml.data.relations.split import draw_image_folds, measure_ambiguity, require_disjoint, split_by_image
from flowerml.data.relations.vocabulary import load_vocabulary
from flowerml.errors import UserError
from tests.data.relations.readers_common import VRD, needs_vrd

A, B = Box(0, 0, 10, 10), Box(20, 20, 40, 40)


def pair(image, relation="on", subject=A, other=B):
    return Pair(image, 100, 100, subject, other, relation)


def random_pairs(seed, images=60):
    rng = random.Random(seed)
    return [pair(f"{image}.jpg", rng.choice(RELATIONS)) for image in range(images) for _ in range(rng.randint(1, 9))]


@pytest.mark.parametrize("seed", range(12))
def test_no_image_is_on_both_sides_and_no_pair_is_lost(seed):
    pairs = random_pairs(seed)
    split = split_by_image(pairs, 0.25, seed)
    assert not {p.image for p in split.train} & {p.image for p in split.val}
    assert Counter(split.train + split.val) == Counter(pairs)
    assert 0.1 < len(split.val) / len(pairs) < 0.4


def test_the_order_of_pairs_does_not_matter_but_the_seed_does():
    pairs = random_pairs(3)
    shuffled = random.Random(1).sample(pairs, len(pairs))
    assert Counter(split_by_image(shuffled, 0.25, 11).val) == Counter(split_by_image(pairs, 0.25, 11).val)
    assert {p.image for p in split_by_image(pairs, 0.25, 12).val} != {
        p.image for p in split_by_image(pairs, 0.25, 11).val
    }


def test_the_proof_is_printed():
    lines = split_by_image(random_pairs(0), 0.25, 11).summary_lines()
    assert lines[0].endswith("images on both sides: 0")
    assert len(lines) == 1 + len(RELATIONS)


def test_two_sides_that_share_an_image_are_refused():
    with pytest.raises(UserError, match=r"1 image\(s\) have pairs on both sides(.|\n)*b\.jpg"):
        require_disjoint([pair("a.jpg"), pair("b.jpg")], [pair("b.jpg", "under")])


def test_a_relation_of_one_image_is_refused():
    pairs = [*random_pairs(1), *[pair("only.jpg", "outside")] * 3]
    pairs = [p for p in pairs if p.relation != "outside" or p.image == "only.jpg"]
    with pytest.raises(UserError, match=r"'outside' can't be split by image"):
        split_by_image(pairs, 0.25, 11)


def folds_of(pairs, folds=5, seed=11, content=None):
    return draw_image_folds(pairs, folds, seed, content or {p.image: p.image for p in pairs})


@pytest.mark.parametrize("seed", range(12))
def test_every_image_is_in_one_fold_and_every_relation_in_all(seed):
    pairs = random_pairs(seed, images=200)
    found = folds_of(pairs, seed=seed)
    assert found.keys() == {p.image for p in pairs}
    for name in RELATIONS:
        counts = Counter(found[p.image] for p in pairs if p.relation == name)
        assert sorted(counts) == [1, 2, 3, 4, 5]
        assert max(counts.values()) - min(counts.values()) <= 2
    sizes = Counter(found[p.image] for p in pairs)
    assert max(sizes.values()) - min(sizes.values()) <= 4


def test_folds_depend_on_the_seed_and_not_on_the_order():
    pairs = random_pairs(3, images=200)
    shuffled = random.Random(1).sample(pairs, len(pairs))
    assert folds_of(shuffled) == folds_of(pairs)
    assert folds_of(pairs, seed=12) != folds_of(pairs)


def test_images_of_one_content_are_in_one_fold():
    pairs = random_pairs(4, images=200)
    content = {p.image: f"content {int(p.image.removesuffix('.jpg')) // 2}" for p in pairs}
    found = folds_of(pairs, content=content)
    assert all(found[f"{number}.jpg"] == found[f"{number + 1}.jpg"] for number in range(0, 200, 2))
    assert set(found.values()) == {1, 2, 3, 4, 5}


def test_a_relation_of_fewer_images_than_folds_is_refused():
    pairs = [p for p in random_pairs(1) if p.relation != "outside"]
    few = [pair(f"few {number}.jpg", "outside") for number in range(2)] * 2
    with pytest.raises(
        UserError, match=r"'outside' has 4 pair\(s\) in 2 image\(s\), and fold 3 would have none"
    ) as said:
        folds_of([*pairs, *few], folds=3)
    assert "\n" not in str(said.value)
    assert set(folds_of([*pairs, *few], folds=2).values()) == {1, 2}


def test_the_ceiling_counts_what_one_answer_can_meet():
    """Box pair 1: near 2x, next to 1x (2 of 3); box pair 2: on (1 of 1); the same boxes in another image, and swapped,
    are others.
    """
    pairs = [
        pair("a", "near"),
        pair("a", "near"),
        pair("a", "next to"),
        pair("b", "on"),
        pair("c", "under"),
        pair("a", "on", B, A),
    ]
    found = measure_ambiguity(pairs)
    assert (found.pairs, found.boxes, found.several, found.repeats, found.hits) == (6, 4, 1, 1, 5)
    assert found.ceiling == pytest.approx(5 / 6)
    assert found.summary().startswith("1 of 4 box pairs carry several relations, 1 annotations are repeats")
    assert "83.3 %" in found.summary()


@needs_vrd
def test_the_ceiling_of_the_real_annotations():
    test = measure_ambiguity(read_annotations(VRD / "annotations_test.json", load_vocabulary()).pairs)
    train = measure_ambiguity(read_annotations(VRD / "annotations_train.json", load_vocabulary()).pairs)
    assert train.several + test.several == 713
    assert train.boxes + test.boxes == 17_013
    assert test.ceiling == pytest.approx(3584 / 3717)
