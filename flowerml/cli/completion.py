"""`flowerml --print-completion SHELL`: a script that completes commands, flags and values in a shell, by shtab."""

import argparse
from collections.abc import Callable, Sequence
from importlib import import_module

import shtab

from flowerml.cli.main import COMMANDS, COMPLETION, command_module
from flowerml.settings import known_models
from flowerml.settings.declaration import fields
from flowerml.settings.errors import allowed_words, type_name
from flowerml.settings.flags import CommandParser

SHELLS = ("bash", "zsh", "tcsh")
_PATHS = ("PATH", "FILE", "DIR", "FOLDER", "RUN", "RUN_OR_PTH")  # what stands for a file or folder in `--help`
_FOLDERS = ("output_dir", "runs_root", "photos", "folders")
# Settings that may be a file.
_FILES = ("train_dir", "test_dir", "weights", "annotations", "test_annotations", "wording")


def run(argv: Sequence[str] | None) -> int:
    """Print the script for a shell. Raises UserError for another one."""
    parser = CommandParser(
        prog=f"flowerml {COMPLETION}", description="Print a script that completes flowerml's commands and flags."
    )
    parser.add_argument("shell", choices=SHELLS, help="whose script it is")
    print(shtab.complete(_root_parser(), shell=parser.parse(argv).shell))  # the script's language # nosec B604
    return 0


def _root_parser() -> argparse.ArgumentParser:
    """One parser with a subparser for each command, as shtab takes them."""
    root = argparse.ArgumentParser(prog="flowerml")
    root.add_argument("--version", action="store_true", help="print the version")
    root.add_argument(COMPLETION, choices=SHELLS, help="print a script for a shell")
    commands = root.add_subparsers()
    for name, about in COMMANDS.items():
        make_parser: Callable[[], CommandParser] = import_module(command_module(name)).make_parser
        command = commands.add_parser(name, help=about, parents=[make_parser()], add_help=False)
        for action in command._actions:
            _describe_values(action)
    return root


def _describe_values(action: argparse.Action) -> None:
    """Say what the words of a flag are: those of a setting's choices, models of the catalogue, files or folders."""
    name, is_text = action.dest, action.metavar == "TEXT"
    if action.metavar in _PATHS or (is_text and name in (*_FOLDERS, *_FILES)):
        # shtab reads this attribute, which argparse's classes do not declare.
        vars(action)["complete"] = shtab.DIRECTORY if name in _FOLDERS else shtab.FILE
    elif name == "model" and is_text:
        action.choices = known_models()
    elif action.choices is None and action.nargs != 0 and name in fields():
        field = fields()[name]
        action.choices = ("true", "false") if type_name(field) == "true or false" else allowed_words(field) or None
