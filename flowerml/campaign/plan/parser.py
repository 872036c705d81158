"""A plan file, read and checked: whatever is wrong is refused with file, line and remedy before anything runs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.resources import files
from pathlib import Path

from flowerml.campaign.plan.dependent_phases import read_confirm, read_final, read_seeds
from flowerml.campaign.plan.model import Budget, Phase, PhaseKind, Plan, PlanRun, Select, shaping
from flowerml.campaign.plan.overrides import Overrides, read_overrides
from flowerml.campaign.plan.run_settings import (
    Defaults,
    Warnings,
    check_families,
    check_values,
    given,
    off_grid,
    read_defaults,
    read_settings,
    resolve_run,
)
from flowerml.campaign.plan.yaml_nodes import Node, parse_yaml, read_yaml
from flowerml.errors import UserError
from flowerml.settings import Family
from flowerml.settings.errors import did_you_mean

SUFFIXES = (".yaml", ".yml")
_PLAN = {
    "plan": True,
    "about": False,
    "defaults": False,
    "families": False,
    "grid": False,
    "phases": True,
    "budget": False,
}
_PHASE = {
    **{
        "about": False,
        "family": False,
        "seeds": False,
        "twins": False,
        "smoke": False,
        "confirm": False,
        "final": False,
    },
    **{"runs": True, "select": False},
}
_RULE = ("macro_f1", "variance")
_NAME_LENGTH = 100


def shipped_plans() -> tuple[str, ...]:
    """The names of the plans that come with flowerml."""
    return tuple(
        sorted(
            path.name.removesuffix(".yaml") for path in files("flowerml.campaign.plan").joinpath("shipped").iterdir()
        )
    )


def read_plan(asked: str, texts: tuple[str, ...] = ()) -> Plan:
    """A shipped plan by its name, or a file; with the overrides `texts` (`NAME=VALUE`).

    Raises:
        UserError: no such plan, or whatever is wrong with it.
    """
    overrides = read_overrides(texts)
    if asked in shipped_plans():
        source = files("flowerml.campaign.plan").joinpath("shipped", f"{asked}.yaml")
        return parse_plan(parse_yaml(source.read_text("utf-8"), f"{asked}.yaml"), overrides)
    path = Path(asked)
    if path.suffix not in SUFFIXES and not path.exists():
        raise UserError(
            f"the plan {asked!r} is unknown.{did_you_mean(asked, shipped_plans())} Allowed: {', '.join(shipped_plans())}, or a file that"
            " ends in .yaml"
        )
    return parse_plan(read_yaml(path), overrides)


def parse_plan(document: Node, overrides: Overrides) -> Plan:
    """A document as a plan. Raises UserError."""
    check_values(overrides)
    parts = document.parts(_PLAN)
    on_grid = "grid" not in parts or parts["grid"].as_choice(("family", "none")) == "family"
    reader = _Reader(document, overrides, read_defaults(parts), on_grid=on_grid)
    for name, node in parts["phases"].names().items():
        reader.read_phase(name, node)
    if not reader.phases:
        raise parts["phases"].error("the plan has no phases: add one, with runs")
    families = tuple(dict.fromkeys(run.family for phase in reader.phases for run in phase.runs))
    check_families(overrides, families)
    plan = Plan(
        name=_name(parts["plan"]),
        title=parts["about"].as_text() if "about" in parts else "",
        file=document.file,
        phases=tuple(reader.phases),
        budget=_budget(parts.get("budget")),
        overrides=overrides.words,
        warnings=reader.remarks.texts(),
    )
    if plan.budget.runs is not None and len(plan.runs) > plan.budget.runs:
        raise parts["budget"].error(
            f"the plan has {len(plan.runs)} runs, and its budget is {plan.budget.runs}: leave some out, or raise it"
        )
    return plan


@dataclass
class _Reader:
    """Goes through the phases in their order; what it has seen is what a later phase may refer to."""

    document: Node
    overrides: Overrides
    defaults: Defaults
    on_grid: bool
    phases: list[Phase] = field(default_factory=list)
    remarks: Warnings = field(default_factory=Warnings)
    seen: dict[str, PlanRun] = field(default_factory=dict)
    shapes: list[tuple[PlanRun, Mapping[str, object], bool]] = field(default_factory=list)

    def read_phase(self, name: str, node: Node) -> None:
        parts = node.parts(_PHASE)
        kinds = [kind for kind in ("smoke", "confirm", "final") if kind in parts]
        if len(kinds) > 1:
            raise parts[kinds[1]].error(f"phase {name} is {kinds[0]} and {kinds[1]}: make two phases of it")
        kind = PhaseKind(kinds[0]) if kinds else PhaseKind.SELECT
        title = parts["about"].as_text() if "about" in parts else f"Phase {name}"
        if kind in (PhaseKind.SMOKE, PhaseKind.SELECT):
            phase = self._own_runs(name, title, kind, parts)
        else:
            for key, what in (("family", "families"), ("seeds", "seeds"), ("twins", "runs")):
                if key in parts:
                    raise parts[key].error(
                        f"phase {name} takes its {what} from the phases it follows: leave the line out"
                    )
            if kind is PhaseKind.CONFIRM:
                phase = read_confirm(name, title, parts, self.phases, len(self.seen), self.overrides)
            else:
                phase = read_final(name, title, parts, self.phases, len(self.seen), self.overrides.mode)
        for run in phase.runs:
            self._remember(run, phase.kind)
        if "select" in parts:
            phase = replace(phase, select=self._select(parts["select"], phase))
        self.phases.append(phase)

    def _own_runs(self, name: str, title: str, kind: PhaseKind, parts: Mapping[str, Node]) -> Phase:
        if kind is PhaseKind.SMOKE:
            parts["smoke"].as_choice(("true",))
            if "select" in parts:
                raise parts["select"].error(
                    f"phase {name} is a smoke test: nothing is chosen from it; leave select out"
                )
        family = Family(parts["family"].as_choice(list(Family))) if "family" in parts else None
        nodes = parts["runs"].names()
        if not nodes:
            raise parts["runs"].error(f"phase {name} has no runs: add one")
        seeds = read_seeds(parts["seeds"]) if "seeds" in parts else (None,)
        runs = [
            self._run(name, kind, run_name, node, family, seed) for run_name, node in nodes.items() for seed in seeds
        ]
        if "twins" in parts and parts["twins"].as_choice(("stop", "skip")) == "skip":
            runs = self._without_twins(runs)
        return Phase(
            name,
            title,
            kind,
            tuple(replace(run, order=order) for order, run in enumerate(runs, start=len(self.seen) + 1)),
        )

    def _without_twins(self, runs: Sequence[PlanRun]) -> list[PlanRun]:
        """Only the first of those that overrides have made one configuration and seed; the others are warned of."""
        kept: list[PlanRun] = []
        for run in runs:
            assert run.settings is not None
            twin = next(
                (one for one in kept if one.settings is not None and shaping(one.settings) == shaping(run.settings)),
                None,
            )
            if twin is None or not self.overrides.words:
                kept.append(run)
            else:
                self.remarks.add(f"{run.called} is {twin.called} with these overrides: it is left out", run.name)
        return kept

    def _run(
        self, phase: str, kind: PhaseKind, name: str, node: Node, family: Family | None, seed: int | None
    ) -> PlanRun:
        """A run of the plan, its order yet to be given. With a `seed` of the phase's it is one of several of its
        configuration.
        """
        own = dict(node.names())
        named = own.pop("family", None)
        if named is not None:
            family = Family(named.as_choice(list(Family)))
        if family is None:
            raise node.error(
                f"run {name} has no family: add `family: …` ({', '.join(Family)}) to it or to phase {phase}"
            )
        own = read_settings(_without_family(node), seed_too=True)
        nodes = {**self.defaults.of(family), **own}
        configuration = name if seed is not None else None
        if seed is None:
            seed = nodes["seed"].as_int(0, 2**31) if "seed" in nodes else 11
        elif "seed" in own:
            raise own["seed"].error(
                f"run {name} has a seed, and phase {phase} has seeds for all its runs: leave one of them out"
            )
        else:
            name = f"{name}_seed{seed}"
        settings = resolve_run(
            name,
            family,
            seed,
            {key: value for key, value in nodes.items() if key != "seed"},
            self.overrides,
            node,
            self.remarks,
        )
        if settings.val_split == 0:
            raise node.error(f"run {name} has val_split 0, and nothing to be judged by: hold some pictures out")
        if kind is PhaseKind.SELECT and self.on_grid:
            off_grid(family, nodes, self.overrides, name, self.remarks)
        return PlanRun(
            name, 0, phase, family, seed, settings, None, given(own, self.overrides, family), node.line, configuration
        )

    def _remember(self, run: PlanRun, kind: PhaseKind) -> None:
        """Take a run in. Raises UserError for a name, or a configuration with its seed, that stands in the plan
        already.
        """
        at = f"{self.document.file}, line {run.line}"
        if run.name in self.seen:
            raise UserError(
                f"{at}: {run.name} is the name of the run in line {self.seen[run.name].line} already: give it another"
            )
        if "/" in run.name or run.name.startswith(".") or not run.name.isprintable() or len(run.name) > _NAME_LENGTH:
            raise UserError(
                f"{at}: {run.name!r} can't name a folder: use letters, digits, `_`, `-`, `.`; up to {_NAME_LENGTH}"
                " characters"
            )
        self.seen[run.name] = run
        if run.settings is None:
            return
        mine, by = shaping(run.settings), " with these overrides" if self.overrides.words else ""
        for other, theirs, smoke in self.shapes:
            if any(mine[key] != theirs[key] for key in ("val_split", "split_seed")):
                raise UserError(
                    f"{at}: {run.name} and {other.name} (line {other.line}) are on different splits and can't be"
                    " compared: use one"
                )
            if mine == theirs and smoke is (kind is PhaseKind.SMOKE):  # a smoke test may be what is trained later
                raise UserError(
                    f"{at}: {run.name} and {other.name} (line {other.line}) are one configuration and seed{by}: change"
                    " one, or leave it out"
                )
        self.shapes.append((run, mine, kind is PhaseKind.SMOKE))

    def _select(self, node: Node, phase: Phase) -> Select:
        parts = node.parts({"top": True, "by": True, "then": False})
        parts["by"].as_choice(("val_accuracy",))
        if "then" in parts:
            words = tuple(entry.as_choice(_RULE) for entry in parts["then"].entries())
            if words not in (_RULE[:1], _RULE):
                raise parts["then"].error(
                    f"{parts['then'].where} is {', '.join(words)}. Allowed: [{', '.join(_RULE)}], in this order"
                )
        if phase.kind is PhaseKind.FINAL:
            raise node.error(f"phase {phase.name} makes the final models: nothing is chosen after it; leave select out")
        if len({run.family for run in phase.runs}) > 1:
            raise node.error(
                f"phase {phase.name} has runs of several families, which are not compared: make a phase of each"
            )
        seeds = {run.seed for run in phase.runs}
        if phase.kind is PhaseKind.SELECT and len(seeds) > 1 and any(run.configuration is None for run in phase.runs):
            raise node.error(
                f"phase {phase.name} has seeds {', '.join(map(str, sorted(seeds)))}: choose on one, and let a phase"
                " with confirm add others, or give the phase `seeds` for all its runs"
            )
        there = len({run.source or run.called for run in phase.runs})
        top = parts["top"].as_int(1, 10_000)
        if top > there:
            raise parts["top"].error(
                f"{parts['top'].where} is {top}, and phase {phase.name} has {there} configurations: lower it"
            )
        return Select(top)


def _budget(node: Node | None) -> Budget:
    if node is None:
        return Budget()
    parts = node.parts({"runs": False, "tries": False, "hours": False})
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


def _name(node: Node) -> str:
    name = node.as_text()
    if not all(char.isalnum() or char in "_-" for char in name) or not name.isascii() or len(name) > 40:
        raise node.error(f"plan is {name!r}. Allowed: letters, digits, `_` and `-`, up to 40")
    return name


def _without_family(node: Node) -> Node:
    raw = type(node.raw)(
        node.raw.tag,
        [(key, value) for key, value in node.raw.value if key.value != "family"],
        node.raw.start_mark,
        node.raw.end_mark,
    )
    return Node(node.file, node.path, raw)
