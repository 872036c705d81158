"""A plan as plain records: phases of runs, what is selected at their ends, and the phases that depend on it."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from flowerml.selection.records import Rule
from flowerml.settings import Family, Settings
from flowerml.settings.declaration import fields
from flowerml.settings.spec import metadata
from flowerml.translation import N_


class PhaseKind(StrEnum):
    """The purpose of a phase."""

    SMOKE = N_("smoke")  # checks training, checkpoint and evaluation; a failure stops the campaign
    SELECT = N_("select")  # trains configurations of the plan; the best are promoted
    CONFIRM = N_("confirm")  # trains promoted configurations on further seeds, or on the folds of a cross-validation
    FINAL = N_("final")  # makes one model of each winner, to be delivered


class FinalMode(StrEnum):
    """How a final model is made."""

    RETRAIN = "retrain"  # on all images, for the mean of the best epochs of its seeds
    KEEP_BEST = "keep_best"  # a copy of the best seed's best.pth, byte for byte
    SOUP = "soup"  # the average of the weights of the family's runs, each added while accuracy does not fall


@dataclass(frozen=True)
class ConfigRef:
    """A configuration that is not known yet: the one of this rank (1 is the best) at the end of a phase."""

    phase: str
    rank: int

    def __str__(self) -> str:
        return f"the {_ordinal(self.rank)} of phase {self.phase}"


@dataclass(frozen=True)
class PlanRun:
    """One run of a plan.

    `order` is its 1-based position in the plan. `settings` are complete but for folders and names; None where a
    decision chooses the configuration (`source`). `given` are the run's own settings in the plan, as text.
    `configuration` names what several runs have in common but for their seeds (None: there is one run of it). `line`
    is that of the plan file. `fold` is the fold it holds out (None: the plan's split).
    """

    name: str
    order: int
    phase: str
    family: Family
    seed: int
    settings: Settings | None
    source: ConfigRef | None
    given: Mapping[str, str]
    line: int
    configuration: str | None = None
    fold: int | None = None

    @property
    def config_name(self) -> str:
        """The plan's name of the configuration."""
        return self.configuration or self.name


@dataclass(frozen=True)
class Select:
    """How many configurations are promoted at the end of a phase, and by which rule.

    `base` names the configuration that the gains of the others are over, in an ablation; it changes no result.
    """

    top: int
    rule: Rule = Rule.ACCURACY
    base: str | None = None


@dataclass(frozen=True)
class Confirm:
    """The promoted configurations of the phase `of` on further seeds, with the settings `changes`.

    With `folds` above 0 each is trained on every fold with every seed. `of` may be `PLAN/PHASE`: the winner of another
    plan's campaign on the same data.
    """

    of: str
    seeds: tuple[int, ...]
    changes: Mapping[str, str]
    folds: int = 0

    @property
    def external(self) -> tuple[str, str] | None:
        """Plan and phase, where `of` is a phase of another plan."""
        plan, slash, phase = self.of.partition("/")
        return (plan, phase) if slash else None


@dataclass(frozen=True)
class Final:
    """One model of the winner of each of the phases `of`."""

    of: tuple[str, ...]
    mode: FinalMode
    seed: int


@dataclass(frozen=True)
class Phase:
    """A phase; its runs start when all earlier phases are complete."""

    name: str
    title: str
    kind: PhaseKind
    runs: tuple[PlanRun, ...]
    select: Select | None = None
    confirm: Confirm | None = None
    final: Final | None = None


@dataclass(frozen=True)
class Budget:
    """Limits: number of runs, attempts of a failing run, hours of all runs together (None: unlimited)."""

    runs: int | None = None
    tries: int = 2
    hours: float | None = None


@dataclass(frozen=True)
class Plan:
    """A valid plan. `overrides` are its `--set` arguments, `warnings` what is unusual but allowed."""

    name: str
    title: str
    file: str
    phases: tuple[Phase, ...]
    budget: Budget
    overrides: tuple[str, ...]
    warnings: tuple[str, ...]

    @property
    def runs(self) -> tuple[PlanRun, ...]:
        """Every run in the plan's order."""
        return tuple(run for phase in self.phases for run in phase.runs)

    @property
    def families(self) -> tuple[Family, ...]:
        """The families of its runs, in the plan's order."""
        return tuple(dict.fromkeys(run.family for run in self.runs))

    def run(self, name: str) -> PlanRun:
        """A run by its name."""
        return next(run for run in self.runs if run.name == name)

    def phase(self, name: str) -> Phase:
        """A phase by its name."""
        return next(phase for phase in self.phases if phase.name == name)

    def ancestors(self, phase: Phase) -> list[Phase]:
        """As the function `ancestors`, among the phases of this plan."""
        return ancestors(phase, self.phases)

    @property
    def digest(self) -> str:
        """sha256 (hex) of all that shapes the results: names, phases, settings, seeds; not titles and budgets."""
        content = {"plan": self.name, "phases": [_phase_json(phase) for phase in self.phases]}
        return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode("utf-8")).hexdigest()


def ancestors(phase: Phase, phases: Sequence[Phase]) -> list[Phase]:
    """The phase and the earlier ones whose configurations it confirms unchanged on one split, the earliest first."""
    chain = [phase]
    while (
        (confirm := chain[0].confirm) is not None
        and confirm.external is None
        and not (confirm.changes or confirm.folds)
    ):
        chain.insert(0, next(earlier for earlier in phases if earlier.name == confirm.of))
    return chain


def identity_settings(settings: Settings) -> dict[str, Any]:
    """The settings that shape a result, with seed and split, as plain values; weights as name or path."""
    values = settings.model_dump(mode="json")
    named = {"weights", "val_split", "split_seed", "seed"}
    return {
        name: values[name]
        for name, field in fields().items()
        if name in named
        or (metadata(field, "identity") and not (metadata(field, "late") and values[name] == field.default))
    }


def _phase_json(phase: Phase) -> dict[str, Any]:
    confirm, final = phase.confirm, phase.final
    return {
        "name": phase.name,
        "kind": str(phase.kind),
        "runs": [
            {
                "name": run.name,
                "family": str(run.family),
                "seed": run.seed,
                "settings": identity_settings(run.settings) if run.settings else None,
                "source": [run.source.phase, run.source.rank] if run.source else None,
            }
            for run in phase.runs
        ],
        "select": phase.select.top if phase.select else None,
        "confirm": _confirm_json(confirm) if confirm else None,
        "final": {"of": final.of, "mode": str(final.mode), "seed": final.seed} if final else None,
        # Only where it is not the one of earlier versions: their plans keep their digests.
        **({"rule": str(phase.select.rule)} if phase.select and phase.select.rule is not Rule.ACCURACY else {}),
    }


def _confirm_json(confirm: Confirm) -> dict[str, Any]:
    folds = {"folds": confirm.folds} if confirm.folds else {}  # plans of earlier versions keep their digests
    return {"of": confirm.of, "seeds": confirm.seeds, "changes": dict(confirm.changes), **folds}


def _ordinal(number: int) -> str:
    return {1: "best", 2: "second", 3: "third"}.get(number, f"{number}th")
