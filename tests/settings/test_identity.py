"""`config_id`, both ways: what must not matter, and what must."""

from dataclasses import replace

import pytest

from flowerml.settings import config_id, resolve
from flowerml.settings.declaration import AUTO, fields
from flowerml.settings.identity import identity_values
from flowerml.settings.spec import metadata
from tests.settings.samples import COMPLETE, DIGESTS, OTHER

# Written out, not read from the declaration: a setting that is added must be put on one side on purpose.
MUST_NOT_MATTER = {
    "seed": "a configuration's runs differ in it",
    "output_dir": "where",
    "overwrite": "where",
    "runs_root": "where",
    "resume": "how it got there",
    "checkpoint_every_steps": "how it got there",
    "checkpoint_every_minutes": "how it got there",
    "keep_checkpoints": "how it got there",
    "keep_epochs": "how it got there",
    "lease_seconds": "how it got there",
    "on_launcher_death": "how it got there",
    "run_name": "a name",
    "experiment": "a name",
    "workers": "how it was computed",
    "device": "how it was computed",
    "compile": "how it was computed",
    "grad_checkpointing": "how it was computed",
    "gpus": "how it was computed",
    "accumulate": "micro-batches",
    "cache_images_gb": "how it was computed",
    "bad_images": "by content, in the data digest",
    "duplicates": "by content, in the data digest",
    "train_dir": "by content, in the data digest",
    "annotations": "by content, in the data digest",
    "wording": "by content, in the data digest",
    "test_annotations": "is only looked at when all is done",
    "cache_features": "how it was computed",
    "val_split": "by content, in the split digest",
    "split_seed": "by content, in the split digest",
    "folds": "by content, in the split digest",
    "fold": "by content, in the split digest",
    "weights": "by content, as sha256",
    "test_dir": "is only looked at when all is done",
}
MUST_MATTER = [name for name in fields() if name not in MUST_NOT_MATTER]
# Computed once. If this changes, every configuration in every tracking store becomes another one: that needs a reason.
GOLDEN = "871fa2935ab912167d38004aba991a016496d729b969a2b1030c70c65da819ae"


def changed(**changes):
    return config_id(COMPLETE.replace(**changes), DIGESTS)


def test_golden():
    """The canonical form (names, types, order, separators, encoding) is fixed for good."""
    assert config_id(COMPLETE, DIGESTS) == GOLDEN


def test_settings_that_came_later_leave_the_names_of_earlier_configurations_alone():
    """GOLDEN was computed before they were there; at their defaults nothing about them stands in the identity."""
    late = {name for name, field in fields().items() if metadata(field, "late")}
    assert late == {
        *("effective_beta", "focal_gamma", "logit_adjustment", "probe", "freeze_views", "tf32", "head_init"),
        *("augment_backend", "cache_images", "crop_scale", "unmixed_epochs", "color_jitter", "trivialaugment"),
        *("sam_rho", "lora_rank", "max_minutes", "fitted_steps"),
        *("box_features", "embedding", "temperature", "spatial_dropout", "flip"),
    }
    assert late.isdisjoint(identity_values(COMPLETE, DIGESTS))
    assert identity_values(COMPLETE.replace(focal_gamma=2), DIGESTS)["focal_gamma"] == 2.0


def test_where_pictures_are_cached_does_not_matter_but_that_they_are_does():
    """The cache reduces them; memory and disk give the same pixels."""
    off, *cached = (changed(cache_images=value) for value in ("off", "ram", "disk", "auto"))
    assert off == GOLDEN
    assert len(set(cached)) == 1
    assert cached[0] != off


def test_is_a_sha256_in_hex():
    assert len(GOLDEN) == 64
    assert set(GOLDEN) <= set("0123456789abcdef")


def test_samples_change_every_setting():
    """Each of these tests changes one setting: none may be forgotten, none may be changed into what it was."""
    assert set(OTHER) == set(fields())
    assert all(getattr(COMPLETE, name) != value for name, (_, value) in OTHER.items())


