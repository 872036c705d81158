"""Settings as text and back: what MLflow params show, what `mlflow run` logged before us, and whether the two say the
same.
"""

import shlex
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from flowerml.settings.declaration import Settings, fields


def as_text(value: Any) -> str:  # noqa: ANN401 - a setting's value
    """One value as a person would type it: `true`, `0.001`, `rose,tulip`, `none`."""
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


def contradictions(logged: Mapping[str, str], settings: Settings) -> dict[str, str]:
    """Params that stand in MLflow already and do not say what runs.

    `mlflow run` logs each `-P` as shell-quoted raw text before the script starts, and params can't be changed: `1e-4`
    for 0.0001 is fine, `auto` is not. Returns name -> logged text; params that are no settings of ours are nobody's
    contradiction.
    """
    wrong: dict[str, str] = {}
    for name, raw in logged.items():
        own = name.replace("-", "_")
        if own in fields() and not _says(raw, own, settings):
            wrong[name] = raw
    return wrong


def _says(raw: str, name: str, settings: Settings) -> bool:
    value = getattr(settings, name)
    if raw == as_text(value):  # as we log it ourselves, without a shell's quotes
        return True
    try:
        words = shlex.split(raw)
    except ValueError:  # an unbalanced quote: not what a shell would have been given
        return False
    if len(words) != 1:
        return False
    if words[0] == as_text(value):
        return True
    try:
        return bool(getattr(settings.replace(**{name: words[0]}), name) == value)
    except ValidationError:
        return False
