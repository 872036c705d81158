"""The declaration: every default, every range, every list of words, and what is refused whatever the field."""

import pytest
from pydantic import ValidationError

from flowerml.errors import UserError
from flowerml.settings import Settings, resolve
from flowerml.settings.declaration import AUTO, fields
from flowerml.settings.spec import RECIPE, metadata
from tests.settings.samples import COMPLETE, OTHER

FROM_RECIPE = object()
DEFAULTS = {
    "model": "convnextv2_large",
    "weights": "hub",
    "img_size": FROM_RECIPE,
    "mean": None,
    "std": None,
    "interpolation": None,
    "crop_pct": None,
    "dropout": FROM_RECIPE,
    "drop_path": FROM_RECIPE,
    "train_dir": "data/train",
    "test_dir": None,
    "classes": None,
    "val_split": 0.2,
    "split_seed": 11,
    "folds": 0,
    "fold": None,
    "bad_images": "stop",
    "duplicates": "stop",
    "annotations": None,
    "test_annotations": None,
    "wording": "exact",
    "box_features": "seed",
    "embedding": 128,
    "temperature": 0.07,
    "spatial_dropout": 0.2,
    "flip": 0.5,
    "cache_features": True,
    "freeze_views": 0,
    "probe": False,
    "head_init": "random",
    "epochs": FROM_RECIPE,
    "batch_size": FROM_RECIPE,
    "accumulate": 1,
    "optimizer": "adamw",
    "lr_head": FROM_RECIPE,
    "lr_backbone": FROM_RECIPE,
    "weight_decay": FROM_RECIPE,
    "llrd": FROM_RECIPE,
    "scheduler": "cosine",
    "warmup_epochs": FROM_RECIPE,
    "plateau_factor": 0.5,
    "plateau_patience": 3,
    "min_lr": 1e-6,
    "grad_clip": 1.0,
    "sam_rho": 0.0,
    "lora_rank": 0,
    "freeze_backbone_epochs": FROM_RECIPE,
    "amp": True,
    "tf32": "convolutions",
    "ema": True,
    "label_smoothing": FROM_RECIPE,
    "mixup": FROM_RECIPE,
    "cutmix": FROM_RECIPE,
    "unmixed_epochs": 0,
    "randaugment": FROM_RECIPE,
    "trivialaugment": False,
    "random_erasing": FROM_RECIPE,
    "crop_scale": 0.35,
    "color_jitter": 0.0,
    "augment_backend": "torchvision",
    "class_weights": "none",
    "effective_beta": 0.999,
    "focal_gamma": 0.0,
    "logit_adjustment": 0.0,
    "oversample": "none",
    "monitor": "val_accuracy",
    "patience": 10,
    "min_epochs": 0,
    "stop_epoch": None,
    "max_minutes": 0.0,
    "fitted_steps": "none",
    "seed": 11,
    "output_dir": None,
    "runs_root": "runs",
    "resume": "last",
    "checkpoint_every_steps": 0,
    "checkpoint_every_minutes": 0.0,
    "keep_checkpoints": 2,
    "keep_epochs": 0,
    "lease_seconds": 60,
    "on_launcher_death": "stop",
    "overwrite": False,
    "experiment": None,
    "run_name": None,
    "workers": None,
    "cache_images": "off",
    "cache_images_gb": 0.0,
    "device": None,
    "compile": None,
    "grad_checkpointing": False,
    "gpus": 1,
}
# name: (values at the edges that must pass, values just beyond that must not)
RANGES = {
    "img_size": ((16, 2048), (15, 0, 2049)),
    "crop_pct": ((0.11, 1.0), (0.1, 0.0, 1.01)),
    "dropout": ((0.0, 0.999), (-0.001, 1.0)),
    "drop_path": ((0.0, 0.999), (-0.001, 1.0)),
    "val_split": ((0.0, 0.999), (-0.001, 1.0)),
    "split_seed": ((0, 2**31), (-1, 2**31 + 1)),
    "folds": ((0, 20), (-1, 21)),
    "fold": ((1, 20), (0, -1)),
    "embedding": ((1, 65_536), (0, 65_537)),
    "temperature": ((1e-6, 100.0), (0.0, 100.1)),
    "spatial_dropout": ((0.0, 0.999), (-0.001, 1.0)),
    "flip": ((0.0, 1.0), (-0.001, 1.001)),
    "epochs": ((1, 10_000), (0, 10_001)),
    "batch_size": ((1, 65_536), (0, 65_537)),
    "accumulate": ((1, 1024), (0, 1025)),
    "lr_head": ((1e-12, 10.0), (0.0, -1e-3, 10.1)),
    "lr_backbone": ((0.0, 10.0), (-1e-9, 10.1)),
    "weight_decay": ((0.0, 10.0), (-1e-9, 10.1)),
    "llrd": ((0.01, 1.0), (0.0, 1.01)),
    "warmup_epochs": ((0, 10_000), (-1, 10_001)),
    "plateau_factor": ((0.001, 0.999), (0.0, 1.0)),
    "plateau_patience": ((0, 10_000), (-1, 10_001)),
    "min_lr": ((0.0, 10.0), (-1e-9, 10.1)),
    "grad_clip": ((0.0, 1e6), (-0.1, 1.1e6)),
    "sam_rho": ((0.0, 10.0), (-0.1, 10.1)),
    "lora_rank": ((0, 1024), (-1, 1025)),
    "freeze_backbone_epochs": ((0, 10_000), (-1, 10_001)),
    "freeze_views": ((0, 64), (-1, 65)),
    "label_smoothing": ((0.0, 0.999), (-0.001, 1.0)),
    "mixup": ((0.0, 10.0), (-0.1, 10.1)),
    "cutmix": ((0.0, 10.0), (-0.1, 10.1)),
    "unmixed_epochs": ((0, 10_000), (-1, 10_001)),
    "randaugment": ((0, 30), (-1, 31)),
    "random_erasing": ((0.0, 1.0), (-0.1, 1.1)),
    "crop_scale": ((0.01, 1.0), (0.0, 0.009, 1.01)),
    "color_jitter": ((0.0, 1.0), (-0.1, 1.1)),
    "effective_beta": ((0.0, 0.99999), (-0.1, 1.0)),
    "focal_gamma": ((0.0, 10.0), (-0.1, 10.1)),
    "logit_adjustment": ((0.0, 10.0), (-0.1, 10.1)),
    "patience": ((0, 10_000), (-1, 10_001)),
    "min_epochs": ((0, 10_000), (-1, 10_001)),
    "stop_epoch": ((1, 10_000), (0, 10_001)),
    "max_minutes": ((0.0, 100_000.0), (-0.1, 100_001.0)),
    "seed": ((0, 2**31), (-1, 2**31 + 1)),
    "checkpoint_every_steps": ((0, 10**9), (-1, 10**9 + 1)),
    "checkpoint_every_minutes": ((0.0, 10_000.0), (-0.1, 10_001.0)),
    "keep_checkpoints": ((1, 1000), (0, 1001)),
    "keep_epochs": ((0, 1000), (-1, 1001)),
    "lease_seconds": ((1, 86_400), (0, 86_401)),
    "gpus": ((1, 1024), (0, 1025)),
    "workers": ((0, 256), (-1, 257)),
    "cache_images_gb": ((0.0, 100_000.0), (-0.1, 100_001.0)),
}
WORDS = {
    "interpolation": {"bilinear", "bicubic"},
    "augment_backend": {"torchvision", "opencv"},
    "cache_images": {"off", "ram", "disk", "auto"},
    "bad_images": {"stop", "skip"},
    "duplicates": {"stop", "keep", "drop"},
    "optimizer": {"adamw", "sgd"},
    "tf32": {"off", "convolutions", "on"},
    "scheduler": {"cosine", "plateau", "constant"},
    "class_weights": {"none", "balanced", "effective"},
    "resume": {"last", "never"},
    "on_launcher_death": {"stop", "finish"},
    "monitor": {"val_accuracy", "val_macro_f1", "val_mean_recall", "val_loss"},
    "box_features": {"seed", "published", "rich"},
}
WHOLE = [name for name, (passes, _) in RANGES.items() if isinstance(passes[0], int)]
FLOATS = [name for name, (passes, _) in RANGES.items() if isinstance(passes[0], float)]
BOOLS = [name for name, default in DEFAULTS.items() if isinstance(default, bool)]