@pytest.mark.parametrize("name", MUST_NOT_MATTER)
def test_must_not_matter(name):
    assert changed(**{name: OTHER[name][0]}) == GOLDEN


def test_all_that_must_not_matter_at_once():
    assert changed(**{name: OTHER[name][0] for name in MUST_NOT_MATTER}) == GOLDEN


@pytest.mark.parametrize("name", MUST_MATTER)
def test_must_matter(name):
    assert changed(**{name: OTHER[name][0]}) != GOLDEN


def test_each_setting_that_matters_gives_an_identity_of_its_own():
    """No two single changes fall together (a value without its name would let them)."""
    ids = {changed(**{name: OTHER[name][0]}) for name in MUST_MATTER}
    assert len(ids) == len(MUST_MATTER)


@pytest.mark.parametrize("name", list(fields()))
def test_declared_mark_is_the_designs(name):
    assert metadata(fields()[name], "identity") is (name not in MUST_NOT_MATTER)


@pytest.mark.parametrize("digest", ["data", "split", "weights"])
def test_each_digest_matters(digest):
    assert config_id(COMPLETE, replace(DIGESTS, **{digest: "0" * 64})) != GOLDEN


def test_digests_do_not_stand_in_for_one_another():
    swapped = replace(DIGESTS, data=DIGESTS.split, split=DIGESTS.data)
    assert config_id(COMPLETE, swapped) != GOLDEN


@pytest.mark.parametrize("spelling", ["0.0001", "1e-4", "1E-04", ".0001", " 1e-4 ", "0.00010", "+1e-4", 0.0001])
def test_spelling_of_a_number_does_not_matter(spelling):
    """1e-4 = 0.0001, as text and typed."""
    assert changed(lr_backbone=spelling) == changed(lr_backbone=0.0001) != GOLDEN


@pytest.mark.parametrize("spelling", [1, 1.0, "1", "1.0", "1e0", "01.00"])
def test_a_whole_value_of_a_float_setting_is_one_value(spelling):
    assert changed(cutmix=spelling) == GOLDEN


@pytest.mark.parametrize(
    "spelling", ["tulip,sunflower,rose,dandelion,daisy", ["tulip", "daisy", "sunflower", "rose", "dandelion"]]
)
def test_class_order_does_not_matter(spelling):
    assert changed(classes=spelling) == GOLDEN


def test_a_small_difference_matters():
    assert changed(lr_head=0.001 + 1e-15) != GOLDEN


def test_auto_is_what_it_stands_for():
    """A run that leaves all to the recipe and one that writes the recipe out are one configuration."""
    names = ("mean", "std", "interpolation", "crop_pct", "classes")
    described = {name: getattr(COMPLETE, name) for name in names}
    left_out, _ = resolve(described)
    left_to_it = {name: AUTO for name in fields() if name != "cache_images"}  # whose `auto` is a value of its own
    by_word, _ = resolve({**left_to_it, **described})
    assert config_id(left_out, DIGESTS) == config_id(by_word, DIGESTS) == GOLDEN


def test_identity_is_plain_and_complete():
    """Exactly the shaping settings and the three digests, as values that JSON keeps apart (5 is not "5", true is not
    1).
    """
    found = identity_values(COMPLETE, DIGESTS)
    late = {name for name, field in fields().items() if metadata(field, "late")}
    assert set(found) == {*MUST_MATTER, "data", "split", "weights"} - late
    assert found["weights"] == DIGESTS.weights
    assert (found["epochs"], found["lr_head"], found["amp"], found["stop_epoch"]) == (45, 0.001, True, None)
    assert type(found["epochs"]) is int
    assert type(found["cutmix"]) is float
    assert found["classes"] == ["daisy", "dandelion", "rose", "sunflower", "tulip"]


def test_no_path_stands_in_the_identity():
    settings = COMPLETE.replace(train_dir="/a/path", test_dir="/a/path", weights="/a/path", output_dir="/a/path")
    assert "/a/path" not in repr(identity_values(settings, DIGESTS))
