"""One-line messages for invalid values: flag, value, allowed range, nearest valid word."""

import difflib
from collections.abc import Mapping
from typing import Any, Literal, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt
from pydantic import ValidationError
from pydantic.fields import FieldInfo

from flowerml.settings.declaration import fields
from flowerml.settings.spec import metadata

_SIGNS = {Ge: ("ge", ">="), Gt: ("gt", ">"), Le: ("le", "<="), Lt: ("lt", "<")}


def flag_name(name: str) -> str:
    """The command-line spelling of a setting's name."""
    return f"--{name.replace('_', '-')}"


def allowed_words(field: FieldInfo) -> tuple[str, ...]:
    """The values of an enumerated setting; empty for others."""
    for part in (field.annotation, *get_args(field.annotation)):
        if get_origin(part) is Literal:
            return tuple(str(word) for word in get_args(part))
    return ()


def type_name(field: FieldInfo) -> str:
    """The name of a setting's type, as messages and `--help` show it."""
    parts = (field.annotation, *get_args(field.annotation))
    if any(part is bool or get_args(part)[:1] == (bool,) for part in parts):  # bool, Annotated[bool, ...], with None
        return "true or false"
    text = str(field.annotation)
    if "tuple[" in text:
        return "three numbers R,G,B" if "float" in text else "names, comma-separated"
    return "whole number" if "int" in text else "number" if "float" in text else "text"


def allowed_values(field: FieldInfo) -> str:
    """Type and range: `number, > 0, <= 1`."""
    if words := metadata(field, "allowed") or ", ".join(allowed_words(field)):
        return str(words)
    limits = [
        f"{sign} {getattr(mark, attribute)}"
        for mark in field.metadata
        for bound, (attribute, sign) in _SIGNS.items()
        if isinstance(mark, bound)
    ]
    return ", ".join([type_name(field), *limits])


def did_you_mean(word: str, words: tuple[str, ...]) -> str:
    """` Did you mean X?` for the nearest of `words`, or nothing."""
    near = difflib.get_close_matches(word.lower(), words, n=1, cutoff=0.5)
    return f" Did you mean {near[0]}?" if near else ""


# What other trainers call a setting or a command's flag.
_OTHER_NAMES = {
    **dict.fromkeys(("learning-rate", "lr", "base-lr", "blr", "init-lr"), ("lr-head", "lr-backbone")),
    **dict.fromkeys(("arch", "architecture", "backbone", "model-name", "encoder"), ("model",)),
    **dict.fromkeys(("pretrained", "initial-checkpoint"), ("weights",)),
    **dict.fromkeys(("data", "data-dir", "data-path", "dataset", "root"), ("train-dir",)),
    **dict.fromkeys(("bs", "batch", "b"), ("batch-size",)),
    **dict.fromkeys(("wd", "l2"), ("weight-decay",)),
    **dict.fromkeys(("num-epochs", "n-epochs", "max-epochs", "num-train-epochs"), ("epochs",)),
    **dict.fromkeys(("size", "input-size", "resolution", "imgsz"), ("img-size",)),
    **dict.fromkeys(("opt", "optim"), ("optimizer",)),
    **dict.fromkeys(("sched", "lr-scheduler", "lr-schedule"), ("scheduler",)),
    **dict.fromkeys(("smoothing",), ("label-smoothing",)),
    **dict.fromkeys(("layer-decay", "layer-lr-decay"), ("llrd",)),
    **dict.fromkeys(("clip-grad", "clip", "max-grad-norm", "gradient-clip-val"), ("grad-clip",)),
    **dict.fromkeys(("grad-accum-steps", "accum-iter", "gradient-accumulation-steps"), ("accumulate",)),
    **dict.fromkeys(("drop", "drop-rate"), ("dropout",)),
    **dict.fromkeys(("early-stopping", "early-stopping-patience"), ("patience",)),
    **dict.fromkeys(("mixed-precision", "fp16", "bf16", "half"), ("amp",)),
    **dict.fromkeys(("n-trials", "num-trials"), ("trials",)),
    **dict.fromkeys(("val-ratio", "val-size", "validation-split"), ("val-split",)),
    **dict.fromkeys(("experiment-name",), ("experiment",)),
}


def nearest_names(word: str, names: tuple[str, ...]) -> str:
    """` Did you mean X or Y?` for the names of settings or flags that `word` may stand for, or nothing.

    Names may begin with `--` and have `_` or `-`; they are shown as they are given.
    """
    bare = {name.removeprefix("--").replace("_", "-"): name for name in names}
    typed = word.lower().removeprefix("--").replace("_", "-")
    found = [bare[name] for name in _OTHER_NAMES.get(typed, ()) if name in bare]
    found = found or [name for part, name in bare.items() if typed and part.startswith(f"{typed}-")][:2]
    found = found or [bare[name] for name in difflib.get_close_matches(typed, bare, n=1, cutoff=0.6)]
    return f" Did you mean {' or '.join(found)}?" if found else ""


def first_error(error: ValidationError, given: Mapping[str, Any]) -> str:
    """The first of pydantic's errors about the values `given`, as one line for the user."""
    problem = error.errors()[0]
    name = str(problem["loc"][0])
    declared = fields()
    if name not in declared:
        return f"setting {name!r} is unknown.{nearest_names(name, tuple(declared))}"
    return invalid_value(name, given.get(name, problem["input"]))


def invalid_value(name: str, value: Any) -> str:  # noqa: ANN401 - whatever was given
    """The message for one setting's invalid value."""
    field = fields()[name]
    unit = f" {metadata(field, 'unit')}" if metadata(field, "unit") else ""
    automatic = ", or auto" if metadata(field, "auto") else ""
    words = ("true", "false") if type_name(field) == "true or false" else allowed_words(field)
    hint = did_you_mean(str(value), words)
    shown = "nothing" if value == "" else repr(value)
    if isinstance(value, str) and value.encode("utf-8", "ignore").decode("utf-8") != value:
        return (
            f"{flag_name(name)} is {shown}. Allowed: text in UTF-8, which this is not: rename what it names, or"
            " type it in a UTF-8 terminal"
        )
    return f"{flag_name(name)} is {shown}.{hint} Allowed: {allowed_values(field)}{unit}{automatic}"
