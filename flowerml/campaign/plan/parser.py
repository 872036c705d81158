"""Parse and check a plan file; every error names file, line and remedy before anything runs."""

from importlib.resources import files
from pathlib import Path

from flowerml.campaign.plan.model import Budget, Plan
from flowerml.campaign.plan.overrides import Overrides, read_overrides
from flowerml.campaign.plan.phase_reader import PlanReader
from flowerml.campaign.plan.run_settings import (
    check_families,
    check_values,
    read_defaults,
)
from flowerml.campaign.plan.yaml_nodes import Node, parse_yaml, read_yaml
from flowerml.errors import UserError
from flowerml.settings.errors import did_you_mean

SUFFIXES = (".yaml", ".yml")
_PLAN_FIELDS = {
    "plan": True,
    "about": False,
    "defaults": False,
    "families": False,
    "grid": False,
    "phases": True,
    "budget": False,
}


def shipped_plans() -> tuple[str, ...]:
    """The names of the plans that come with flowerml."""
    return tuple(
        sorted(
            path.name.removesuffix(".yaml") for path in files("flowerml.campaign.plan").joinpath("shipped").iterdir()
        )
    )


def read_plan(name_or_path: str, overrides: tuple[str, ...] = ()) -> Plan:
    """A shipped plan by name, or a plan file; `overrides` are texts `NAME=VALUE`.

    Raises:
        UserError: no such plan, or an invalid one.
    """
    parsed = read_overrides(overrides)
    if name_or_path in shipped_plans():
        source = files("flowerml.campaign.plan").joinpath("shipped", f"{name_or_path}.yaml")
        return parse_plan(parse_yaml(source.read_text("utf-8"), f"{name_or_path}.yaml"), parsed)
    path = Path(name_or_path)
    if path.suffix not in SUFFIXES and not path.exists():
        raise UserError(
            f"the plan {name_or_path!r} is unknown.{did_you_mean(name_or_path, shipped_plans())}"
            f" Allowed: {', '.join(shipped_plans())}, or a file that ends in .yaml"
        )
    return parse_plan(read_yaml(path), parsed)


def parse_plan(document: Node, overrides: Overrides) -> Plan:
    """Parse a plan from its root node. Raises UserError."""
    check_values(overrides)
    parts = document.as_fields(_PLAN_FIELDS)
    on_grid = "grid" not in parts or parts["grid"].as_choice(("family", "none")) == "family"
    reader = PlanReader(document, overrides, read_defaults(parts), on_grid=on_grid)
    for name, node in parts["phases"].as_mapping().items():
        reader.read_phase(name, node)
    if not reader.phases:
        raise parts["phases"].error("the plan has no phases: add one, with runs")
    families = tuple(dict.fromkeys(run.family for phase in reader.phases for run in phase.runs))
    check_families(overrides, families)
    plan = Plan(
        name=_read_plan_name(parts["plan"]),
        title=parts["about"].as_text() if "about" in parts else "",
        file=document.file,
        phases=tuple(reader.phases),
        budget=_read_budget(parts.get("budget")),
        overrides=overrides.assignments,
        warnings=reader.warnings.texts(),
    )
    if plan.budget.runs is not None and len(plan.runs) > plan.budget.runs:
        raise parts["budget"].error(
            f"the plan has {len(plan.runs)} runs, and its budget is {plan.budget.runs}: leave some out, or raise it"
        )
    return plan


def _read_budget(node: Node | None) -> Budget:
    if node is None:
        return Budget()
    parts = node.as_fields({"runs": False, "tries": False, "hours": False})
    hours = None
    if "hours" in parts:
        try:
            hours = float(parts["hours"].as_text())
        except ValueError:
            hours = -1.0
        if not 0 < hours < 1e6:
            raise parts["hours"].error(f"budget.hours is {parts['hours'].as_text()!r}. Allowed: number, > 0")
    runs = parts["runs"].as_int(1, 10_000) if "runs" in parts else None
    return Budget(runs, parts["tries"].as_int(1, 100) if "tries" in parts else Budget.tries, hours)


def _read_plan_name(node: Node) -> str:
    name = node.as_text()
    if not all(char.isalnum() or char in "_-" for char in name) or not name.isascii() or len(name) > 40:
        raise node.error(f"plan is {name!r}. Allowed: letters, digits, `_` and `-`, up to 40")
    return name
