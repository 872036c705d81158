"""Tests of what stderr shows while something is loaded: words that go away on a terminal, nothing in a log."""

import os
import pty
import sys
from contextlib import suppress

import pytest

from flowerml.progress_bar import status


@pytest.fixture
def terminal(monkeypatch, caplog):
    """Makes a terminal of stderr, within a test; returns what it has received since the last time."""
    caplog.set_level("INFO", "flowerml")
    ours, theirs = pty.openpty()
    os.set_blocking(ours, False)

    def received():
        if sys.stderr is not stream:  # pytest sets its own between a fixture and its test
            monkeypatch.setattr(sys, "stderr", stream)
        with suppress(BlockingIOError):
            return os.read(ours, 10_000).decode()
        return ""

    with os.fdopen(theirs, "w") as stream:
        yield received
    os.close(ours)


def test_a_terminal_shows_the_words_until_the_end(terminal):
    assert terminal() == ""
    with status("loading PyTorch"):
        assert terminal() == "loading PyTorch …"
    assert terminal() == "\r\033[K"


def test_an_error_finds_an_empty_line(terminal):
    assert terminal() == ""
    with pytest.raises(ImportError), status("loading PyTorch"):
        raise ImportError
    assert terminal().endswith("\r\033[K")


def test_with_quiet_a_terminal_shows_nothing(terminal, caplog):
    caplog.set_level("WARNING", "flowerml")
    assert terminal() == ""
    with status("loading PyTorch"):
        pass
    assert terminal() == ""


def test_a_log_has_nothing_of_it(capsys, caplog):
    caplog.set_level("INFO", "flowerml")
    with status("loading PyTorch"):
        pass
    assert capsys.readouterr() == ("", "")
