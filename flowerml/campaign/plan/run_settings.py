"""From what a plan gives a run to complete settings: the family's defaults, the run's own, the overrides, each in its
place.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

from flowerml.campaign.plan.model import PlanRun
from flowerml.campaign.plan.overrides import OWN, Overrides
from flowerml.campaign.plan.yaml_nodes import Node
from flowerml.errors import UserError
from flowerml.settings import Family, Settings, find_model, grid, known_models, resolve
from flowerml.settings.declaration import AUTO, fields
from flowerml.settings.errors import did_you_mean, flag_name, invalid_value
from flowerml.settings.recipes import recipe_for
from flowerml.settings.serialization import as_text

_LENGTHS = ("warmup_epochs", "freeze_backbone_epochs")


@dataclass
class Warnings:
    """Warnings, each once, with the runs they are about."""

    lines: dict[str, list[str]] = field(default_factory=dict)

    def add(self, line: str, run: str) -> None:
        """Remember that `line` is to be said of `run`."""
        self.lines.setdefault(line, []).append(run)

    def texts(self) -> tuple[str, ...]:
        """A line each; of many runs the first two are named."""
        return tuple(f"{line} ({_named(runs)})" for line, runs in self.lines.items())


def read_settings(node: Node, *, seed_too: bool = False) -> dict[str, Node]:
    """Settings by name, each known and in its range.

    Raises:
        UserError: an unknown one, one that is the command's or the phase's own, a value out of range; with file and
            line.
    """
    found = node.names()
    for name, value in found.items():
        if name in OWN and not (seed_too and name == "seed"):
            raise value.error(f"{name} has no place in a plan: it is {OWN[name]}")
        if name not in fields():
            raise value.error(
                f"setting {name!r} is unknown.{did_you_mean(name, tuple(fields()))} `flowerml train --help` lists them"
            )
        text = value_of(value)
        if text != AUTO and (problem := _problem(name, text)):
            raise value.error(problem)
    return found


def value_of(node: Node) -> str:
    """A setting's value as text; a list of names as a command line would have it."""
    return ",".join(entry.as_text() for entry in node.entries())


@dataclass(frozen=True)
class Defaults:
    """What all runs have, and those of a family."""

    every: Mapping[str, Node]
    families: Mapping[Family, Mapping[str, Node]]

    def of(self, family: Family) -> dict[str, Node]:
        """For a family's runs."""
        return {**self.every, **self.families.get(family, {})}


def read_defaults(parts: Mapping[str, Node]) -> Defaults:
    """Those of a plan with these parts. Raises UserError."""
    every = read_settings(parts["defaults"], seed_too=True) if "defaults" in parts else {}
    families: dict[Family, dict[str, Node]] = {}
    if "families" in parts:
        for name, node in parts["families"].names().items():
            if name not in list(Family):
                raise node.error(
                    f"family {name!r} is unknown.{did_you_mean(name, tuple(Family))} Allowed: {', '.join(Family)}"
                )
            families[Family(name)] = read_settings(node)
    return Defaults(every, families)


def resolve_run(
    name: str, family: Family, seed: int, nodes: Mapping[str, Node], overrides: Overrides, node: Node, remarks: Warnings
) -> Settings:
    """A run's settings. `nodes` are the plan's values by name, `node` is where the run stands in the file.

    A freeze or warm-up longer than the run is clamped, with a warning, where overrides are used, and refused otherwise.

    Raises:
        UserError: settings at odds with each other, or a model of another family.
    """
    changed = overrides.of(family)
    asked: dict[str, Any] = {**{key: value_of(value) for key, value in nodes.items()}, **changed, "seed": str(seed)}
    if overrides.words:
        _clamp(asked, family, name, remarks)
    try:
        settings, warnings = resolve(asked)
        _require_family(settings.model, family)
    except UserError as error:
        by = f" (with {' '.join(f'--set {word}' for word in overrides.words)})" if overrides.words else ""
        raise node.error(f"run {name}{by}: {error}") from error
    for warning in warnings:
        remarks.add(warning, name)
    return settings


def check_families(overrides: Overrides, families: tuple[Family, ...]) -> None:
    """Refuse a family that the plan has no runs of. Raises UserError."""
    for family in overrides.families:
        if family not in families:
            raise UserError(f"--set NAME.{family}: the plan has no runs of that family. It has: {', '.join(families)}")


def check_values(overrides: Overrides) -> None:
    """Refuse values out of range. Raises UserError."""
    for values in (overrides.every, *overrides.families.values()):
        for name, text in values.items():
            if text != AUTO and (problem := _problem(name, text)):
                raise UserError(f"--set {name}: {problem}")


def off_grid(family: Family, nodes: Mapping[str, Node], overrides: Overrides, run: str, remarks: Warnings) -> None:
    """Warn of values in the plan that the family's grid does not have; what was set on the command line is meant."""
    for name, allowed in grid(family).items():
        if name in overrides.of(family) or name not in nodes or value_of(nodes[name]) == AUTO:
            continue
        node, value = nodes[name], float(value_of(nodes[name]))
        if value not in allowed:
            shown = ", ".join(as_text(each) for each in allowed)
            line = (
                f"{node.file}, line {node.line}: {name} {value_of(node)} is off the grid of {family} ({shown}); it is"
                " used as it stands"
            )
            remarks.add(line, run)


def given(nodes: Mapping[str, Node], overrides: Overrides, family: Family) -> dict[str, str]:
    """A run's own settings as text, as they run: without those that were overridden."""
    changed = overrides.of(family)
    return {name: value_of(node) for name, node in nodes.items() if name not in changed}


def changed_settings(run: PlanRun, changes: Mapping[str, str]) -> Settings:
    """A run's settings with some changed. Raises UserError where they can't go together."""
    assert run.settings is not None
    return resolve({**run.settings.model_dump(), **changes})[0]


def _problem(name: str, text: str) -> str | None:
    """Why a value does not fit its setting, in words."""
    try:
        Settings.model_validate({**recipe_for(find_model("convnextv2_large")), name: text})
        if name == "model":
            find_model(text)
    except ValidationError:
        return invalid_value(name, text).replace(flag_name(name), name, 1)
    except UserError as error:
        return str(error).replace("--model", "model", 1)
    return None


def _clamp(asked: dict[str, Any], family: Family, run: str, remarks: Warnings) -> None:
    """Shorten what the plan makes longer than the run became by an override."""
    model = find_model(str(asked.get("model", recipe_model(family))))
    epochs = str(asked.get("epochs", AUTO))
    length = recipe_for(model)["epochs"] if epochs == AUTO else int(epochs)
    for name in _LENGTHS:
        text = str(asked.get(name, AUTO))
        if text != AUTO and int(text) > length:
            asked[name] = str(length)
            remarks.add(f"{name} {text} is longer than the run with these overrides: {length} is used", run)


def recipe_model(family: Family) -> str:
    """The model that stands in where a plan names none."""
    flagships = {Family.CNN: "convnextv2_large", Family.VIT: "clip_vitl14"}
    return flagships.get(family) or next(name for name in known_models() if find_model(name).family is family)


def _require_family(model: str, family: Family) -> None:
    found = find_model(model).family
    if found is not family:
        raise UserError(
            f"model {model} is of family {found}, and the run is one of {family}: name a {family} model, or set"
            f" model.{family}=…"
        )


def _named(runs: list[str]) -> str:
    more = f" and {len(runs) - 2} more" if len(runs) > 2 else ""
    return f"{', '.join(runs[:2])}{more}"
