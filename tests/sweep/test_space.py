"""What a sweep chooses from."""

import pytest

from flowerml.errors import UserError
from flowerml.settings import Family, find_model, grid_points, resolve
from flowerml.sweep.space import (
    Choice,
    Range,
    check_dimensions,
    describe_space,
    grid_dimensions,
    range_dimensions,
    shuffled_grid,
)

MODELS = {Family.CNN: "convnextv2_large", Family.VIT: "clip_vitl14"}


@pytest.mark.parametrize("family", MODELS)
def test_the_grid_has_every_point_once_in_an_order_that_the_seed_gives(family):
    first, again, other = shuffled_grid(family, {}, 11), shuffled_grid(family, {}, 11), shuffled_grid(family, {}, 12)
    assert first == again != other
    assert len(first) == 64
    for order in (first, other):
        assert sorted(map(repr, order)) == sorted(map(repr, grid_points(family)))


def test_what_is_given_is_not_chosen_and_halves_the_grid():
    left = shuffled_grid(Family.CNN, {"batch_size": "32"}, 11)
    assert len(left) == 32
    assert all("batch_size" not in point for point in left)
    assert "batch_size" not in grid_dimensions(Family.CNN, {"batch_size": 32})
    assert "batch_size" not in range_dimensions(Family.CNN, {"batch_size": 32})


@pytest.mark.parametrize("family", MODELS)
def test_ranges_hold_the_grid_and_only_what_may_be_set(family):
    """Both ends are settings that a run takes."""
    found = range_dimensions(family, {})
    for name, values in grid_dimensions(family, {}).items():
        dimension = found[name]
        if isinstance(dimension, Choice):
            assert dimension == values
            continue
        assert isinstance(dimension, Range)
        assert all(dimension.low < value < dimension.high or value == dimension.high for value in values.values)
        for value in (dimension.low, dimension.high):
            assert getattr(resolve({"model": MODELS[family], name: value})[0], name) == value
    assert find_model(MODELS[family]).family is family


def test_the_space_in_words():
    said = describe_space(range_dimensions(Family.VIT, {}))
    assert "  lr_backbone: 1.66667e-06 to 3e-05, logarithmic" in said
    assert "  cutmix: 0.25 to 1.0" in said
    assert "  batch_size: 32 or 64" in describe_space(range_dimensions(Family.CNN, {}))


def test_a_value_that_can_not_be_run_with_what_is_given_is_named_before_anything_begins():
    given = {"model": "convnextv2_atto", "epochs": 4}
    said = (
        r"--freeze-backbone-epochs 5 is longer .*; 5 is in the space that is searched: give --freeze-backbone-epochs a"
        r" value for all"
    )
    with pytest.raises(UserError, match=said):
        check_dimensions(given, grid_dimensions(Family.CNN, given))
    fixed = {**given, "freeze_backbone_epochs": 1, "warmup_epochs": 1}
    check_dimensions(fixed, grid_dimensions(Family.CNN, fixed))
    check_dimensions(fixed, range_dimensions(Family.CNN, fixed))
