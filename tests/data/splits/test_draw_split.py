"""Drawing a split: stratified, near-duplicate groups on one side, independent of machine and order of files."""

import dataclasses
import hashlib
import random
from collections import Counter
from pathlib import Path

import pytest

from flowerml.data.splits.split import draw_split
from flowerml.errors import UserError
from tests.data.splits.scans import of_groups, singles


def refusal(*given):
    with pytest.raises(UserError) as caught:
        draw_split(*given)
    assert caught.value.exit_code == 2
    message = str(caught.value)
    assert "\n" not in message
    return message


def random_case(seed):
    """2 to 5 classes, groups of 1 to 6 pictures, now and then one that spans two classes; every class has 2 pure groups
    or more.
    """
    rng = random.Random(seed)
    classes = [f"class{number}" for number in range(rng.randint(2, 5))]
    numbers = Counter()

    def key(name):
        numbers[name] += 1
        return f"{name}/{rng.getrandbits(40):x}-{numbers[name]}.jpg"

    groups = []
    for name in classes:
        groups += [[key(name) for _ in range(rng.choice((1, 1, 1, 2, 3, 6)))] for _ in range(rng.randint(2, 40))]
    groups += [[key(name) for name in rng.choices(classes, k=rng.randint(2, 4))] for _ in range(rng.randint(0, 4))]
    rng.shuffle(groups)
    return *of_groups(*groups), groups, rng.choice((0.05, 0.1, 0.2, 0.3, 0.5, 0.8)), rng.randrange(1000)


@pytest.mark.parametrize("seed", range(60))
def test_the_rules_hold_for_any_groups(seed):
    scanned, numbers, groups, val_split, split_seed = random_case(seed)
    split = draw_split(scanned, numbers, val_split, split_seed)
    train, val = set(split.train), set(split.val)
    keys = [picture.key for picture in scanned.pictures]

    assert sorted([*split.train, *split.val]) == keys, "every picture on exactly one side"
    for group in groups:
        assert set(group) <= train or set(group) <= val, "a group never lies across"
        if len({key.split("/")[0] for key in group}) > 1:
            assert set(group) <= train, "a photo with two labels is no judge"
    for name in scanned.classes:
        total = sum(key.startswith(f"{name}/") for key in keys)
        held = sum(key.startswith(f"{name}/") for key in val)
        assert 1 <= held < total, "each class on both sides"
        pure = [group for group in groups if {key.split("/")[0] for key in group} == {name}]
        target = min(max(1, round(val_split * total)), total - 1)
        assert abs(held - target) < max(map(len, pure)) or held == sum(map(len, pure)), (
            "as near to the share as groups allow"
        )


@pytest.mark.parametrize("seed", range(60, 80))
def test_the_order_of_pictures_and_the_numbers_of_groups_do_not_matter(seed):
    scanned, numbers, _, val_split, split_seed = random_case(seed)
    expected = draw_split(scanned, numbers, val_split, split_seed)
    rng = random.Random(seed)
    other_numbers = dict(enumerate(rng.sample(range(10_000), max(numbers) + 1)))
    order = rng.sample(range(len(numbers)), len(numbers))
    shuffled = dataclasses.replace(scanned, pictures=tuple(scanned.pictures[i] for i in order), root=Path("elsewhere"))
    other = draw_split(shuffled, [other_numbers[numbers[i]] for i in order], val_split, split_seed)
    assert set(other.val) == set(expected.val)
    assert set(other.train) == set(expected.train)
    assert other.digest == expected.digest


@pytest.mark.parametrize("val_split", [0.05, 0.1, 0.2, 0.25, 0.5, 0.9, 0.99])
def test_single_pictures_are_held_out_to_the_very_number(val_split):
    counts = {"a": 2, "b": 7, "c": 40, "d": 133}
    split = draw_split(*singles(**counts), val_split, 11)
    held = Counter(key.split("/")[0] for key in split.val)
    assert held == {name: min(max(1, round(val_split * count)), count - 1) for name, count in counts.items()}


