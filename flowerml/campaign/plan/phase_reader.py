"""Parse the phases of a plan in order, and check each run against the earlier ones."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from flowerml.campaign.plan.dependent_phases import read_confirm, read_final, read_seeds
from flowerml.campaign.plan.model import Phase, PhaseKind, PlanRun, Select, identity_settings
from flowerml.campaign.plan.overrides import Overrides
from flowerml.campaign.plan.run_settings import (
    Defaults,
    Warnings,
    own_settings,
    read_settings,
    resolve_run,
    warn_off_grid,
)
from flowerml.campaign.plan.yaml_nodes import Node
from flowerml.errors import UserError
from flowerml.selection.records import Rule
from flowerml.settings import Family

_PHASE_FIELDS = {
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
_TIE_BREAKERS = ("macro_f1", "variance")
_NAME_LENGTH = 100


@dataclass
class PlanReader:
    """Parses the phases in order; a later phase may refer to the earlier ones."""

    document: Node
    overrides: Overrides
    defaults: Defaults
    on_grid: bool
    phases: list[Phase] = field(default_factory=list)
    warnings: Warnings = field(default_factory=Warnings)
    seen: dict[str, PlanRun] = field(default_factory=dict)
    shapes: list[tuple[PlanRun, Mapping[str, object], bool]] = field(default_factory=list)

    def read_phase(self, name: str, node: Node) -> None:
        """Parse a phase, and append it to `phases`. Raises UserError."""
        parts = node.as_fields(_PHASE_FIELDS)
        kinds = [kind for kind in ("smoke", "confirm", "final") if kind in parts]
        if len(kinds) > 1:
            raise parts[kinds[1]].error(f"phase {name} is {kinds[0]} and {kinds[1]}: make two phases of it")
        kind = PhaseKind(kinds[0]) if kinds else PhaseKind.SELECT
        title = parts["about"].as_text() if "about" in parts else f"Phase {name}"
        if kind in (PhaseKind.SMOKE, PhaseKind.SELECT):
            phase = self._read_runs(name, title, kind, parts)
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
            self._register_run(run, phase.kind)
        if "select" in parts:
            phase = replace(phase, select=self._read_select(parts["select"], phase))
        self.phases.append(phase)

    def _read_runs(self, name: str, title: str, kind: PhaseKind, parts: Mapping[str, Node]) -> Phase:
        if kind is PhaseKind.SMOKE:
            parts["smoke"].as_choice(("true",))
            if "select" in parts:
                raise parts["select"].error(
                    f"phase {name} is a smoke test: nothing is chosen from it; leave select out"
                )
        family = Family(parts["family"].as_choice(list(Family))) if "family" in parts else None
        nodes = parts["runs"].as_mapping()
        if not nodes:
            raise parts["runs"].error(f"phase {name} has no runs: add one")
        seeds = read_seeds(parts["seeds"]) if "seeds" in parts else (None,)
        runs = [
            self._read_run(name, kind, run_name, node, family, seed)
            for run_name, node in nodes.items()
            for seed in seeds
        ]
        if "twins" in parts and parts["twins"].as_choice(("stop", "skip")) == "skip":
            runs = self._drop_duplicates(runs)
        return Phase(
            name,
            title,
            kind,
            tuple(replace(run, order=order) for order, run in enumerate(runs, start=len(self.seen) + 1)),
        )

    def _drop_duplicates(self, runs: Sequence[PlanRun]) -> list[PlanRun]:
        """Of runs that overrides have made the same configuration and seed, keep the first; warn of the others."""
        kept: list[PlanRun] = []
        for run in runs:
            assert run.settings is not None
            twin = next(
                (
                    one
                    for one in kept
                    if one.settings is not None and identity_settings(one.settings) == identity_settings(run.settings)
                ),
                None,
            )
            if twin is None or not self.overrides.assignments:
                kept.append(run)
            else:
                self.warnings.add(
                    f"{run.config_name} is {twin.config_name} with these overrides: it is left out", run.name
                )
        return kept

    def _read_run(
        self, phase: str, kind: PhaseKind, name: str, node: Node, family: Family | None, seed: int | None
    ) -> PlanRun:
        """Parse a run; its order is set later. With a `seed` of the phase it is one of several of a configuration."""
        own = dict(node.as_mapping())
        named = own.pop("family", None)
        if named is not None:
            family = Family(named.as_choice(list(Family)))
        if family is None:
            raise node.error(
                f"run {name} has no family: add `family: …` ({', '.join(Family)}) to it or to phase {phase}"
            )
        own = read_settings(_drop_family(node), allow_seed=True)
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
            self.warnings,
        )
        if settings.val_split == 0:
            raise node.error(f"run {name} has val_split 0, and nothing to be judged by: hold some pictures out")
        if kind is PhaseKind.SELECT and self.on_grid:
            warn_off_grid(family, nodes, self.overrides, name, self.warnings)
        return PlanRun(
            name,
            0,
            phase,
            family,
            seed,
            settings,
            None,
            own_settings(own, self.overrides, family),
            node.line,
            configuration,
        )

    def _register_run(self, run: PlanRun, kind: PhaseKind) -> None:
        """Add a run. Raises UserError for a duplicate name, or a duplicate configuration and seed."""
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
        mine, by = identity_settings(run.settings), " with these overrides" if self.overrides.assignments else ""
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

    def _read_select(self, node: Node, phase: Phase) -> Select:
        parts = node.as_fields({"top": True, "by": True, "then": False, "base": False})
        rule = Rule(parts["by"].as_choice(tuple(map(str, Rule))))
        if "then" in parts:
            words = tuple(entry.as_choice(_TIE_BREAKERS) for entry in parts["then"].as_list())
            if words not in (_TIE_BREAKERS[:1], _TIE_BREAKERS):
                raise parts["then"].error(
                    f"{parts['then'].key} is {', '.join(words)}. Allowed: [{', '.join(_TIE_BREAKERS)}], in this order"
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
        configurations = len({run.source or run.config_name for run in phase.runs})
        top = parts["top"].as_int(1, 10_000)
        if top > configurations:
            raise parts["top"].error(
                f"{parts['top'].key} is {top}, and phase {phase.name} has {configurations} configurations: lower it"
            )
        return Select(top, rule, _read_base(parts["base"], phase) if "base" in parts else None)


def _read_base(node: Node, phase: Phase) -> str:
    """The name of a configuration of the phase. Raises UserError."""
    if phase.kind is not PhaseKind.SELECT:
        raise node.error(f"phase {phase.name} follows another one: gains over a base are shown there; leave it out")
    names = tuple(dict.fromkeys(run.config_name for run in phase.runs))
    return node.as_choice(names)


def _drop_family(node: Node) -> Node:
    raw = type(node.raw)(
        node.raw.tag,
        [(key, value) for key, value in node.raw.value if key.value != "family"],
        node.raw.start_mark,
        node.raw.end_mark,
    )
    return Node(node.file, node.path, raw)
