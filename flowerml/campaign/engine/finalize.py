"""The end of a campaign: its final models registered under their decisions, and the versions it registered exported and
checked.
"""

import logging
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from flowerml.campaign.engine.context import CampaignContext
from flowerml.campaign.plan.model import FinalMode, PlanRun
from flowerml.campaign.report.snapshot import DecisionSummary, DeliveredFile
from flowerml.campaign.state.run_status import run_id_of
from flowerml.delivery.export import Source, export
from flowerml.delivery.plain import deliver_weights
from flowerml.delivery.verify import Expected
from flowerml.errors import RunFailed
from flowerml.prediction.delivered import REGISTERED_WEIGHTS, WEIGHTS
from flowerml.tracking import Registration, fetch_registered, register
from flowerml.tracking.search.campaigns import set_request_timeout

logger = logging.getLogger(__name__)

_FILES_S = 120.0  # a server may take so long over a model's files; other questions of a campaign are short


@dataclass(frozen=True)
class _Registered:
    family: str
    registration: Registration
    run_id: str


def register_and_export(ground: CampaignContext, decisions: Mapping[str, DecisionSummary]) -> tuple[DeliveredFile, ...]:
    """Register, export, check. Nothing for a plan without final models. Done again, it finds the versions it has made.

    Raises:
        UserError: the registry or the folder can't be written to; RunFailed where what was written is not what was
            trained.
    """
    set_request_timeout(_FILES_S)
    finals = [(phase.final, run) for phase in ground.plan.phases if phase.final is not None for run in phase.runs]
    registered = []
    for final, run in finals:
        assert run.source is not None
        text = decisions[run.source.phase]
        run_id = final_run_id(ground, run)
        retrained = run_id if final.mode is FinalMode.RETRAIN else None
        found = register(text.decision, run.family.value, selection_id=text.run_id or None, retrained_id=retrained)
        logger.info(f"{run.family}: {found.summary}")
        registered.append(_Registered(run.family.value, found, run_id))
    bundled = [one for one in registered if one.family in WEIGHTS]
    return (
        *(_export(ground, bundled) if bundled else ()),
        *(_plain(ground, one) for one in registered if one.family not in WEIGHTS),
    )


def final_run_id(ground: CampaignContext, run: PlanRun) -> str:
    """MLflow's id of a final run."""
    known = ground.locations.known.get(run.name)
    return run_id_of(ground.locations.folder(run.name)) or (known.run_id if known else "")


def _export(ground: CampaignContext, registered: list[_Registered]) -> tuple[DeliveredFile, ...]:
    folder = ground.options.output_dir
    pictures = Path(ground.options.train_dir)
    with tempfile.TemporaryDirectory(prefix="flowerml-campaign-") as scratch:
        sources = []
        for one in registered:
            found = fetch_registered(one.family, Path(scratch) / one.family, version=one.registration.version)
            origin = {
                "run_id": found.run_id,
                "registered_model": found.name,
                "version": found.version,
                "campaign": ground.id,
            }
            sources.append(Source(found.weights, Expected(found.probe, found.predictions, pictures), origin))
        delivery = export(sources, folder)
    for check in delivery.checks:
        for line in check.lines:
            logger.info(line)
    if delivery.problems:
        raise RunFailed(f"{folder} must not be handed on: {'; '.join(delivery.problems)}")
    digests = {
        family: str(delivery.entries[name]["sha256"]) for family, name in WEIGHTS.items() if name in delivery.entries
    }
    return tuple(_delivered(one, folder / WEIGHTS[one.family], digests[one.family]) for one in registered)


def _plain(ground: CampaignContext, one: _Registered) -> DeliveredFile:
    """A family that the one file for graders knows nothing of: its weights alone. Raises as `deliver_finals`."""
    target = ground.options.output_dir / REGISTERED_WEIGHTS[one.family]
    with tempfile.TemporaryDirectory(prefix="flowerml-campaign-") as scratch:
        found = fetch_registered(one.family, Path(scratch), version=one.registration.version)
        return _delivered(one, target, deliver_weights(found.weights, found.probe, target))


def _delivered(one: _Registered, path: Path, sha256: str) -> DeliveredFile:
    return DeliveredFile(
        family=one.family,
        path=path,
        sha256=sha256,
        registered_model=one.registration.name,
        version=one.registration.version,
        source_run=one.run_id,
        alias_note=one.registration.summary,
    )