def test_the_split_of_a_known_folder_never_changes():
    """Old checkpoints and new runs compare on it: the names stand here so that nobody changes the draw unawares."""
    split = draw_split(*singles(a=10, b=5), 0.2, 11)
    order = sorted(
        (f"a/{number:03d}.jpg" for number in range(10)), key=lambda key: hashlib.sha256(f"11\t{key}".encode()).digest()
    )
    assert [key for key in split.val if key.startswith("a/")] == sorted(order[:2])
    assert split.val == ("a/001.jpg", "a/007.jpg", "b/003.jpg")


def test_every_seed_draws_its_own_split():
    drawn = {draw_split(*singles(a=40, b=40), 0.2, seed).val for seed in range(20)}
    assert len(drawn) == 20
    assert draw_split(*singles(a=40, b=40), 0.2, 0).val == draw_split(*singles(a=40, b=40), 0.2, 0).val


def test_every_picture_has_the_same_chance():
    """Over 400 seeds each of 20 pictures is held out about 80 times (20 %); 3 sigma is 24."""
    held = Counter(
        key for seed in range(400) for key in draw_split(*singles(a=20, b=2), 0.2, seed).val if key.startswith("a/")
    )
    assert len(held) == 20
    assert min(held.values()) > 80 - 32
    assert max(held.values()) < 80 + 32


def test_a_picture_more_moves_few_others():
    """The draw hangs on names, not on positions: a new photo does not reshuffle the rest."""
    before = set(draw_split(*singles(a=100, b=100), 0.2, 11).val)
    scanned, numbers = of_groups(
        *([f"{name}/{number:03d}.jpg"] for name in "ab" for number in range(100)), ["a/0000.jpg"]
    )
    after = set(draw_split(scanned, numbers, 0.2, 11).val)
    assert len(before ^ after) <= 2


def test_a_class_of_one_picture_is_refused_in_one_clear_line():
    message = refusal(*singles(rose=1, tulip=5), 0.2, 11)
    assert "class rose can't be split" in message
    assert "1 picture(s)" in message
    assert "--val-split 0" in message


def test_a_class_of_one_group_is_refused():
    groups = [["rose/1.jpg", "rose/2.jpg", "rose/3.jpg"], ["tulip/1.jpg"], ["tulip/2.jpg"]]
    message = refusal(*of_groups(*groups), 0.2, 11)
    assert "class rose can't be split" in message
    assert "3 picture(s) form 1 group(s)" in message


def test_a_class_whose_pictures_all_have_two_labels_is_refused():
    groups = [["rose/1.jpg", "tulip/1.jpg"], ["rose/2.jpg", "tulip/2.jpg"], ["tulip/3.jpg"]]
    assert "class rose can't be split" in refusal(*of_groups(*groups), 0.5, 11)


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("val_split", [0.01, 0.2, 0.5, 0.9])
def test_groups_larger_than_the_share_still_give_each_side_one(seed, val_split):
    large = [[f"a/{group}-{number}.jpg" for number in range(size)] for group, size in enumerate((5, 3, 8))]
    split = draw_split(*of_groups(*large, ["b/1.jpg"], ["b/2.jpg"]), val_split, seed)
    held = [group for group in large if set(group) <= set(split.val)]
    assert 1 <= len(held) <= 2
    if val_split <= 0.2:
        assert held == [large[1]], "the smallest group is nearest to a small share"


@pytest.mark.parametrize("seed", range(10))
def test_a_group_of_two_labels_is_always_trained_on(seed):
    mixed = ["a/mixed.jpg", "b/mixed.jpg", "b/mixed again.jpg"]
    split = draw_split(
        *of_groups(mixed, *([f"{name}/{number}.jpg"] for name in "ab" for number in range(4))), 0.8, seed
    )
    assert set(mixed) <= set(split.train)


def test_no_share_trains_on_everything_and_a_single_picture_is_enough():
    scanned, numbers = singles(a=1, b=3)
    split = draw_split(scanned, numbers, 0.0, 11)
    assert split.val == ()
    assert split.train == tuple(picture.key for picture in scanned.pictures)
