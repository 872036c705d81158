"""The types of settings: parsing from text, and checks that are stricter than pydantic's own."""

from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field

from flowerml.settings.addresses import require_no_secret
from flowerml.text import nfc


def _parse_class_names(value: Any) -> Any:  # noqa: ANN401 - whatever was given
    """`"a, b"` -> ("a", "b"), sorted and in NFC: classes are identified by name, never by position."""
    if isinstance(value, str):
        value = [part.strip() for part in value.split(",")]
    if not isinstance(value, list | tuple):
        return value
    value = [nfc(name) if isinstance(name, str) else name for name in value]
    if not all(value) or len(set(value)) < len(value):
        raise ValueError("an empty name, or one name twice")
    return tuple(sorted(value))


def _parse_floats(value: Any) -> Any:  # noqa: ANN401
    if isinstance(value, str):
        value = [part.strip() for part in value.split(",")]
    return tuple(map(_reject_non_float, value)) if isinstance(value, list | tuple) else value


def _reject_non_int(value: Any) -> Any:  # noqa: ANN401
    """Reject 1.0 and true, which pydantic would accept as integers."""
    if isinstance(value, bool | float) or (isinstance(value, str) and not value.strip().lstrip("+-").isdigit()):
        raise ValueError("not a whole number")
    return value


def _reject_non_float(value: Any) -> Any:  # noqa: ANN401
    """Reject true and 1_0, which pydantic would accept as numbers."""
    if isinstance(value, bool) or (isinstance(value, str) and "_" in value):
        raise ValueError("not a number")
    return value


def _parse_bool(value: Any) -> Any:  # noqa: ANN401
    """Accept only true and false, in any case: `mlflow run` passes on whatever was typed."""
    if isinstance(value, str):
        value = {"true": True, "false": False}.get(value.strip().lower())
    if not isinstance(value, bool):
        raise ValueError("neither true nor false")
    return value


def _require_utf8(value: str) -> str:
    """Reject text that no JSON file or tracking server can store, such as a command line in Latin-1."""
    value.encode("utf-8")  # UnicodeEncodeError is a ValueError
    return value


def parse_none(value: Any) -> Any:  # noqa: ANN401
    """None for `none`."""
    return None if value == "none" else value


Text = Annotated[str, AfterValidator(_require_utf8)]
DataPath = Annotated[Text, AfterValidator(require_no_secret)]
Float = Annotated[float, BeforeValidator(_reject_non_float)]
Bool = Annotated[bool, BeforeValidator(_parse_bool)]
Int = Annotated[int, BeforeValidator(_reject_non_int)]
RgbTriple = Annotated[tuple[float, float, float], BeforeValidator(_parse_floats)]
ClassNames = Annotated[tuple[Text, ...], BeforeValidator(_parse_class_names), Field(min_length=1)]
