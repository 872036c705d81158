"""What other settings mean with `--probe`."""

import pytest

from flowerml.errors import UserError
from flowerml.settings import Family, config_id, grid, grid_points, resolve
from tests.settings.samples import COMPLETE, DIGESTS

MODELS = {Family.CNN: "convnextv2_tiny", Family.VIT: "clip_vitb16"}


@pytest.mark.parametrize("family", MODELS)
def test_what_has_no_effect_is_set_to_the_value_that_says_so(family):
    settings, warnings = resolve({"model": MODELS[family], "probe": "true", "epochs": "12"})
    assert settings.freeze_backbone_epochs == settings.epochs == 12
    assert (settings.lr_backbone, settings.llrd, settings.drop_path) == (0, 1, 0)
    assert (settings.mixup, settings.cutmix, settings.randaugment, settings.random_erasing) == (0, 0, 0, 0)
    assert (settings.batch_size, settings.lr_head) == (256, 0.003)
    assert warnings == []
    assert resolve(settings.model_dump())[0] == settings


def test_settings_of_the_head_are_taken_as_given():
    given = {"batch_size": 64, "lr_head": 0.1, "mixup": 0.3, "dropout": 0.5, "label_smoothing": 0.2, "ema": False}
    settings, _ = resolve({"model": "clip_vitb16", "probe": True, **given})
    assert {name: getattr(settings, name) for name in given} == given


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("freeze_backbone_epochs", 8), ("lr_backbone", 1e-4), ("llrd", 0.85), ("drop_path", 0.1)),
        *(
            ("cutmix", 1.0),
            ("randaugment", 9),
            ("random_erasing", 0.1),
            ("crop_scale", 0.08),
            ("color_jitter", 0.4),
            ("trivialaugment", "true"),
        ),
        *(("augment_backend", "opencv"), ("cache_images", "ram"), ("freeze_views", 4)),
    ],
)
def test_what_contradicts_it_is_refused_in_one_line(name, value):
    with pytest.raises(UserError) as caught:
        resolve({"model": "convnextv2_tiny", "probe": True, name: value})
    assert str(caught.value).startswith(f"--{name.replace('_', '-')} {value} does not go with --probe: ")
    assert "\n" not in str(caught.value)


def test_without_it_configurations_keep_their_names():
    assert config_id(COMPLETE.replace(probe=False), DIGESTS) == config_id(COMPLETE, DIGESTS)
    assert config_id(COMPLETE.replace(probe=True), DIGESTS) != config_id(COMPLETE, DIGESTS)


@pytest.mark.parametrize("family", MODELS)
def test_its_grid_has_64_points_that_can_be_run_and_the_recipe_is_one(family):
    points = grid_points(family, probe=True)
    assert len({tuple(point.items()) for point in points}) == len(points) == 64
    for point in points:
        resolve({"model": MODELS[family], "probe": True, **point})
    recipe = resolve({"model": MODELS[family], "probe": True})[0]
    assert {name: getattr(recipe, name) for name in grid(family, probe=True)} in points


def test_families_without_a_grid_have_none_of_probes():
    assert grid(Family.RELATION, probe=True) == {}
