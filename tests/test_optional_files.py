"""Figures, pages and reports that can't be made: named in one line, and nothing else is affected."""

import pytest

from flowerml.errors import LeaseLost, Stopped, UserError
from flowerml.optional_files import try_to_make, write_optional


def failing(error):
    def fail(*_):
        raise error

    return fail


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (MemoryError(), "MemoryError"),
        (OSError(28, "No space left on device"), "No space left on device"),
        (UserError("can't write out/curves.png: disk full"), "can't write out/curves.png: disk full"),
        (ValueError("first\nsecond"), "ValueError: first"),
    ],
)
def test_any_failure_is_named_in_one_line(tmp_path, capsys, error, words):
    path = tmp_path / "curves.png"
    path.write_text("of an earlier run")
    assert not write_optional(path, failing(error))
    (line,) = capsys.readouterr().err.splitlines()
    assert str(path) in line
    assert words in line
    assert not path.exists(), "an earlier file would be taken for this one"


@pytest.mark.parametrize("error", [LeaseLost("taken over"), Stopped("by Ctrl-C"), KeyboardInterrupt()])
def test_a_stop_is_no_failure(tmp_path, error):
    with pytest.raises(type(error)):
        write_optional(tmp_path / "curves.png", failing(error))


def test_what_can_be_made_is_returned_and_nothing_is_said(tmp_path, capsys):
    assert try_to_make("four", lambda: 4) == 4
    assert write_optional(tmp_path / "a.txt", lambda path: path.write_text("a"))
    assert (tmp_path / "a.txt").read_text() == "a"
    assert capsys.readouterr().err == ""
