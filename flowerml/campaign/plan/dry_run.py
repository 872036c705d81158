"""The schedule of a plan, as lines and as JSON, without running anything."""

from collections.abc import Collection, Mapping
from typing import Any

from flowerml.campaign.plan.model import Phase, PhaseKind, Plan, PlanRun, identity_settings
from flowerml.human_units import duration
from flowerml.settings.serialization import as_text


def as_lines(plan: Plan, seconds: Mapping[str, float] | None = None, unfit: Collection[str] = ()) -> list[str]:
    """Every phase and run in order. `seconds`: estimated duration by run name, None without estimates.

    `unfit` are the runs that do not fit before a deadline.
    """
    counted = f"{len(plan.runs)} runs in {len(plan.phases)} phases"
    found = [f"{plan.name}: {plan.title}", f"{counted}; digest {plan.digest[:8]}"]
    if plan.overrides:
        found.append(f"with {' '.join(f'--set {word}' for word in plan.overrides)}")
    for phase in plan.phases:
        found += ["", f"{phase.name}  {phase.title}", *(_run_line(run, phase, seconds, unfit) for run in phase.runs)]
        if words := _next_step(phase):
            found.append(f"      then: {words}")
    if seconds is not None:
        total = sum(seconds.values())
        found += ["", f"about {duration(total)} for all runs one after another, without early stopping"]
    if unfit:
        found.append(f"before the deadline {len(plan.runs) - len(unfit)} of {len(plan.runs)} runs fit")
    return found


def as_json(plan: Plan, seconds: Mapping[str, float] | None = None, unfit: Collection[str] = ()) -> dict[str, Any]:
    """The same as plain values; settings in full where they are known."""
    return {
        "plan": plan.name,
        "title": plan.title,
        "digest": plan.digest,
        "overrides": list(plan.overrides),
        "warnings": list(plan.warnings),
        "phases": [
            {
                "phase": phase.name,
                "title": phase.title,
                "kind": phase.kind.value,
                "select": phase.select.top if phase.select else None,
                "runs": [
                    {
                        "run": run.name,
                        "order": run.order,
                        "family": run.family.value,
                        "seed": run.seed,
                        **({"fold": run.fold} if run.fold else {}),
                        "configuration": str(run.source) if run.source else run.config_name,
                        "settings": identity_settings(run.settings) if run.settings else None,
                        "seconds": seconds.get(run.name) if seconds else None,
                        **({"fits": False} if run.name in unfit else {}),
                    }
                    for run in phase.runs
                ],
            }
            for phase in plan.phases
        ],
        "seconds": sum(seconds.values()) if seconds else None,
    }


def _run_line(run: PlanRun, phase: Phase, seconds: Mapping[str, float] | None, unfit: Collection[str]) -> str:
    if run.settings is not None:
        own = ", ".join(f"{name} {as_text(getattr(run.settings, name))}" for name in run.given)
        about = f"{run.settings.model}, seed {run.seed}, {run.settings.epochs} epochs{': ' if own else ''}{own}"
    else:
        changes = phase.confirm.changes if phase.confirm else {}
        other = "".join(f", {name} {value}" for name, value in changes.items())
        mode = f", {phase.final.mode}" if phase.final else ""
        held_out = f", fold {run.fold}" if run.fold else ""
        about = f"{run.source}, seed {run.seed}{held_out}{other}{mode}"
    took = f"  (about {duration(seconds[run.name])})" if seconds and run.name in seconds else ""
    fits = "  does not fit before the deadline" if run.name in unfit else ""
    return f"  {run.order:>3}  {run.name:<{_WIDTH}}  {about}{took}{fits}"


_WIDTH = 32


def _next_step(phase: Phase) -> str:
    if phase.kind is PhaseKind.SMOKE:
        return "nothing follows where one of them fails"
    if phase.select is not None:
        goes = "the best goes on" if phase.select.top == 1 else f"the best {phase.select.top} go on"
        several = phase.kind is PhaseKind.CONFIRM or len({run.seed for run in phase.runs}) > 1
        folds = " and folds" if phase.confirm is not None and phase.confirm.folds else ""
        seeds = f" by the mean over all seeds{folds}" if several else ""
        return f"{goes}, by validation accuracy{seeds}; ties: macro-F1, variance between seeds, order of the plan"
    if phase.final is not None:
        return "registered, exported and checked"
    return ""
