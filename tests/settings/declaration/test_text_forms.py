"""Settings with a form of their own: class names, colours, oversampling, fitted steps, devices, paths, `none`."""

import pytest
from pydantic import ValidationError

from tests.settings.refused import refusal
from tests.settings.samples import COMPLETE, OTHER


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


@pytest.mark.parametrize("std", ["0,1,1", "1,-0.5,1"])
def test_std_is_above_zero(std):
    assert refusal(std=std).endswith("every number must be above 0")
    assert refusal(std=std).startswith("--std ")


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


@pytest.mark.parametrize("text", ["", "0", "12,", "12@4", "12,11", "12,11@x", "12, 11@4"])
def test_fitted_steps_of_another_form_are_refused(text):
    assert "Allowed: none or " in refusal(fitted_steps=text)


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
