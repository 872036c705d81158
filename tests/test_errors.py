"""User errors: the message is one line, whatever it contains, and survives pickling."""

import pickle

import pytest

from flowerml.errors import RunFailed, UserError, one_line

ODD = {
    "new\nline": r"new\nline",
    "a\r\x1b[31mb": r"a\r\x1b[31mb",
    "caf\udce9": r"caf\udce9",
    "\u2028": r"\u2028",
    "été 花 \\n\t'": "été 花 \\n\t'",
}


@pytest.mark.parametrize(("text", "shown"), ODD.items())
def test_unprintable_characters_are_escaped(text, shown):
    assert one_line(text) == shown
    assert one_line(shown) == shown, "escaping is idempotent"
    assert str(UserError(f"{text}: no such file")) == f"{shown}: no such file"


def test_entries_are_a_line_each():
    error = UserError("two:", ["a\nb", "c\td"])
    assert str(error) == "two:\n  a\\nb\n  c\td"
    assert str(UserError("none:", [])) == "none:"


@pytest.mark.parametrize("error", [UserError("a\nb"), RunFailed("a", ["b", "c"])])
def test_errors_can_be_pickled(error):
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), str(again), again.exit_code) == (type(error), str(error), error.exit_code)
