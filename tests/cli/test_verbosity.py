"""`-q` and `-v` on every command: how much of the log reaches stderr. Results on stdout do not depend on them."""

import json
import logging

import pytest

from flowerml.cli.main import COMMANDS, main
from flowerml.log import ROOT, configure_logging, set_verbosity


@pytest.fixture(autouse=True)
def _usual_level():
    yield
    set_verbosity(quiet=False, verbose=False)


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("flag", ["-q", "--quiet", "-v", "--verbose"])
def test_every_command_takes_the_flags(command, flag, capsys):
    assert main([command, flag, "--no-such-flag"]) == 2
    error = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(error) == 1
    assert "'--no-such-flag' is unknown" in error[0] or "required" in error[0]


@pytest.mark.parametrize("command", COMMANDS)
def test_quiet_and_verbose_exclude_each_other(command, capsys):
    assert main([command, "-q", "-v"]) == 2
    assert "not allowed with argument" in capsys.readouterr().err


def lines_of(words, capsys):
    assert main(words) == 0
    captured = capsys.readouterr()
    return captured.out, captured.err.splitlines()


def test_quiet_leaves_out_information_and_keeps_results(tmp_path, capsys):
    words = ["dataset", "make", "--per-class", "1", "--size", "32", "--train-dir"]
    _, usual = lines_of([*words, str(tmp_path / "a")], capsys)
    _, quiet = lines_of([*words, str(tmp_path / "b"), "-q"], capsys)
    assert any("drawn into" in line for line in usual)
    assert quiet == []
    out, _ = lines_of(["dataset", "check", "--train-dir", str(tmp_path / "b"), "-q", "--json"], capsys)
    assert sum(json.loads(out)["counts"].values()) == 5


def test_verbose_adds_debug_records_with_their_module(tmp_path, capsys):
    _, verbose = lines_of(
        ["dataset", "make", "-v", "--per-class", "1", "--size", "32", "--train-dir", str(tmp_path / "a")], capsys
    )
    assert any("drawn into" in line for line in verbose)
    assert any(line.startswith("debug: cli.main: dataset ended with exit code 0") for line in verbose)


def test_verbose_shows_where_an_error_was_raised(capsys):
    assert main(["dataset", "check", "-v", "--train-dir", "nowhere"]) == 2
    verbose = capsys.readouterr().err
    assert verbose.startswith("error: ")
    assert "Traceback" in verbose
    assert main(["dataset", "check", "--train-dir", "nowhere"]) == 2
    assert "Traceback" not in capsys.readouterr().err


def test_levels_stand_before_warnings_and_errors_only(capsys):
    logger = logging.getLogger(f"{ROOT}.test")
    logger.info("read 5 % of it")
    logger.warning("this is odd")
    logger.error("this is wrong")
    logger.debug("not shown")
    assert capsys.readouterr().err == "read 5 % of it\nwarning: this is odd\nerror: this is wrong\n"


def test_the_handler_is_attached_once(capsys):
    configure_logging()
    configure_logging()
    logging.getLogger(f"{ROOT}.test").info("once")
    assert capsys.readouterr().err == "once\n"
