"""Settings that do not go together: with each other, with the model, or with the length of the run."""

import pytest

from flowerml.errors import UserError
from flowerml.settings import resolve
from flowerml.settings.declaration import AUTO
from tests.settings.refused import refusal


@pytest.mark.parametrize(
    ("model", "name", "own"),
    [
        ("convnextv2_large", "warmup_epochs", 5),
        ("convnextv2_large", "freeze_backbone_epochs", 3),
        ("clip_vitl14", "warmup_epochs", 3),
        ("clip_vitl14", "freeze_backbone_epochs", 8),
    ],
)
class TestFreezeAndWarmupLongerThanTheRun:
    """Shrunk with a warning when the length comes from the recipe; refused when it was asked for."""

    def test_from_the_recipe_it_shrinks_with_a_warning(self, model, name, own):
        settings, warnings = resolve({"model": model, "epochs": 2})
        assert getattr(settings, name) == 2
        assert f"{name} {own} (recipe) is longer than the run: 2 is used" in warnings
        assert len(warnings) == 2

    def test_auto_counts_as_from_the_recipe(self, model, name, own):
        assert resolve({"model": model, "epochs": 2, name: AUTO}) == resolve({"model": model, "epochs": 2})

    def test_asked_for_it_is_refused(self, model, name, own):
        with pytest.raises(UserError) as caught:
            resolve({"model": model, "epochs": 2, name: own})
        flag = f"--{name.replace('_', '-')}"
        assert str(caught.value) == f"{flag} {own} is longer than the run (--epochs 2): lower it or train longer"

    def test_as_long_as_the_run_is_allowed(self, model, name, own):
        settings, warnings = resolve({"model": model, "epochs": own, name: own})
        assert getattr(settings, name) == own
        assert not any(name in line for line in warnings)

    def test_one_epoch_longer_is_refused(self, model, name, own):
        with pytest.raises(UserError, match="is longer than the run"):
            resolve({"model": model, "epochs": own, name: own + 1})


def test_stop_epoch_lies_within_the_schedule():
    assert resolve({"epochs": 10, "stop_epoch": 10})[0].stop_epoch == 10
    assert refusal(epochs=10, stop_epoch=11) == "--stop-epoch 11 lies behind the schedule's end (--epochs 10)"


def test_views_of_a_frozen_backbone_need_epochs_with_one():
    assert refusal(freeze_views=4, freeze_backbone_epochs=0) == (
        "--freeze-views 4 does not go with --freeze-backbone-epochs 0: no epoch trains the head alone. Leave out one of"
        " the two"
    )
    assert resolve({"freeze_views": "4"})[0].freeze_views == 4
    assert refusal(freeze_views=4, model="relation_resnet18") == (
        "--freeze-views 4: only for whole pictures, and relation_resnet18 takes pairs of boxed objects: leave it out"
    )


def test_trivialaugment_takes_the_place_of_the_recipes_randaugment_and_refuses_one_that_is_given():
    settings, warnings = resolve({"trivialaugment": "true"})
    assert (settings.trivialaugment, settings.randaugment, warnings) == (True, 0, [])
    assert resolve(settings.model_dump())[0] == settings
    assert refusal(trivialaugment=True, randaugment=9) == (
        "--trivialaugment does not go with --randaugment 9: it stands in its place. Leave out one of the two"
    )
    assert resolve({"trivialaugment": True, "randaugment": 0})[0] == settings


def test_unmixed_epochs_lie_within_the_run_and_follow_mixed_ones():
    assert resolve({"epochs": 5, "unmixed_epochs": 5})[0].unmixed_epochs == 5
    assert refusal(epochs=5, unmixed_epochs=6) == (
        "--unmixed-epochs 6 is longer than the run (--epochs 5): lower it or train longer"
    )
    none_mixed = (
        "--unmixed-epochs 4 does not go with --mixup 0 and --cutmix 0: no epoch is mixed. Leave it out, or mix the"
        " epochs before them"
    )
    assert refusal(unmixed_epochs=4, mixup=0, cutmix=0) == none_mixed
    assert refusal(unmixed_epochs=4, probe=True, epochs=10) == none_mixed
    assert resolve({"unmixed_epochs": 4, "probe": True, "mixup": 0.2})[0].unmixed_epochs == 4


@pytest.mark.parametrize(
    ("name", "value"), [("crop_scale", 0.08), ("unmixed_epochs", 4), ("color_jitter", 0.4), ("trivialaugment", "true")]
)
def test_augmentation_of_whole_pictures_is_not_for_pairs(name, value):
    assert refusal(**{name: value}, model="relation_resnet18") == (
        f"--{name.replace('_', '-')} {value}: only for whole pictures, and relation_resnet18 takes pairs of boxed"
        " objects: leave it out"
    )


