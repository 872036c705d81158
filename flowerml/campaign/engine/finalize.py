"""The end of a campaign: register its final models under their decisions, export and check those versions."""

import logging
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from flowerml.campaign.engine.context import CampaignContext
from flowerml.campaign.plan.model import FinalMode, PlanRun
from flowerml.campaign.report.snapshot import DecisionSummary, DeliveredFile
from flowerml.delivery import model_card
from flowerml.delivery.export import Source, export
from flowerml.delivery.plain import deliver_weights
from flowerml.delivery.robustness_result import RobustnessResult, find_robustness, tracked_robustness
from flowerml.delivery.verify import Expected
from flowerml.errors import RunFailed
from flowerml.events import Artifact
from flowerml.prediction.delivered import REGISTERED_WEIGHTS, WEIGHTS
from flowerml.runs.lifecycle.run_owner import run_id_of
from flowerml.tracking import Registration, fetch_registered, register
from flowerml.tracking.search.campaigns import set_request_timeout
from flowerml.tracking.search.robustness import fetch_robustness
from flowerml.training.checkpoints.checkpoint import load_checkpoint

logger = logging.getLogger(__name__)

_UPLOAD_TIMEOUT_S = 120.0  # for the files of a model; other requests of a campaign are short


@dataclass(frozen=True)
class RegisteredModel:
    """A final model and its registered version."""

    family: str
    registration: Registration
    run_id: str


def register_and_export(
    context: CampaignContext, decisions: Mapping[str, DecisionSummary]
) -> tuple[DeliveredFile, ...]:
    """Register, export and check the final models, if the plan has any. Idempotent: versions are found again.

    Raises:
        UserError: the registry or the folder is not writable; RunFailed: the delivery failed its checks.
    """
    set_request_timeout(_UPLOAD_TIMEOUT_S)
    finals = [(phase.final, run) for phase in context.plan.phases if phase.final is not None for run in phase.runs]
    registered = []
    for final, run in finals:
        assert run.source is not None
        summary = decisions[run.source.phase]
        run_id = final_run_id(context, run)
        retrained = None if final.mode is FinalMode.KEEP_BEST else run_id  # its own weights, not the best seed's
        registration = register(
            summary.decision, run.family.value, selection_id=summary.run_id or None, retrained_id=retrained
        )
        logger.info(f"{run.family}: {registration.summary}")
        registered.append(RegisteredModel(run.family.value, registration, run_id))
    bundled = [model for model in registered if model.family in WEIGHTS]
    return (
        *(_export_bundle(context, bundled) if bundled else ()),
        *(_deliver_plain(context, model) for model in registered if model.family not in WEIGHTS),
    )


def final_run_id(context: CampaignContext, run: PlanRun) -> str:
    """MLflow's id of a final run."""
    known = context.locations.known_run(run.name)
    return run_id_of(context.locations.folder(run.name)) or (known.run_id if known else "")


def _export_bundle(context: CampaignContext, registered: list[RegisteredModel]) -> tuple[DeliveredFile, ...]:
    folder = context.options.output_dir
    pictures = Path(context.options.train_dir)
    with tempfile.TemporaryDirectory(prefix="flowerml-campaign-") as scratch:
        sources = []
        for model in registered:
            found = fetch_registered(model.family, Path(scratch) / model.family, version=model.registration.version)
            origin = {
                "run_id": found.run_id,
                "registered_model": found.name,
                "version": found.version,
                "campaign": context.id,
            }
            expected = Expected(found.probe, found.predictions, pictures)
            robustness = _robustness_of(context, found.run_id)
            if robustness is None:  # measured on another host
                robustness = tracked_robustness(load_checkpoint(found.weights), fetch_robustness)
            sources.append(Source(found.weights, expected, origin, robustness))
        delivery = export(sources, folder)
    for check in delivery.checks:
        for line in check.lines:
            logger.info(line)
    if delivery.problems:
        raise RunFailed(f"{folder} must not be handed on: {'; '.join(delivery.problems)}")
    context.parent.recorder.record(Artifact(folder / model_card.NAME))
    digests = {
        family: str(delivery.entries[name]["sha256"]) for family, name in WEIGHTS.items() if name in delivery.entries
    }
    return tuple(_delivered_file(model, folder / WEIGHTS[model.family], digests[model.family]) for model in registered)


def _robustness_of(context: CampaignContext, run_id: str) -> RobustnessResult | None:
    """What `flowerml robustness` left for the weights of a run, beside it or another of the plan on this machine."""
    folders = [context.locations.folder(run.name) for phase in context.plan.phases for run in phase.runs]
    own = next((folder for folder in folders if run_id_of(folder) == run_id), None)
    if own is None:
        return None
    found = (find_robustness(folder, own / "best.pth") for folder in (own, *folders))  # a kept final is a copy
    return next((result for result in found if result is not None), None)


def _deliver_plain(context: CampaignContext, model: RegisteredModel) -> DeliveredFile:
    """Deliver the weights alone, for families the single-file loader does not know. Raises as `register_and_export`."""
    target = context.options.output_dir / REGISTERED_WEIGHTS[model.family]
    with tempfile.TemporaryDirectory(prefix="flowerml-campaign-") as scratch:
        found = fetch_registered(model.family, Path(scratch), version=model.registration.version)
        return _delivered_file(model, target, deliver_weights(found.weights, found.probe, target))


def _delivered_file(model: RegisteredModel, path: Path, sha256: str) -> DeliveredFile:
    return DeliveredFile(
        family=model.family,
        path=path,
        sha256=sha256,
        registered_model=model.registration.name,
        version=model.registration.version,
        source_run=model.run_id,
        alias_note=model.registration.summary,
        alias_action=model.registration.verdict.action,
    )
