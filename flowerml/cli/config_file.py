"""Settings as a YAML file: what `flowerml train --print-config` prints, and `flowerml train --config FILE` reads."""

from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

import yaml

from flowerml.campaign.plan.yaml_nodes import Node, read_yaml
from flowerml.settings import Settings
from flowerml.settings.declaration import AUTO, fields
from flowerml.settings.errors import allowed_values, nearest_names
from flowerml.settings.families.recipes import value_problem
from flowerml.settings.serialization import as_text
from flowerml.settings.spec import metadata

_HEAD = """\
# Settings for `flowerml train --config FILE`. A flag wins over its line here; a line left out takes its default.
# Relative paths are those of the folder that the command runs in.
"""


def config_text(settings: Settings) -> str:
    """The settings as YAML, each with a comment that says what it is, grouped as declared."""
    parts = [_HEAD]
    for group, names in groupby(fields(), key=lambda name: str(metadata(fields()[name], "group"))):
        parts.append(f"\n# ---- {group} ----\n")
        parts += [f"{line}\n" for name in names for line in _setting_lines(name, getattr(settings, name))]
    return "".join(parts)


def _setting_lines(name: str, value: object) -> Iterator[str]:
    field = fields()[name]
    unit = f" [{metadata(field, 'unit')}]" if metadata(field, "unit") else ""
    automatic = f"; auto: {metadata(field, 'auto')}" if value is None else ""
    yield f"# {field.description}{unit} ({allowed_values(field)}{automatic})"
    yield f"{name}: {_scalar_or_list(value)}"


def _scalar_or_list(value: object) -> str:
    """A value as YAML on one line: `0.001`, `true`, `[rose, tulip]`, `'# odd'`; `auto` for None."""
    if value is None:
        return AUTO
    if isinstance(value, tuple):
        return f"[{', '.join(map(_scalar_or_list, value))}]"
    if isinstance(value, bool | int | float):
        return as_text(value)
    # Written in a list of one: what is quoted as YAML needs it there can stand anywhere.
    style = None if str(value).isprintable() else '"'  # escapes, for line breaks too
    line = yaml.safe_dump([value], allow_unicode=True, default_flow_style=True, default_style=style, width=float("inf"))
    return str(line).strip().removeprefix("[").removesuffix("]")


def read_config(path: Path) -> dict[str, Any]:
    """The settings in a file by name: text, as on a command line, and lists of text.

    Raises:
        UserError: it can't be read or is not YAML, or a setting is unknown, stands there twice, or has a wrong value;
            with file and line.
    """
    root = read_yaml(path, "--config", "wanted is NAME: VALUE, as `flowerml train --print-config` prints it")
    nodes = root.as_mapping()
    for (key, _), name in zip(root.raw.value, nodes, strict=True):
        if name not in fields():
            raise Node(root.file, (name,), key).error(
                f"setting {name!r} is unknown.{nearest_names(name, tuple(fields()))} `flowerml train --print-config`"
                " lists them"
            )
    values = {name: _value_of(node) for name, node in nodes.items()}
    for name, value in values.items():
        if value != AUTO and (problem := value_problem(name, value)):
            raise nodes[name].error(problem)
    return values


def _value_of(node: Node) -> str | list[str]:
    if isinstance(node.raw, yaml.SequenceNode):
        return [_value_as_text(entry) for entry in node.as_list()]
    return _value_as_text(node)


def _value_as_text(node: Node) -> str:
    """A single value; one that is empty must be quoted, so that a forgotten one is seen. Raises UserError."""
    is_quoted = isinstance(node.raw, yaml.ScalarNode) and node.raw.style is not None
    return str(node.raw.value) if is_quoted else node.as_text()
