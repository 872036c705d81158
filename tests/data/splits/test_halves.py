"""Halves of held-out examples: stratified, groups whole, the same whatever the order."""

from flowerml.data.splits.halves import split_halves

KEYS = [f"{'abc'[n % 3]}/{n:02d}" for n in range(33)]
LABELS = [n % 3 for n in range(33)]


def test_halves_share_every_class_and_odd_ones_alternate():
    choosing, judging = split_halves(KEYS, LABELS, range(33), 0)
    assert sorted(choosing + judging) == list(range(33))
    assert [sum(LABELS[at] == label for at in choosing) for label in range(3)] == [6, 5, 6]


def test_groups_stay_together():
    groups = [n % 3 + 3 * (n // 3 % 4) for n in range(33)]
    choosing, judging = split_halves(KEYS, LABELS, groups, 0)
    assert not {groups[at] for at in choosing} & {groups[at] for at in judging}


def test_order_does_not_matter_and_the_seed_does():
    choosing, _ = split_halves(KEYS, LABELS, range(33), 0)
    turned, _ = split_halves(KEYS[::-1], LABELS[::-1], range(33), 0)
    assert {KEYS[at] for at in choosing} == {KEYS[::-1][at] for at in turned}
    assert split_halves(KEYS, LABELS, range(33), 1)[0] != choosing
