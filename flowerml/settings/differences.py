"""What differs between two configurations, as a person reads it."""

from collections.abc import Mapping

from flowerml.settings.declaration import fields

_SHOWN = 4
_DIGEST = 8  # characters of a digest that tell two apart


def differences(there: Mapping[str, object], here: Mapping[str, object]) -> str:
    """`lr_head 0.001 there, 0.002 here` for the first few values that differ between two identities (and seeds)."""
    names = [name for name in {**here, **there} if _value(there, name) != _value(here, name)]
    shown = [f"{name} {_words(there, name)} there, {_words(here, name)} here" for name in names[:_SHOWN]]
    more = [f"and {len(names) - _SHOWN} more"] if len(names) > _SHOWN else []
    return "; ".join([*shown, *more]) or "nothing that is written down"


def _value(values: Mapping[str, object], name: str) -> object:
    """A setting that came later than a run is at its default there."""
    return values[name] if name in values else fields()[name].default if name in fields() else None


def _words(values: Mapping[str, object], name: str) -> str:
    value = _value(values, name)
    text = ",".join(map(str, value)) if isinstance(value, list) else "none" if value is None else str(value)
    return text if name in fields() else text[:_DIGEST]