def test_declares_exactly_the_documented_settings():
    assert set(fields()) == set(DEFAULTS)


@pytest.mark.parametrize("name", DEFAULTS)
def test_default(name):
    """Each default is the documented one, typed; a setting of the recipe has none."""
    field, expected = fields()[name], DEFAULTS[name]
    assert field.is_required() == (expected is FROM_RECIPE)
    assert (metadata(field, "auto") == RECIPE) == (expected is FROM_RECIPE)
    if expected is not FROM_RECIPE:
        assert field.default == expected
        assert type(field.default) is type(expected)


@pytest.mark.parametrize("name", sorted(set(DEFAULTS) - {"cache_images"}))  # whose `auto` is a value of its own
def test_auto_equals_leaving_out(name):
    asked = {name: AUTO}
    assert resolve(asked) == resolve({})


@pytest.mark.parametrize("name", DEFAULTS)
def test_text_and_typed_value_are_the_same_setting(name):
    """A command line gives text, a plan file gives values: both mean the same, to the type."""
    text, value = OTHER[name]
    from_text, from_value = (getattr(COMPLETE.replace(**{name: given}), name) for given in (text, value))
    assert from_text == from_value == value
    assert type(from_text) is type(from_value) is type(value)


def test_ranges_are_tested_for_every_bounded_setting():
    bounded = {
        name
        for name, field in fields().items()
        if any(hasattr(mark, edge) for mark in field.metadata for edge in ("ge", "gt"))
    }
    assert bounded == set(RANGES)


