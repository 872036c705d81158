"""What a plan says, as plain records: phases of runs, what is chosen at their ends, and what follows from it."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from flowerml.settings import Family, Settings
from flowerml.settings.declaration import fields
from flowerml.settings.spec import note


class PhaseKind(StrEnum):
    """What a phase is for."""

    SMOKE = "smoke"  # training, checkpoint and evaluation work; a failure stops the campaign
    SELECT = "select"  # configurations of the plan; the best go on
    CONFIRM = "confirm"  # configurations that were chosen, on further seeds
    FINAL = "final"  # one model of each chosen configuration, to be delivered


class FinalMode(StrEnum):
    """Where a final model comes from."""

    RETRAIN = "retrain"  # trained anew on all pictures, for as many epochs as its seeds needed on the average
    KEEP_BEST = "keep_best"  # the best seed's best.pth, byte for byte


@dataclass(frozen=True)
class ConfigRef:
    """A configuration that is not known yet: the one at a place (1 is the best) of what was chosen at the end of a
    phase.
    """

    phase: str
    place: int

    def __str__(self) -> str:
        return f"the {_ordinal(self.place)} of phase {self.phase}"


@dataclass(frozen=True)
class PlanRun:
    """One run. `settings` are complete but for folders and names; None where its configuration is yet to be chosen
    (`source`).

    `given` is what the plan says of this run alone, as text. `configuration` is the plan's name of what several runs
    have in common but for their seeds (None: the run is the only one of its phase).
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

    @property
    def called(self) -> str:
        """The plan's name of its configuration."""
        return self.configuration or self.name


@dataclass(frozen=True)
class Select:
    """How many go on; the rule itself is the selector's."""

    top: int


@dataclass(frozen=True)
class Confirm:
    """The chosen of which phase, on which further seeds; `changes` are settings that are changed for it.

    `of` may be `PLAN/PHASE`: what another plan's campaign on the same data chose.
    """

    of: str
    seeds: tuple[int, ...]
    changes: Mapping[str, str]

    @property
    def elsewhere(self) -> tuple[str, str] | None:
        """Plan and phase, where they are another campaign's."""
        plan, slash, phase = self.of.partition("/")
        return (plan, phase) if slash else None


@dataclass(frozen=True)
class Final:
    """The first of each of these phases, as one model."""

    of: tuple[str, ...]
    mode: FinalMode
    seed: int


@dataclass(frozen=True)
class Phase:
    """A phase: nothing of it runs before the phases before it are complete."""

    name: str
    title: str
    kind: PhaseKind
    runs: tuple[PlanRun, ...]
    select: Select | None = None
    confirm: Confirm | None = None
    final: Final | None = None


@dataclass(frozen=True)
class Budget:
    """Limits: how many runs the plan may have, how often a failing run is tried, how many hours all runs may take
    together (None: any).
    """

    runs: int | None = None
    tries: int = 2
    hours: float | None = None


@dataclass(frozen=True)
class Plan:
    """A plan that was found to be in order. `overrides` are the `--set` it was read with, `warnings` what is odd and
    allowed.
    """

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
        """The families it has runs of, in the order in which they come."""
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
        """sha256 (hex) of everything that shapes the results: names, phases, settings, seeds, choices; not titles,
        comments and budgets.
        """
        content = {"plan": self.name, "phases": [_phase_json(phase) for phase in self.phases]}
        return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode("utf-8")).hexdigest()


def ancestors(phase: Phase, phases: Sequence[Phase]) -> list[Phase]:
    """The phase and those of `phases` whose runs have the same configurations, which it confirms; the earliest first."""
    chain = [phase]
    while (confirm := chain[0].confirm) is not None and confirm.elsewhere is None and not confirm.changes:
        chain.insert(0, next(earlier for earlier in phases if earlier.name == confirm.of))
    return chain


def shaping(settings: Settings) -> dict[str, Any]:
    """The settings that shape a result, seed and split among them, as plain values; weights by their name or path."""
    values = settings.model_dump(mode="json")
    named = {"weights", "val_split", "split_seed", "seed"}
    return {
        name: values[name]
        for name, field in fields().items()
        if name in named or (note(field, "identity") and not (note(field, "late") and values[name] == field.default))
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
                "settings": shaping(run.settings) if run.settings else None,
                "source": [run.source.phase, run.source.place] if run.source else None,
            }
            for run in phase.runs
        ],
        "select": phase.select.top if phase.select else None,
        "confirm": {"of": confirm.of, "seeds": confirm.seeds, "changes": dict(confirm.changes)} if confirm else None,
        "final": {"of": final.of, "mode": str(final.mode), "seed": final.seed} if final else None,
    }


def _ordinal(number: int) -> str:
    return {1: "best", 2: "second", 3: "third"}.get(number, f"{number}th")
