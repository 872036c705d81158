"""Settings as text and back: what MLflow shows equals, when parsed, what ran; what `mlflow run` logged first does not
contradict it.
"""

import shlex

import pytest

from flowerml.settings import resolve
from flowerml.settings.declaration import AUTO, fields
from flowerml.settings.serialization import as_params, as_text, conflicting_params
from flowerml.settings.spec import RELATION, metadata
from tests.settings.samples import COMPLETE, OTHER

CHANGED = COMPLETE.replace(**{name: value for name, (_, value) in OTHER.items()})
NAMES = list(fields())
# What a run can be: the settings of boxed pairs go with models of pairs, those that mix or move pixels with the others,
# a linear probe with neither, and a head from texts with CLIP.
OF_PAIRS = [name for name, field in fields().items() if metadata(field, "group") == RELATION]
PICTURES = CHANGED.replace(
    **{name: getattr(COMPLETE, name) for name in OF_PAIRS},
    probe=False,
    trivialaugment=False,
    head_init="random",
    lora_rank=0,
    stop_epoch=None,
    fitted_steps="none",
)
PAIRS = CHANGED.replace(
    model="relation_resnet18",
    stop_epoch=None,
    max_minutes=0.0,
    folds=0,
    fold=None,
    lora_rank=0,
    freeze_views=0,
    cutmix=0,
    unmixed_epochs=0,
    randaugment=0,
    crop_scale=0.35,
    color_jitter=0,
    trivialaugment=False,
    augment_backend="torchvision",
    cache_images="off",
    cache_images_gb=0,
    probe=False,
    head_init="random",
)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "none"),
        (True, "true"),
        (False, "false"),
        (0, "0"),
        (7, "7"),
        (0.001, "0.001"),
        (1e-5, "1e-05"),
        (1.0, "1.0"),
        (0.1 + 0.2, "0.30000000000000004"),
        ("rose", "rose"),
        (("rose", "tulip"), "rose,tulip"),
        ((0.5, 0.25, 1.0), "0.5,0.25,1.0"),
    ],
)
def test_as_text(value, text):
    assert as_text(value) == text


@pytest.mark.parametrize("settings", [COMPLETE, PICTURES, PAIRS], ids=["documented", "changed", "changed pairs"])
def test_params_are_every_setting_and_parse_back_to_what_ran(settings):
    """The rule for MLflow params: equal to what ran when parsed."""
    params = as_params(settings)
    assert list(params) == NAMES
    assert all(isinstance(text, str) and text for text in params.values())
    assert AUTO not in params.values()
    assert resolve(params) == (settings, [])


@pytest.mark.parametrize("name", NAMES)
def test_own_text_never_contradicts(name):
    for settings in (COMPLETE, CHANGED):
        text = as_params(settings)[name]
        assert conflicting_params({name: shlex.quote(text)}, settings) == {}


@pytest.mark.parametrize("name", NAMES)
def test_what_a_person_typed_never_contradicts_what_it_means(name):
    """`mlflow run` logs `-P` raw and shell-quoted: 1e-4 for 0.0001, 'a b' for a path with a space."""
    typed = OTHER[name][0]
    assert conflicting_params({name: shlex.quote(typed)}, CHANGED) == {}


@pytest.mark.parametrize("name", NAMES)
def test_another_value_contradicts(name):
    raw = shlex.quote(OTHER[name][0])
    assert conflicting_params({name: raw}, COMPLETE) == {name: raw}


@pytest.mark.parametrize("name", NAMES)
def test_auto_contradicts_whatever_it_stood_for(name):
    """Params can't be changed, and `auto` is never shown: such a run becomes the launcher of one with the resolved
    values.
    """
    assert conflicting_params({name: "auto"}, COMPLETE) == {name: "auto"}
    assert conflicting_params({name: "auto"}, CHANGED) == {name: "auto"}


@pytest.mark.parametrize("name", NAMES)
def test_hyphenated_name_is_the_same_setting(name):
    """`-P lr-backbone=…` makes a second param beside lr_backbone; it must be true as well."""
    hyphenated = name.replace("_", "-")
    raw = shlex.quote(OTHER[name][0])
    assert conflicting_params({hyphenated: raw}, CHANGED) == {}
    assert conflicting_params({hyphenated: raw}, COMPLETE) == {hyphenated: raw}


@pytest.mark.parametrize("raw", ["1e-4", "0.0001", "1E-4", "'1e-4'", '"1e-4"', ".0001", "0.00010"])
def test_spellings_of_a_number_agree(raw):
    assert conflicting_params({"lr_backbone": raw}, CHANGED) == {}


@pytest.mark.parametrize("raw", ["0.00011", "1e-3", "", "''", "none", "1e-4 1e-4", "'1e-4", "abc", "nan"])
def test_anything_else_contradicts_a_number(raw):
    assert conflicting_params({"lr_backbone": raw}, CHANGED) == {"lr_backbone": raw}


@pytest.mark.parametrize(
    "path",
    [
        "data/train",
        "my photos/train set",
        "données/été 2026",
        "it's here",
        'a "quoted" name',
        "a$HOME`b`",
        "semi;colon & more",
        "tab\there",
    ],
)
def test_shell_quoted_paths_agree_and_raw_ones_with_spaces_do_not_pass_for_others(path):
    settings = COMPLETE.replace(train_dir=path)
    assert conflicting_params({"train_dir": shlex.quote(path)}, settings) == {}
    assert conflicting_params({"train_dir": shlex.quote(path + "2")}, settings) == {
        "train_dir": shlex.quote(path + "2")
    }


def test_class_names_agree_in_any_order():
    settings = COMPLETE.replace(classes=("daisy", "rose"))
    assert conflicting_params({"classes": "rose,daisy"}, settings) == {}
    assert conflicting_params({"classes": "'rose, daisy'"}, settings) == {}
    assert conflicting_params({"classes": "rose"}, settings) == {"classes": "rose"}


@pytest.mark.parametrize("name", ["checkpoint", "plan", "lr", "Model", "model ", "entry.point"])
def test_params_that_are_no_settings_are_nobodys_contradiction(name):
    assert conflicting_params({name: "whatever"}, COMPLETE) == {}


def test_gives_exactly_the_params_that_are_wrong():
    logged = {"model": "convnextv2_large", "lr_head": "auto", "epochs": "44", "seed": "11", "plan": "tp3"}
    assert conflicting_params(logged, COMPLETE) == {"lr_head": "auto", "epochs": "44"}
    assert conflicting_params({}, COMPLETE) == {}