@pytest.mark.parametrize("name", RANGES)
def test_range_allows_its_edges(name):
    for value in RANGES[name][0]:
        assert getattr(COMPLETE.replace(**{name: value}), name) == value
        assert getattr(COMPLETE.replace(**{name: repr(value)}), name) == value


@pytest.mark.parametrize("name", RANGES)
def test_range_refuses_what_lies_beyond(name):
    """Typed or as text, with one line that names the flag and the value."""
    flag = f"--{name.replace('_', '-')}"
    for value in RANGES[name][1]:
        for given in (value, repr(value)):
            with pytest.raises(UserError) as caught:
                resolve({name: given})
            assert str(caught.value).startswith(f"{flag} is {given!r}. Allowed: ")


@pytest.mark.parametrize("name", WORDS)
def test_words_are_exactly_the_documented_ones(name):
    words = WORDS[name]
    assert {getattr(COMPLETE.replace(**{name: word}), name) for word in words} == words
    for word in ("", "nope", next(iter(words)).upper()):
        with pytest.raises(ValidationError):
            COMPLETE.replace(**{name: word})


def assert_refused(name, value):
    with pytest.raises(ValidationError):
        pytest.fail(f"{name} took {value!r} as {getattr(COMPLETE.replace(**{name: value}), name)!r}")


@pytest.mark.parametrize("name", FLOATS)
def test_number_refuses_what_is_not_finite_or_not_a_number(name):
    for value in ("nan", "inf", "-inf", float("nan"), float("inf"), "", "1,5", "0.1.2", "1e", "none", "true"):
        assert_refused(name, value)
    if DEFAULTS[name] is not None:
        assert_refused(name, None)


@pytest.mark.parametrize("name", WHOLE)
def test_whole_number_refuses_fractions_booleans_and_other_spellings(name):
    """`20.0` and true are no whole numbers: a typing mistake is not rounded into a setting."""
    for value in ("20.0", "2e1", "2_0", "true", True, "", "one", "0x20", "nan", "20.5", 20.5):
        assert_refused(name, value)


@pytest.mark.parametrize("name", WHOLE)
def test_whole_number_refuses_a_float(name):
    """What is refused as text is refused typed, as a plan file gives it."""
    assert_refused(name, 20.0)


