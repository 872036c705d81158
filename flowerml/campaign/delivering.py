"""The end of a campaign: its final models registered under their decisions, and the versions it registered exported and checked."""

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from flowerml.campaign.ground import Ground
from flowerml.campaign.plan import Mode, PlanRun
from flowerml.campaign.standing import run_id_of
from flowerml.campaign.story import DecisionText, Delivered
from flowerml.console import say
from flowerml.delivery.export import Source, export
from flowerml.delivery.verify import Expected
from flowerml.errors import RunFailed
from flowerml.prediction.delivered import WEIGHTS
from flowerml.tracking import Registration, fetch_registered, register
from flowerml.tracking.campaigns import answers_within

_FILES_S = 120.0  # a server may take so long over a model's files; other questions of a campaign are short


@dataclass(frozen=True)
class _Registered:
    family: str
    registration: Registration
    run_id: str


def deliver_finals(ground: Ground, decisions: Mapping[str, DecisionText]) -> tuple[Delivered, ...]:
    """Register, export, check. Nothing for a plan without final models. Done again, it finds the versions it has made.

    Raises:
        UserError: the registry or the folder can't be written to; RunFailed where what was written is not what was trained.
    """
    answers_within(_FILES_S)
    finals = [(phase.final, run) for phase in ground.plan.phases if phase.final is not None for run in phase.runs]
    registered = []
    for final, run in finals:
        assert run.source is not None
        text = decisions[run.source.phase]
        run_id = final_run_id(ground, run)
        retrained = run_id if final.mode is Mode.RETRAIN else None
        found = register(text.decision, run.family.value, selection_id=text.run_id or None, retrained_id=retrained)
        say(f"{run.family}: {found.words}")
        registered.append(_Registered(run.family.value, found, run_id))
    return _export(ground, registered) if registered else ()


def final_run_id(ground: Ground, run: PlanRun) -> str:
    """MLflow's id of a final run."""
    known = ground.place.known.get(run.name)
    return run_id_of(ground.place.folder(run.name)) or (known.run_id if known else "")


def _export(ground: Ground, registered: list[_Registered]) -> tuple[Delivered, ...]:
    folder = ground.options.output_dir
    pictures = Path(ground.options.train_dir)
    with tempfile.TemporaryDirectory(prefix="flowerml-campaign-") as scratch:
        sources = []
        for one in registered:
            found = fetch_registered(one.family, Path(scratch) / one.family, version=one.registration.version)
            origin = {"run_id": found.run_id, "registered_model": found.name, "version": found.version, "campaign": ground.id}
            sources.append(Source(found.weights, Expected(found.probe, found.predictions, pictures), origin))
        delivery = export(sources, folder)
    for check in delivery.checks:
        for line in check.lines:
            say(line)
    if delivery.problems:
        raise RunFailed(f"{folder} must not be handed on: {'; '.join(delivery.problems)}")
    return tuple(
        Delivered(
            family=one.family,
            path=folder / WEIGHTS[one.family],
            sha256=str(delivery.entries[WEIGHTS[one.family]]["sha256"]),
            registered_model=one.registration.name,
            version=one.registration.version,
            source_run=one.run_id,
            words=one.registration.words,
        )
        for one in registered
    )
