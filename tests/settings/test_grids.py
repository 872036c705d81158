"""The families' grids, against the recipes they vary."""

import pytest

from flowerml.settings import Family, find_model, grid, grid_points, resolve
from flowerml.settings.families.recipes import recipe_for

FLAGSHIPS = {Family.CNN: "convnextv2_large", Family.VIT: "clip_vitl14"}


@pytest.mark.parametrize("family", FLAGSHIPS)
def test_sixty_four_different_points(family):
    points = grid_points(family)
    assert len(points) == 64
    assert len({tuple(point.items()) for point in points}) == 64


@pytest.mark.parametrize("family", FLAGSHIPS)
def test_the_recipe_is_a_point_of_its_grid(family):
    values = recipe_for(find_model(FLAGSHIPS[family]))
    assert {name: values[name] for name in grid(family)} in grid_points(family)


@pytest.mark.parametrize("family", FLAGSHIPS)
def test_every_point_is_in_range(family):
    for point in grid_points(family):
        settings, warnings = resolve({"model": FLAGSHIPS[family], **point})
        assert {name: getattr(settings, name) for name in point} == point
        assert warnings == []


def test_the_documents_values():
    """As the user wrote them down."""
    assert grid(Family.CNN)["lr_head"] == (0.001, 0.0007)
    assert grid(Family.VIT)["lr_backbone"] == (0.00001, 0.000005)
    assert set(grid(Family.CNN)) == {
        "batch_size",
        "lr_head",
        "lr_backbone",
        "weight_decay",
        "label_smoothing",
        "freeze_backbone_epochs",
    }
    assert set(grid(Family.VIT)) == {"lr_head", "lr_backbone", "weight_decay", "mixup", "cutmix", "llrd"}