@pytest.mark.parametrize("name", BOOLS)
def test_switch_takes_true_and_false_only(name):
    for value in (True, False):
        assert getattr(COMPLETE.replace(**{name: value}), name) is value
        assert getattr(COMPLETE.replace(**{name: str(value).lower()}), name) is value
    for value in ("", "2", "maybe", "none", None, 2, 0.5):
        with pytest.raises(ValidationError):
            COMPLETE.replace(**{name: value})


@pytest.mark.parametrize("name", DEFAULTS)
def test_frozen(name):
    with pytest.raises(ValidationError, match="frozen"):
        setattr(COMPLETE, name, OTHER[name][1])


def test_replace_gives_a_validated_copy():
    changed = COMPLETE.replace(epochs="7")
    assert (changed.epochs, COMPLETE.epochs) == (7, 45)
    assert changed.replace(epochs=45) == COMPLETE
    with pytest.raises(ValidationError):
        COMPLETE.replace(epochs=0)


def test_unknown_setting_is_refused():
    with pytest.raises(ValidationError):
        Settings.model_validate({**COMPLETE.model_dump(), "learning_rate": 1})


@pytest.mark.parametrize(
    "given", ["rose,daisy,tulip", "tulip, rose ,daisy", ["daisy", "tulip", "rose"], ("tulip", "daisy", "rose")]
)
def test_class_order_is_irrelevant(given):
    """Class names are known by name, never by position."""
    assert COMPLETE.replace(classes=given).classes == ("daisy", "rose", "tulip")


def test_classes_are_in_nfc_however_they_were_typed():
    """macOS completes names in NFD: é as e and an accent."""
    assert COMPLETE.replace(classes="cafe\u0301,rose").classes == ("caf\u00e9", "rose")
    with pytest.raises(ValidationError):
        COMPLETE.replace(classes="cafe\u0301,caf\u00e9")


@pytest.mark.parametrize("given", ["", ",", "rose,,daisy", "rose,daisy,", [], "rose,rose,daisy"])
def test_classes_refuses_empty_and_doubled_names(given):
    """A doubled name would add an output that no picture ever has; an empty one names the folder itself."""
    with pytest.raises(ValidationError):
        COMPLETE.replace(classes=given)


@pytest.mark.parametrize("name", ["mean", "std"])
def test_colours_are_three_numbers(name):
    assert getattr(COMPLETE.replace(**{name: "0.1, .2,1"}), name) == (0.1, 0.2, 1.0)
    assert getattr(COMPLETE.replace(**{name: [0.1, 0.2, 1]}), name) == (0.1, 0.2, 1.0)
    for given in ("0.5", "0.5,0.5", "0.5,0.5,0.5,0.5", "a,b,c", "0.5,,0.5", "nan,0.5,0.5", ""):
        with pytest.raises(ValidationError):
            COMPLETE.replace(**{name: given})


@pytest.mark.parametrize("given", ["none", "100:3", "100:3,500:2", "1:1"])
def test_oversample_takes_counts_and_times(given):
    assert COMPLETE.replace(oversample=given).oversample == given


@pytest.mark.parametrize(
    "given",
    ["", "100", "100:", ":3", "0:3", "100:0", "100:3,", "100:3;500:2", "100:3, 500:2", "100:-3", "100:1.5", "None"],
)
def test_oversample_refuses_anything_else(given):
    with pytest.raises(ValidationError):
        COMPLETE.replace(oversample=given)


def test_device_names():
    for given in ("cpu", "mps", "cuda", "cuda:0", "cuda:12"):
        assert COMPLETE.replace(device=given).device == given
    for given in ("", "gpu", "CPU", "cuda:", "cuda:x", "cpu:0", " cpu", "cpu\n"):
        with pytest.raises(ValidationError):
            COMPLETE.replace(device=given)


@pytest.mark.parametrize("name", ["test_dir", "stop_epoch", "fold", "annotations", "test_annotations"])
def test_none_says_not_used(name):
    assert getattr(COMPLETE.replace(**{name: OTHER[name][1]}).replace(**{name: "none"}), name) is None


@pytest.mark.parametrize("name", ["weights", "train_dir", "test_dir"])
def test_empty_path_is_refused(name):
    """`--test-dir ""` would be the current folder."""
    with pytest.raises(ValidationError):
        COMPLETE.replace(**{name: ""})
