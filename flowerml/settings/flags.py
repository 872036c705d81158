"""Command-line flags generated from the declaration of the settings: spelling, help, messages.

argparse was weighed against click and typer: neither accepts MLflow's `--x_y v` for `--x-y` or raises instead of
exiting, and the standard library is imported in milliseconds, so that `--help` answers at once.
"""

import argparse
import re
import sys
from collections.abc import Collection, Sequence
from typing import Any, NoReturn

from flowerml.errors import UserError
from flowerml.log import set_verbosity
from flowerml.settings.declaration import fields
from flowerml.settings.errors import allowed_values, allowed_words, did_you_mean, flag_name, nearest_names, type_name
from flowerml.settings.families.recipes import family_recipes
from flowerml.settings.serialization import as_text
from flowerml.settings.spec import RECIPE, metadata


class CommandParser(argparse.ArgumentParser):
    """argparse that accepts `--lr_head` for `--lr-head`, suggests the nearest flag, and raises instead of exiting.

    Every command gets `-q/--quiet` and `-v/--verbose`.
    """

    def __init__(self, **options: Any) -> None:  # noqa: ANN401 - argparse's own options
        super().__init__(allow_abbrev=False, formatter_class=_HelpFormatter, **options)
        verbosity = self.add_mutually_exclusive_group()
        verbosity.add_argument("-q", "--quiet", action="store_true", help="print warnings and errors only")
        verbosity.add_argument("-v", "--verbose", action="store_true", help="print debug messages too")

    def parse(self, argv: Sequence[str] | None = None) -> argparse.Namespace:
        """Parse `argv` (default: the process's). `-q` and `-v` set the log level and are not returned.

        Raises:
            UserError: an unknown flag or a stray word; one line, with the nearest flag.
        """
        words = _join_negative_values(
            [_hyphenated_flag_name(word) for word in (sys.argv[1:] if argv is None else argv)]
        )
        words = _drop_truth_values(words, self._switches())
        known, unknown = self.parse_known_args(words)
        if unknown:
            word = unknown[0].split("=")[0]
            flags = tuple(option for option in self._option_string_actions if option.startswith("--"))
            what, hint = ("flag", nearest_names(word, flags)) if word.startswith("-") else ("word", "")
            raise UserError(f"{what} {word!r} is unknown.{hint} {self.prog} --help lists them")
        set_verbosity(quiet=known.quiet, verbose=known.verbose)
        del known.quiet, known.verbose
        return known

    def _switches(self) -> set[str]:
        """The flags without a value."""
        actions = self._option_string_actions.items()
        return {name for name, action in actions if action.nargs == 0 and action.const is True}

    def error(self, message: str) -> NoReturn:
        """Raise argparse's error as a UserError."""
        hint = ""
        if choice := re.search(r"invalid choice: '(.*)' \(choose from (.*)\)", message):
            hint = did_you_mean(choice[1], tuple(word.strip(" '") for word in choice[2].split(",")))
        raise UserError(f"{message[:1].lower()}{message[1:]}.{hint} {self.prog} --help lists the flags")


class _HelpFormatter(argparse.HelpFormatter):
    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=34)


def _hyphenated_flag_name(word: str) -> str:
    """MLflow appends undeclared `-P x_y=v` as `--x_y v`."""
    if not word.startswith("--"):
        return word
    name, sign, value = word.partition("=")
    return name.replace("_", "-") + sign + value


def _join_negative_values(words: Sequence[str]) -> list[str]:
    """`--name -1e-3` as `--name=-1e-3`: argparse would read the value as a flag. The short flags are -h, -q and -v."""
    joined: list[str] = []
    for word in words:
        before = joined[-1] if joined else ""
        if (
            before.startswith("--")
            and "=" not in before
            and word.startswith("-")
            and word[1:2] not in ("-", "")
            and word not in ("-h", "-q", "-v")
        ):
            joined[-1] = f"{before}={word}"
        else:
            joined.append(word)
    return joined


def _drop_truth_values(words: Sequence[str], switches: Collection[str]) -> list[str]:
    """`--check true` as `--check`, and `--check false` as nothing: `mlflow run` gives a value with each parameter."""
    kept: list[str] = []
    for word in words:
        name, sign, value = word.partition("=")
        if sign and name in switches and value.lower() in ("true", "false"):
            kept += [name] if value.lower() == "true" else []
        elif kept and kept[-1] in switches and word.lower() in ("true", "false"):
            kept = kept if word.lower() == "true" else kept[:-1]
        else:
            kept.append(word)
    return kept


def add_settings(parser: argparse.ArgumentParser, without: Collection[str] = ()) -> None:
    """Add a flag per setting except those in `without`, grouped as declared.

    Values stay text; `settings.resolve` parses them.
    """
    groups: dict[str, argparse._ArgumentGroup] = {}
    for name, field in fields().items():
        if name in without:
            continue
        title = str(metadata(field, "group"))
        if title not in groups:
            groups[title] = parser.add_argument_group(title)
        group = groups[title]
        about = _help_text(name).replace("%", "%%")
        if type_name(field) == "true or false":
            group.add_argument(
                flag_name(name),
                dest=name,
                nargs="?",
                const="true",
                default=argparse.SUPPRESS,
                metavar="{true,false}",
                help=about,
            )
            no = flag_name(f"no_{name}")
            group.add_argument(
                no, dest=name, action="store_const", const="false", default=argparse.SUPPRESS, help=argparse.SUPPRESS
            )
        else:
            group.add_argument(
                flag_name(name), dest=name, default=argparse.SUPPRESS, metavar=_metavar_of(name), help=about
            )


def _metavar_of(name: str) -> str:
    field = fields()[name]
    words = allowed_words(field)
    if words:
        return "{" + ",".join(words) + "}"
    return {
        "whole number": "INT",
        "number": "F",
        "three numbers R,G,B": "R,G,B",
        "names, comma-separated": "A,B,...",
    }.get(type_name(field), "TEXT")


def _help_text(name: str) -> str:
    field = fields()[name]
    unit = f" [{metadata(field, 'unit')}]" if metadata(field, "unit") else ""
    limits = allowed_values(field).removeprefix(type_name(field)).removeprefix(", ")
    shown = f" ({limits})" if limits and not allowed_words(field) else ""
    return f"{field.description}{unit}{shown}; default: {_default_text(name)}"


def _default_text(name: str) -> str:
    field = fields()[name]
    automatic = str(metadata(field, "auto"))
    if automatic == RECIPE:
        return ", ".join(f"{family} {as_text(values[name])}" for family, values in family_recipes().items())
    return automatic or as_text(field.default)
