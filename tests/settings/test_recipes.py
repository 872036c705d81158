"""What `auto` means, and the step from what was asked for to complete settings."""

from typing import get_args

import pytest

from flowerml.settings import Settings, known_models, resolve
from flowerml.settings.declaration import AUTO, fields
from flowerml.settings.families.recipes import family_recipes
from flowerml.settings.spec import RECIPE, metadata
from tests.settings.refused import refusal
from tests.settings.samples import OTHER

COLUMNS = (
    "epochs",
    "batch_size",
    "lr_head",
    "lr_backbone",
    "weight_decay",
    "warmup_epochs",
    "label_smoothing",
    "mixup",
    "cutmix",
    "randaugment",
    "random_erasing",
    "freeze_backbone_epochs",
    "llrd",
)
TABLE = {
    "cnn": dict(zip(COLUMNS, (45, 32, 1e-3, 2e-4, 0.02, 5, 0.05, 0.2, 1.0, 9, 0.1, 3, 1.0), strict=True)),
    "vit": dict(zip(COLUMNS, (30, 16, 1e-3, 1e-5, 0.02, 3, 0.05, 0.1, 0.5, 7, 0.1, 8, 0.85), strict=True)),
}
RELATION = dict(zip(COLUMNS, (50, 16, 1e-4, 1e-5, 0.0, 0, 0.0, 0.0, 0.0, 0, 0.0, 50, 1.0), strict=True))
BOTH = {
    "img_size": 224,
    "optimizer": "adamw",
    "scheduler": "cosine",
    "amp": True,
    "ema": True,
    "grad_clip": 1.0,
    "patience": 10,
    "monitor": "val_accuracy",
    "stop_epoch": None,
    "weights": "hub",
}
CNNS = ("convnextv2_atto", "convnextv2_large", "convnextv2_huge", "timm:mobilenetv2_100", "openclip:RN50-quickgelu")
VITS = (
    "clip_vitl14",
    "clip_vitb16",
    "clip_vits32",
    "timm:vit_small_patch16_224",
    "openclip:ViT-B-32/laion2b_s34b_b79k",
)
FAMILY = dict.fromkeys(CNNS, "cnn") | dict.fromkeys(VITS, "vit")


def values(settings, names):
    return {name: getattr(settings, name) for name in names}


@pytest.mark.parametrize("model", FAMILY)
def test_recipe_of_the_family_is_the_designs_table(model):
    """A model alone is a full run: the table's row, and what both families share."""
    settings, warnings = resolve({"model": model})
    assert values(settings, COLUMNS) == TABLE[FAMILY[model]]
    assert values(settings, BOTH) == BOTH
    assert warnings == []


def test_recipe_of_relations_is_the_experiments():
    """What Experiments 1 and 2 share: batch 16, rate 1e-4, crops of 128 px, dropout 0.3 and 0.2, temperature
    0.07.
    """
    settings, warnings = resolve({"model": "relation_resnet50"})
    assert values(settings, COLUMNS) == RELATION
    assert (settings.img_size, settings.dropout, settings.spatial_dropout, settings.temperature) == (
        128,
        0.3,
        0.2,
        0.07,
    )
    assert warnings == []


@pytest.mark.parametrize("epochs", [3, 50, 80])
def test_the_backbone_of_a_relation_model_is_frozen_for_as_long_as_the_run_lasts(epochs):
    settings, warnings = resolve({"model": "relation_resnet18", "epochs": epochs})
    assert settings.freeze_backbone_epochs == epochs
    assert warnings == []
    assert resolve({"model": "relation_resnet18", "freeze_backbone_epochs": 2})[0].freeze_backbone_epochs == 2


def test_no_setting_of_a_recipe_is_left_to_chance():
    from_recipe = {name for name, field in fields().items() if metadata(field, "auto") == RECIPE}
    assert from_recipe == {*COLUMNS, "img_size", "dropout", "drop_path"}
    assert all(set(recipe) == from_recipe for recipe in family_recipes().values())


def test_shown_recipes_are_those_that_run():
    """`--help` and a run read one table."""
    for family, model in (("cnn", "convnextv2_large"), ("vit", "clip_vitl14"), ("relation", "relation_resnet50")):
        settings, _ = resolve({"model": model})
        shown = family_recipes()[family]
        assert values(settings, shown) == shown
    assert list(family_recipes()) == ["cnn", "vit", "relation"]


def test_default_model_is_the_cnn_flagship():
    assert resolve({}) == resolve({"model": "convnextv2_large"})


def test_image_size_is_the_models_own():
    sizes = {model: resolve({"model": model})[0].img_size for model in known_models()}
    assert sizes.pop("clip_vitl14_336") == 336
    assert {sizes.pop("relation_resnet18"), sizes.pop("relation_resnet50")} == {128}
    assert set(sizes.values()) == {224}


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("convnextv2_large", 0.1),
        ("convnextv2_atto", 0.1),
        ("clip_vitl14", 0.0),
        ("timm:mobilenetv2_100", 0.0),
        ("timm:resnet18", 0.0),
    ],
)
def test_stochastic_depth_only_where_the_builder_takes_it(model, expected):
    assert resolve({"model": model})[0].drop_path == expected
    assert resolve({"model": model})[0].dropout == 0.0


@pytest.mark.parametrize("model", ["convnextv2_large", "clip_vitl14"])
@pytest.mark.parametrize("name", [*COLUMNS, "dropout", "drop_path"])
def test_what_was_asked_for_beats_the_recipe_and_changes_nothing_else(model, name):
    text, value = OTHER[name]
    asked, _ = resolve({"model": model, name: text})
    assert getattr(asked, name) == value
    assert asked == resolve({"model": model})[0].replace(**{name: value})


@pytest.mark.parametrize("model", ["convnextv2_large", "clip_vitl14_336"])
def test_every_setting_auto_equals_leaving_all_out(model):
    everything = {name: AUTO for name in fields() if name not in ("model", "cache_images")}
    assert resolve({"model": model, **everything}) == resolve({"model": model})


@pytest.mark.parametrize("model", ["convnextv2_large", "clip_vitl14"])
def test_auto_does_not_stand_in_complete_settings(model):
    given = {name: AUTO for name in fields() if name != "cache_images"}  # whose `auto` is a value of its own
    assert AUTO not in resolve(given | {"model": model})[0].model_dump().values()


def test_complete_settings_resolve_to_themselves():
    settings, _ = resolve({"model": "clip_vitb16", "epochs": 20})
    assert resolve(settings.model_dump()) == (settings, [])


def test_unknown_name_gets_the_nearest_one():
    assert refusal(lrhead=1e-3) == "setting 'lrhead' is unknown. Did you mean lr_head?"


def test_resolve_leaves_what_was_asked_as_it_was():
    asked = {"model": "clip_vitl14", "epochs": "2", "mixup": AUTO}
    before = dict(asked)
    resolve(asked)
    assert asked == before


def test_gives_settings():
    assert isinstance(resolve({})[0], Settings)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        (name, value)
        for name, field in fields().items()
        for value in get_args(field.annotation)
        if isinstance(value, str)
    ],
)
def test_a_value_that_a_setting_allows_is_the_one_that_runs(name, value):
    """`auto` is a value of its own for `cache_images`, and the default's name for all others."""
    model = {"box_features": "relation_resnet18", "head_init": "clip_vitb16"}.get(name, "convnextv2_atto")
    assert getattr(resolve({"model": model, name: value})[0], name) == value
