"""`flowerml --print-completion SHELL`: the script completes commands, flags and values, and costs no torch."""

import re
import shutil
import subprocess
import sys
from importlib import import_module

import pytest

from flowerml.cli.completion import SHELLS
from flowerml.cli.main import COMMANDS, command_module, main
from flowerml.settings import known_models
from flowerml.settings.declaration import fields
from tests.cli.flags.entry_point import ROOT, heavy


@pytest.fixture(scope="module")
def scripts(tmp_path_factory):
    """The script of each shell, as files."""
    folder = tmp_path_factory.mktemp("scripts")
    for shell in SHELLS:
        done = subprocess.run(
            [sys.executable, "-X", "importtime", "-m", "flowerml.cli.main", "--print-completion", shell],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=120,
            check=True,
        )
        lines = done.stderr.splitlines()
        assert [line for line in lines if not line.startswith("import time:")] == []
        assert heavy(line.rsplit("|", 1)[1].strip() for line in lines) == set()
        (folder / shell).write_text(done.stdout)
    return folder


def completed(scripts, *words):
    """What bash offers for the last word."""
    script = f'source {scripts / "bash"}; COMP_WORDS=("$@"); COMP_CWORD=$(($#-1)); _shtab_flowerml; '
    script += 'printf "%s\\n" "${COMPREPLY[@]}"'
    done = subprocess.run(
        ["bash", "-c", script, "bash", "flowerml", *words], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stderr == ""
    return done.stdout.split()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["tr"], ["train"]),
        ([""], [*COMMANDS]),
        (["train", "--sched"], ["--scheduler"]),
        (["train", "--scheduler", ""], ["cosine", "plateau", "constant"]),
        (["train", "--amp", ""], ["true", "false"]),
        (["train", "--model", "clip_vitl"], ["clip_vitl14", "clip_vitl14_336"]),
        (["train", "--cutmix", "1", "--grad-"], ["--grad-clip", "--grad-checkpointing"]),
        (["train", "--pri"], ["--print-config"]),
        (["sweep", "--space", ""], ["grid", "tpe"]),
        (["select", "--family", ""], ["cnn", "vit", "relation"]),
        (["dataset", ""], ["make", "check", "fetch", "next"]),
        (["--print-completion", ""], ["bash", "zsh", "tcsh"]),
    ],
)
def test_bash_completes(scripts, words, expected):
    assert completed(scripts, *words) == expected


def test_bash_completes_files_and_folders(scripts, tmp_path):
    (tmp_path / "one.yaml").touch()
    (tmp_path / "once").mkdir()
    found = completed(scripts, "train", "--config", str(tmp_path / "on"))
    assert sorted(found) == [str(tmp_path / "once"), str(tmp_path / "one.yaml")]
    assert completed(scripts, "train", "--output-dir", str(tmp_path / "on")) == [str(tmp_path / "once")]
    assert sorted(completed(scripts, "train", "--train-dir", str(tmp_path / "on"))) == sorted(found), "or a list"


@pytest.mark.parametrize("name", COMMANDS)
def test_every_flag_of_every_command_is_offered(scripts, name):
    parser = import_module(command_module(name)).make_parser()
    flags = set(re.findall(r"(?m)^ +(?:-\w, )?(--[a-z0-9-]+)", parser.format_help()))
    assert flags <= set(completed(scripts, name, "--"))
    assert len(flags) >= 3


def test_every_setting_is_offered_by_train(scripts):
    assert {f"--{setting.replace('_', '-')}" for setting in fields()} <= set(completed(scripts, "train", "--"))


@pytest.mark.parametrize("shell", SHELLS)
def test_each_script_has_the_commands_and_a_setting(scripts, shell):
    text = (scripts / shell).read_text()
    assert [name for name in COMMANDS if name not in text] == []
    assert "scheduler" in text
    assert known_models()[0] in text


@pytest.mark.parametrize("shell", SHELLS)
def test_shell_reads_its_script(scripts, shell):
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not on this machine")
    subprocess.run([shell, "-n", str(scripts / shell)], timeout=60, check=True)


def test_both_spellings_print_the_same(capsys):
    assert main(["--print-completion", "bash"]) == 0
    shown = capsys.readouterr().out
    assert main(["--print-completion=bash"]) == 0
    assert capsys.readouterr().out == shown


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ("--print-completion fish", "argument shell: invalid choice: 'fish' (choose from 'bash', 'zsh', 'tcsh')."),
        ("--print-completion", "the following arguments are required: shell. flowerml --print-completion --help"),
        (
            "--print-completion bsh",
            "argument shell: invalid choice: 'bsh' (choose from 'bash', 'zsh', 'tcsh'). Did you",
        ),
        ("--print-completion bash zsh", "word 'zsh' is unknown. flowerml --print-completion --help lists them"),
        ("--print-completions bash", "command '--print-completions' is unknown."),
    ],
)
def test_refused_in_one_line(words, line, capsys):
    assert main(words.split()) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith(f"error: {line}")
    assert shown.err.count("\n") == 1
