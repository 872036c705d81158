"""The types of settings: what a text may be, and refusals where pydantic alone would let something pass."""

from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field


def _names(value: Any) -> Any:  # noqa: ANN401 - whatever was given
    """`"a, b"` -> ("a", "b"), sorted: classes are known by name, never by position."""
    if isinstance(value, str):
        value = [part.strip() for part in value.split(",")]
    if not isinstance(value, list | tuple):
        return value
    if not all(value) or len(set(value)) < len(value):
        raise ValueError("an empty name, or one name twice")
    return tuple(sorted(value))


def _numbers(value: Any) -> Any:  # noqa: ANN401
    if isinstance(value, str):
        value = [part.strip() for part in value.split(",")]
    return tuple(map(_number, value)) if isinstance(value, list | tuple) else value


def _whole(value: Any) -> Any:  # noqa: ANN401
    """Refuse 1.0 and true where a whole number is meant; pydantic alone would let both pass."""
    if isinstance(value, bool | float) or (isinstance(value, str) and not value.strip().lstrip("+-").isdigit()):
        raise ValueError("not a whole number")
    return value


def _number(value: Any) -> Any:  # noqa: ANN401
    """Refuse true and 1_0 where a number is meant; pydantic alone would let both pass."""
    if isinstance(value, bool) or (isinstance(value, str) and "_" in value):
        raise ValueError("not a number")
    return value


def _truth(value: Any) -> Any:  # noqa: ANN401
    """Only true and false, in any case: `mlflow run` hands over whatever was typed."""
    if isinstance(value, str):
        value = {"true": True, "false": False}.get(value.strip().lower())
    if not isinstance(value, bool):
        raise ValueError("neither true nor false")
    return value


def _utf8(value: str) -> str:
    """Refuse what no JSON file and no tracking server can hold: a command line in Latin-1, for example."""
    value.encode("utf-8")  # UnicodeEncodeError is a ValueError
    return value


def none(value: Any) -> Any:  # noqa: ANN401
    """None for `none`."""
    return None if value == "none" else value


Text = Annotated[str, AfterValidator(_utf8)]
Number = Annotated[float, BeforeValidator(_number)]
Truth = Annotated[bool, BeforeValidator(_truth)]
Whole = Annotated[int, BeforeValidator(_whole)]
Colours = Annotated[tuple[float, float, float], BeforeValidator(_numbers)]
ClassNames = Annotated[tuple[Text, ...], BeforeValidator(_names), Field(min_length=1)]
