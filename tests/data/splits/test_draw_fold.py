"""Drawing folds: every picture is held out once, near-duplicates together, classes in equal shares."""

from collections import Counter

import pytest

from flowerml.data.splits.split import Split, draw_fold, draw_split
from flowerml.errors import UserError
from tests.data.splits.scans import of_groups, scanned_of, singles
from tests.data.splits.test_draw_split import random_case


def all_folds(case, folds=5, seed=11):
    scanned, groups = case
    return [draw_fold(scanned, groups, folds, fold, seed) for fold in range(1, folds + 1)]


def test_every_picture_is_held_out_in_exactly_one_fold():
    drawn = all_folds(singles(rose=23, tulip=31))
    held = [key for split in drawn for key in split.val]
    assert len(held) == len(set(held)) == 54
    for split in drawn:
        assert set(split.train) | set(split.val) == set(held)
        assert not set(split.train) & set(split.val)


def test_classes_and_whole_folds_differ_by_at_most_one_picture_where_no_groups_are_in_the_way():
    drawn = all_folds(singles(rose=23, tulip=31, daisy=12))
    for name in ("rose", "tulip", "daisy"):
        counts = [sum(key.startswith(name) for key in split.val) for split in drawn]
        assert max(counts) - min(counts) <= 1
    sizes = [len(split.val) for split in drawn]
    assert max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize("seed", range(40))
def test_groups_stay_together_and_those_of_two_classes_are_never_held_out(seed):
    scanned, groups, *_ = random_case(seed)  # two pure groups of each class or more
    drawn = all_folds((scanned, groups), folds=2, seed=seed)
    fold_of = {key: number for number, split in enumerate(drawn) for key in split.val}
    members = {}
    for picture, group in zip(scanned.pictures, groups, strict=True):
        members.setdefault(group, []).append(picture)
    for group in members.values():
        folds = {fold_of.get(picture.key) for picture in group}
        assert len(folds) == 1
        assert (folds == {None}) == (len({picture.label for picture in group}) > 1)


def test_the_assignment_depends_on_the_seed_and_not_on_the_order_of_files():
    scanned, groups = singles(rose=20, tulip=20)
    turned = scanned_of([picture.key for picture in reversed(scanned.pictures)])
    one, same = draw_fold(scanned, groups, 4, 2, 11), draw_fold(turned, groups, 4, 2, 11)
    assert one == same
    assert draw_fold(scanned, groups, 4, 2, 12).val != one.val


def test_all_folds_share_one_digest_and_each_has_its_own():
    """Runs of one configuration are found by the first, and never taken for one another by the second."""
    drawn = all_folds(singles(rose=20, tulip=20))
    assert len({split.folds_digest for split in drawn}) == 1
    assert len({split.digest for split in drawn}) == 5
    assert all_folds(singles(rose=20, tulip=20), folds=4)[0].folds_digest != drawn[0].folds_digest


def test_without_folds_both_digests_are_the_same():
    scanned, groups = singles(rose=20, tulip=20)
    split = draw_split(scanned, groups, 0.2, 11)
    assert split.folds_digest == split.digest
    assert not {"fold", "fold_of"} & split.as_json().keys()  # as earlier versions wrote it


def test_a_stored_fold_is_read_as_it_was():
    split = all_folds(singles(rose=20, tulip=20))[3]
    assert Split.from_json(split.as_json()) == split
    assert Split.from_json(split.as_json()).folds_digest == split.folds_digest


def test_a_stored_fold_that_was_changed_is_refused():
    content = all_folds(singles(rose=20, tulip=20))[3].as_json()
    content["fold"] = 1
    with pytest.raises(UserError, match="changed by hand: its folds do not fit its lists"):
        Split.from_json(content)


def test_a_class_with_fewer_groups_than_folds_is_refused_with_the_number_that_goes():
    roses = [[f"rose/{number}.jpg" for number in (2 * pair, 2 * pair + 1)] for pair in range(3)]
    scanned, groups = of_groups(*roses, *([f"tulip/{number}.jpg"] for number in range(9)))
    with pytest.raises(UserError, match=r"class rose has 3 group.*Allowed: 2 to 3") as caught:
        draw_fold(scanned, groups, 5, 1, 11)
    assert "\n" not in str(caught.value)


def test_hold_out_and_folds_visit_groups_in_one_order():
    """The first groups of a class by hash are those a split of one fold's share holds out: seeds mean the same."""
    scanned, groups = singles(rose=40)
    fold_of = draw_fold(scanned, groups, 4, 1, 11).fold_of
    first = draw_split(scanned, groups, 0.1, 11).val
    assert Counter(fold_of[key] for key in first) == {1: 1, 2: 1, 3: 1, 4: 1}
