"""Every default, `auto`, text and typed values, and that complete settings are frozen and take no others."""

import pytest
from pydantic import ValidationError

from flowerml.settings import Settings, resolve
from flowerml.settings.declaration import AUTO, fields
from flowerml.settings.spec import RECIPE, metadata
from tests.settings.declaration.documented import DEFAULTS, FROM_RECIPE
from tests.settings.samples import COMPLETE, OTHER


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
