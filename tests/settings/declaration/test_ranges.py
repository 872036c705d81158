"""Every range and every list of words; what numbers and switches refuse whatever the setting."""

import pytest
from pydantic import ValidationError

from flowerml.errors import UserError
from flowerml.settings import resolve
from flowerml.settings.declaration import fields
from tests.settings.declaration.documented import DEFAULTS, RANGES, WORDS
from tests.settings.samples import COMPLETE

WHOLE = [name for name, (passes, _) in RANGES.items() if isinstance(passes[0], int)]
FLOATS = [name for name, (passes, _) in RANGES.items() if isinstance(passes[0], float)]
BOOLS = [name for name, default in DEFAULTS.items() if isinstance(default, bool)]


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
