"""Settings as MLflow params, and their comparison with params that `mlflow run` has logged already."""

import shlex
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from flowerml.settings.declaration import Settings, fields


def as_text(value: Any) -> str:  # noqa: ANN401 - a setting's value
    """One value as it is typed on the command line: `true`, `0.001`, `rose,tulip`, `none`."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, tuple):
        return ",".join(as_text(part) for part in value)
    return str(value)


def as_params(settings: Settings) -> dict[str, str]:
    """Every setting as text, by name."""
    return {name: as_text(getattr(settings, name)) for name in fields()}


def values_from_params(params: Mapping[str, str]) -> dict[str, str | None]:
    """The settings among logged params, as `as_params` wrote them; other params are left out.

    `none` is None for a setting that may be left open, and stays a word where it is one (`--weights none`).
    """
    return {
        name: None if text == "none" and field.default is None else text
        for name, field in fields().items()
        if (text := params.get(name)) is not None
    }


def conflicting_params(logged: Mapping[str, str], settings: Settings) -> dict[str, str]:
    """Logged params (name -> text) whose value differs from the setting that runs.

    `mlflow run` logs each `-P` as shell-quoted raw text before the script starts, and params are immutable: `1e-4` for
    0.0001 is equal, `auto` is not. Params that are not settings are ignored.
    """
    wrong: dict[str, str] = {}
    for name, raw in logged.items():
        own = name.replace("-", "_")
        if own in fields() and not _matches_setting(raw, own, settings):
            wrong[name] = raw
    return wrong


def _matches_setting(raw: str, name: str, settings: Settings) -> bool:
    value = getattr(settings, name)
    if raw == as_text(value):  # as this package logs it, without shell quotes
        return True
    try:
        words = shlex.split(raw)
    except ValueError:  # an unbalanced quote: not shell-quoted text
        return False
    if len(words) != 1:
        return False
    if words[0] == as_text(value):
        return True
    try:
        return bool(getattr(settings.replace(**{name: words[0]}), name) == value)
    except ValidationError:
        return False
