"""The differences between two configurations, as text."""

import re
from collections.abc import Mapping

from flowerml.settings.declaration import fields

_MOST_LISTED = 4
_DIGEST = 8  # characters shown of a digest


def describe_differences(old: Mapping[str, object], new: Mapping[str, object]) -> str:
    """`lr_head 0.001 there, 0.002 here` for the first few values that differ between two identities (and seeds)."""
    names = [name for name in {**new, **old} if _value_or_default(old, name) != _value_or_default(new, name)]
    shown = [
        f"{name} {_format_value(old, name)} there, {_format_value(new, name)} here" for name in names[:_MOST_LISTED]
    ]
    more = [f"and {len(names) - _MOST_LISTED} more"] if len(names) > _MOST_LISTED else []
    return "; ".join([*shown, *more]) or "nothing that is written down"


def describe_digests(there: Mapping[str, str], here: Mapping[str, str]) -> str:
    """`data 1a2b3c4d there, 5e6f7a8b here; …` for each digest that both have and that differs; else empty."""
    return "; ".join(
        f"{name} {_shorten(there[name])} there, {_shorten(here[name])} here"
        for name in here
        if name in there and there[name] != here[name]
    )


def _shorten(digest: str) -> str:
    """The first characters of a hash; a name of weights (`hub:…`, `none`) as it is."""
    return digest[:_DIGEST] if re.fullmatch("[0-9a-f]{64}", digest) else digest


def _value_or_default(values: Mapping[str, object], name: str) -> object:
    """A value; the default for a setting that was added after the run."""
    return values[name] if name in values else fields()[name].default if name in fields() else None


def _format_value(values: Mapping[str, object], name: str) -> str:
    value = _value_or_default(values, name)
    text = ",".join(map(str, value)) if isinstance(value, list) else "none" if value is None else str(value)
    return text if name in fields() else text[:_DIGEST]
