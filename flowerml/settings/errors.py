"""One clear line for a value that does not fit: flag, value, allowed range, nearest right word."""

import difflib
from collections.abc import Mapping
from typing import Any, Literal, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt
from pydantic import ValidationError
from pydantic.fields import FieldInfo

from flowerml.settings.declaration import fields
from flowerml.settings.spec import note

_SIGNS = {Ge: ("ge", ">="), Gt: ("gt", ">"), Le: ("le", "<="), Lt: ("lt", "<")}


def flag(name: str) -> str:
    """The command-line spelling of a setting's name."""
    return f"--{name.replace('_', '-')}"


def choices(field: FieldInfo) -> tuple[str, ...]:
    """The words an enumerated setting may be; empty for the others."""
    for part in (field.annotation, *get_args(field.annotation)):
        if get_origin(part) is Literal:
            return tuple(str(word) for word in get_args(part))
    return ()


def kind(field: FieldInfo) -> str:
    """A setting's type in words."""
    parts = {field.annotation, *get_args(field.annotation)}
    if bool in parts:
        return "true or false"
    text = str(field.annotation)
    if "tuple[" in text:
        return "three numbers R,G,B" if "float" in text else "names, comma-separated"
    return "whole number" if "int" in text else "number" if "float" in text else "text"


def allowed(field: FieldInfo) -> str:
    """Type and range in words: `number, > 0, <= 1`."""
    if words := note(field, "allowed") or ", ".join(choices(field)):
        return str(words)
    limits = [
        f"{sign} {getattr(mark, attribute)}"
        for mark in field.metadata
        for bound, (attribute, sign) in _SIGNS.items()
        if isinstance(mark, bound)
    ]
    return ", ".join([kind(field), *limits])


def nearest(word: str, words: tuple[str, ...]) -> str:
    """` Did you mean X?` for the nearest of `words`, or nothing."""
    near = difflib.get_close_matches(word.lower(), words, n=1, cutoff=0.5)
    return f" Did you mean {near[0]}?" if near else ""


def first_problem(error: ValidationError, given: Mapping[str, Any]) -> str:
    """The first thing pydantic found wrong in what was `given`, as one line for the person who typed it."""
    problem = error.errors()[0]
    name = str(problem["loc"][0])
    declared = fields()
    if name not in declared:
        return f"setting {name!r} is unknown.{nearest(name, tuple(declared))}"
    return bad_value(name, given.get(name, problem["input"]))


def bad_value(name: str, value: Any) -> str:  # noqa: ANN401 - whatever was given
    """The line for one setting's refused value."""
    field = fields()[name]
    unit = f" {note(field, 'unit')}" if note(field, "unit") else ""
    automatic = ", or auto" if note(field, "auto") else ""
    words = ("true", "false") if kind(field) == "true or false" else choices(field)
    hint = nearest(str(value), words)
    shown = "nothing" if value == "" else repr(value)
    if isinstance(value, str) and value.encode("utf-8", "ignore").decode("utf-8") != value:
        return (
            f"{flag(name)} is {shown}. Allowed: text in UTF-8, which this is not: rename what it names, or type it in a"
            " UTF-8 terminal"
        )
    return f"{flag(name)} is {shown}.{hint} Allowed: {allowed(field)}{unit}{automatic}"
