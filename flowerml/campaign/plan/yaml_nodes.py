"""A YAML file as nodes that know their line, for error messages with file, line and remedy.

Scalars stay text, as on a command line: YAML itself reads `3e-4` as text, `on` as a boolean and `1_0` as a number.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from flowerml.errors import UserError
from flowerml.settings.errors import did_you_mean

_MAX_BYTES = 1_000_000  # a plan is a page
_PLAN = "a plan has a name and phases"
_KINDS = {
    yaml.MappingNode: "names with values (`name: value`)",
    yaml.SequenceNode: "a list (`[a, b]`)",
    yaml.ScalarNode: "a single value",
}


@dataclass(frozen=True)
class Node:
    """A value of a YAML file; `path` are the keys that lead to it."""

    file: str
    path: tuple[str, ...]
    raw: yaml.Node

    @property
    def line(self) -> int:
        """1-based."""
        return int(self.raw.start_mark.line) + 1

    @property
    def key(self) -> str:
        """`phases.B.select`."""
        return ".".join(self.path)

    def error(self, message: str) -> UserError:
        """A UserError with file and line, to be raised."""
        return UserError(f"{self.file}, line {self.line}: {message}")

    def as_text(self) -> str:
        """A single value. Raises UserError for anything else, and for an empty one."""
        self._check_kind(yaml.ScalarNode)
        value = str(self.raw.value)
        if not value.strip():
            raise self.error(f"{self.key} is empty: give it a value, or leave the line out")
        return value

    def as_int(self, least: int, most: int) -> int:
        """An integer from `least` to `most`, both included. Raises UserError."""
        text = self.as_text()
        if not (text.isascii() and text.isdigit() and least <= int(text) <= most):
            raise self.error(f"{self.key} is {text!r}. Allowed: whole number, >= {least}, <= {most}")
        return int(text)

    def as_choice(self, allowed: Sequence[str]) -> str:
        """One of the allowed values. Raises UserError."""
        text = self.as_text()
        if text not in allowed:
            raise self.error(
                f"{self.key} is {text!r}.{did_you_mean(text, tuple(allowed))} Allowed: {', '.join(allowed)}"
            )
        return text

    def as_list(self) -> list["Node"]:
        """The nodes of a list; a single value counts as a list of one. Raises UserError."""
        if isinstance(self.raw, yaml.ScalarNode):
            self.as_text()
            return [self]
        self._check_kind(yaml.SequenceNode)
        return [Node(self.file, self.path, entry) for entry in self.raw.value]

    def as_mapping(self) -> dict[str, "Node"]:
        """Nodes by key, in the file's order. Raises UserError for anything else, and for a duplicate key."""
        self._check_kind(yaml.MappingNode)
        found: dict[str, Node] = {}
        for key, value in self.raw.value:
            name = Node(self.file, self.path, key).as_text() if isinstance(key, yaml.ScalarNode) else ""
            if not name:
                raise Node(self.file, self.path, key).error(f"{self.key or 'the file'} has a name that is no text")
            node = Node(self.file, (*self.path, name), value)
            if name in found:
                raise UserError(
                    f"{self.file}, line {key.start_mark.line + 1}: {node.key} stands there twice (also in line"
                    f" {found[name].line}): keep one of them, or give it another name"
                )
            found[name] = node
        return found

    def as_fields(self, allowed: Mapping[str, bool]) -> dict[str, "Node"]:
        """As `as_mapping`, with the keys of `allowed` only (True: required). Raises UserError with the nearest key."""
        found = self.as_mapping()
        for name in found:
            if name not in allowed:
                inside = f" in {self.key}" if self.path else ""
                line = next(key.start_mark.line + 1 for key, _ in self.raw.value if key.value == name)
                hint = did_you_mean(name, tuple(allowed))
                raise UserError(
                    f"{self.file}, line {line}: {name!r} is unknown{inside}.{hint} Allowed: {', '.join(allowed)}"
                )
        for name, is_required in allowed.items():
            if is_required and name not in found:
                raise self.error(f"{self.key or 'the plan'} has no {name!r}: add it")
        return found

    def _check_kind(self, kind: type[yaml.Node]) -> None:
        if not isinstance(self.raw, kind):
            raise self.error(f"{self.key or 'the file'} is {_KINDS[type(self.raw)]}; wanted is {_KINDS[kind]}")


def read_yaml(path: Path, what: str = "the plan", wanted: str = _PLAN) -> Node:
    """The root node of a file; `what` names the file in messages, and `wanted` says what an empty one lacks.

    Raises:
        UserError: the file can't be read, or is not YAML.
    """
    try:
        if path.is_dir():
            raise UserError(f"{what} {path} is a folder: name a YAML file")
        with path.open("rb") as handle:
            data = handle.read(_MAX_BYTES + 1)
        text = data.decode("utf-8")
    except OSError as error:
        raise UserError(f"{what} {path} can't be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise UserError(
            f"{path}, line {data[: error.start].count(10) + 1}: not UTF-8: save the file in UTF-8"
        ) from error
    if len(data) > _MAX_BYTES:
        raise UserError(f"{what} {path} is larger than {_MAX_BYTES:,} bytes: it can't be one")
    return parse_yaml(text, str(path), wanted)


def parse_yaml(text: str, file: str, wanted: str = _PLAN) -> Node:
    """The root node of a text. Raises UserError where it is not YAML, or empty."""
    try:
        raw = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
        line = f", line {mark.line + 1}" if mark is not None else ""
        problem = getattr(error, "problem", None) or getattr(error, "reason", None) or "it can't be understood"
        raise UserError(f"{file}{line}: not YAML: {problem}") from error
    if raw is None:
        raise UserError(f"{file}, line 1: the file is empty: {wanted}")
    return Node(file, (), raw)
