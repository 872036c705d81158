"""Complete settings of a run: the plan's defaults, the family's, the run's own, and the overrides, in this order."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from flowerml.campaign.plan.model import PlanRun
from flowerml.campaign.plan.overrides import CAMPAIGN_SETTINGS, Overrides
from flowerml.campaign.plan.yaml_nodes import Node
from flowerml.errors import UserError
from flowerml.settings import Family, Settings, find_model, grid, known_models, resolve
from flowerml.settings.declaration import AUTO, fields
from flowerml.settings.errors import did_you_mean, nearest_names
from flowerml.settings.families.recipes import EPOCH_COUNTS, recipe_for, value_problem
from flowerml.settings.serialization import as_text


@dataclass
class Warnings:
    """Collects warnings, each once, with the names of their runs."""

    lines: dict[str, list[str]] = field(default_factory=dict)

    def add(self, line: str, run: str) -> None:
        """Add the warning `line` about a run."""
        self.lines.setdefault(line, []).append(run)

    def texts(self) -> tuple[str, ...]:
        """A line per warning; of many runs the first two are named."""
        return tuple(f"{line} ({_format_run_names(runs)})" for line, runs in self.lines.items())


def read_settings(node: Node, *, allow_seed: bool = False) -> dict[str, Node]:
    """Settings by name, each known and in its range.

    Raises:
        UserError: an unknown setting, one that the campaign gives itself, or a value out of range.
    """
    found = node.as_mapping()
    for name, value in found.items():
        if name in CAMPAIGN_SETTINGS and not (allow_seed and name == "seed"):
            raise value.error(f"{name} has no place in a plan: it is {CAMPAIGN_SETTINGS[name]}")
        if name not in fields():
            raise value.error(
                f"setting {name!r} is unknown.{nearest_names(name, tuple(fields()))} `flowerml train --help` lists them"
            )
        text = value_of(value)
        if text != AUTO and (problem := value_problem(name, text)):
            raise value.error(problem)
    return found


def value_of(node: Node) -> str:
    """A setting's value as text; a list is joined with commas, as on a command line."""
    return ",".join(entry.as_text() for entry in node.as_list())


@dataclass(frozen=True)
class Defaults:
    """Default settings of all runs, and of a family's."""

    every: Mapping[str, Node]
    families: Mapping[Family, Mapping[str, Node]]

    def of(self, family: Family) -> dict[str, Node]:
        """The defaults for the runs of a family."""
        return {**self.every, **self.families.get(family, {})}


def read_defaults(parts: Mapping[str, Node]) -> Defaults:
    """Parse the defaults of a plan with these fields. Raises UserError."""
    every = read_settings(parts["defaults"], allow_seed=True) if "defaults" in parts else {}
    families: dict[Family, dict[str, Node]] = {}
    if "families" in parts:
        for name, node in parts["families"].as_mapping().items():
            if name not in list(Family):
                raise node.error(
                    f"family {name!r} is unknown.{did_you_mean(name, tuple(Family))} Allowed: {', '.join(Family)}"
                )
            families[Family(name)] = read_settings(node)
    return Defaults(every, families)


def resolve_run(
    name: str,
    family: Family,
    seed: int,
    nodes: Mapping[str, Node],
    overrides: Overrides,
    node: Node,
    warnings: Warnings,
) -> Settings:
    """The settings of a run. `nodes` are the plan's values by name; `node` is the run's, for error messages.

    A freeze, a warm-up or unmixed epochs longer than the run are clamped, with a warning, where overrides are used, and
    refused otherwise.

    Raises:
        UserError: settings that contradict each other, or a model of another family.
    """
    changed = overrides.of(family)
    values: dict[str, Any] = {**{key: value_of(value) for key, value in nodes.items()}, **changed, "seed": str(seed)}
    if overrides.assignments:
        _clamp_lengths(values, family, name, warnings)
    try:
        settings, found = resolve(values)
        _check_model_family(settings.model, family)
    except UserError as error:
        by = f" (with {' '.join(f'--set {word}' for word in overrides.assignments)})" if overrides.assignments else ""
        raise node.error(f"run {name}{by}: {error}") from error
    for warning in found:
        warnings.add(warning, name)
    return settings


def check_families(overrides: Overrides, families: tuple[Family, ...]) -> None:
    """Check that the plan has runs of every overridden family. Raises UserError."""
    for family in overrides.families:
        if family not in families:
            raise UserError(f"--set NAME.{family}: the plan has no runs of that family. It has: {', '.join(families)}")


def check_values(overrides: Overrides) -> None:
    """Check that overrides are in their ranges. Raises UserError."""
    for values in (overrides.every, *overrides.families.values()):
        for name, text in values.items():
            if text != AUTO and (problem := value_problem(name, text)):
                raise UserError(f"--set {name}: {problem}")


def warn_off_grid(
    family: Family, nodes: Mapping[str, Node], overrides: Overrides, run: str, warnings: Warnings
) -> None:
    """Warn of values of the plan (not of overrides) that are not on the family's grid."""
    given = {**{name: value_of(node) for name, node in nodes.items()}, **overrides.of(family)}
    for name, allowed in grid(family, probe=given.get("probe", "").lower() == "true").items():
        if name in overrides.of(family) or name not in nodes or value_of(nodes[name]) == AUTO:
            continue
        node, value = nodes[name], float(value_of(nodes[name]))
        if value not in allowed:
            shown = ", ".join(as_text(each) for each in allowed)
            line = (
                f"{node.file}, line {node.line}: {name} {value_of(node)} is off the grid of {family} ({shown}); it is"
                " used as it stands"
            )
            warnings.add(line, run)


def own_settings(nodes: Mapping[str, Node], overrides: Overrides, family: Family) -> dict[str, str]:
    """A run's own settings as text, without overridden ones."""
    changed = overrides.of(family)
    return {name: value_of(node) for name, node in nodes.items() if name not in changed}


def changed_settings(run: PlanRun, changes: Mapping[str, str]) -> Settings:
    """A run's settings with changes. Raises UserError where they contradict each other."""
    assert run.settings is not None
    return resolve({**run.settings.model_dump(), **changes})[0]


def _clamp_lengths(values: dict[str, Any], family: Family, run: str, warnings: Warnings) -> None:
    """Shorten freeze, warm-up and unmixed epochs where an override made the run shorter than they are."""
    model = find_model(str(values.get("model", recipe_model(family))))
    epochs = str(values.get("epochs", AUTO))
    length = recipe_for(model)["epochs"] if epochs == AUTO else int(epochs)
    for name in EPOCH_COUNTS:
        text = str(values.get(name, AUTO))
        if text != AUTO and int(text) > length:
            values[name] = str(length)
            warnings.add(f"{name} {text} is longer than the run with these overrides: {length} is used", run)


def recipe_model(family: Family) -> str:
    """The model of a family's runs where the plan names none."""
    flagships = {Family.CNN: "convnextv2_large", Family.VIT: "clip_vitl14"}
    return flagships.get(family) or next(name for name in known_models() if find_model(name).family is family)


def _check_model_family(model: str, family: Family) -> None:
    found = find_model(model).family
    if found is not family:
        raise UserError(
            f"model {model} is of family {found}, and the run is one of {family}: name a {family} model, or set"
            f" model.{family}=…"
        )


def _format_run_names(runs: list[str]) -> str:
    more = f" and {len(runs) - 2} more" if len(runs) > 2 else ""
    return f"{', '.join(runs[:2])}{more}"