def test_a_head_from_texts_needs_a_text_tower():
    assert resolve({"model": "clip_vitb16", "head_init": "text"})[0].head_init == "text"
    assert refusal(model="timm:mobilenetv2_100", head_init="text") == (
        "--head-init text: timm:mobilenetv2_100 has no text tower. Allowed with it: open_clip models (clip_…,"
        " openclip:ARCH[/TAG]); or --head-init random"
    )
    assert refusal(model="relation_resnet18", head_init="text") == (
        "--head-init text: only for whole pictures, and relation_resnet18 takes pairs of boxed objects: leave it out"
    )
    assert refusal(model="clip_vitb16", head_init="text", weights="none") == (
        "--head-init text does not go with --weights none: a random text tower says nothing about classes. Allowed:"
        " hub, or the PATH of a whole open_clip checkpoint"
    )
    assert refusal(model="clip_vitb16", head_init="text", gpus=2) == (
        "--head-init text does not go with --gpus 2: only the first process would start from the texts. Leave out one"
        " of the two"
    )


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"max_minutes": 5, "stop_epoch": 3}, "--max-minutes 5 does not go with --stop-epoch 3"),
        ({"max_minutes": 5, "fitted_steps": "9"}, "--max-minutes 5 does not go with --fitted-steps 9"),
        ({"fitted_steps": "9,8@4", "stop_epoch": 3}, "--fitted-steps 9,8@4 does not go with --stop-epoch 3"),
    ],
)
def test_a_run_has_one_end(given, words):
    assert refusal(**given) == f"{words}: both say where the run ends. Leave out one of the two"


def test_a_linear_probe_has_no_time_limit():
    assert refusal(probe=True, max_minutes=5) == (
        "--max-minutes 5.0 does not go with --probe: the features take its time, and all its epochs little. Leave out"
        " one of the two"
    )


def test_accumulate_splits_at_most_into_single_pictures():
    assert resolve({"batch_size": 8, "accumulate": 8})[0].accumulate == 8
    assert refusal(batch_size=8, accumulate=9) == "--accumulate 9 is more than the --batch-size 8 it splits"


def test_plateau_needs_validation():
    assert resolve({"scheduler": "plateau", "val_split": 0.1})[0].scheduler == "plateau"
    assert resolve({"scheduler": "cosine", "val_split": 0})[0].val_split == 0
    assert refusal(scheduler="plateau", val_split=0) == (
        "--scheduler plateau needs a validation loss, and --val-split is 0: use cosine or constant, or hold some out"
    )


@pytest.mark.parametrize(
    ("model", "size", "message"),
    [
        (
            "clip_vitl14",
            225,
            "--img-size 225 does not fit clip_vitl14: allowed are multiples of its patch 14, like 224 or 238",
        ),
        (
            "clip_vitl14_336",
            224 + 1,
            "--img-size 225 does not fit clip_vitl14_336: allowed are multiples of its patch 14, like 224 or 238",
        ),
        (
            "clip_vitb16",
            200,
            "--img-size 200 does not fit clip_vitb16: allowed are multiples of its patch 16, like 192 or 208",
        ),
        (
            "clip_vits16",
            100,
            "--img-size 100 does not fit clip_vits16: allowed are multiples of its patch 16, like 96 or 112",
        ),
        (
            "clip_vitb32",
            240,
            "--img-size 240 does not fit clip_vitb32: allowed are multiples of its patch 32, like 224 or 256",
        ),
        ("clip_vits32", 16, "--img-size 16 does not fit clip_vits32: allowed are multiples of its patch 32, like 32"),
        # Both neighbours that are named must be sizes that --img-size takes (16 to 2048).
        ("clip_vitl14", 16, "--img-size 16 does not fit clip_vitl14: allowed are multiples of its patch 14, like 28"),
        (
            "clip_vitl14",
            2045,
            "--img-size 2045 does not fit clip_vitl14: allowed are multiples of its patch 14, like 2044",
        ),
    ],
)
def test_clip_image_size_is_a_multiple_of_the_patch(model, size, message):
    assert refusal(model=model, img_size=size) == message


@pytest.mark.parametrize(
    ("model", "size"), [("clip_vitl14", 28), ("clip_vitl14_336", 224), ("clip_vitb16", 64), ("clip_vits32", 2048)]
)
def test_any_multiple_of_the_patch_is_taken(model, size):
    assert resolve({"model": model, "img_size": size})[0].img_size == size


def test_a_cnn_takes_any_size():
    assert resolve({"img_size": 225})[0].img_size == 225
