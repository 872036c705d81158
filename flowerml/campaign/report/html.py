"""The report of a campaign as one HTML page: tracking table, phases with figures, champions, how to reproduce it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from flowerml.campaign.report.champion_section import ChampionSection, champion_section
from flowerml.campaign.report.snapshot import CampaignSnapshot, PhaseSnapshot, RunRow
from flowerml.campaign.report.svg_figures import CurvePlot, DotPlot, accuracy_dots, epoch_curves
from flowerml.campaign.report.table import COLUMNS, tracking_row
from flowerml.campaign.status import CampaignStatus, RunStatus
from flowerml.evaluation.prediction_table import read_predictions
from flowerml.human_units import duration
from flowerml.reporting.html import pluralize, render_page
from flowerml.selection.gains import GAIN_COLUMNS, GAIN_NOTE
from flowerml.settings import find_model
from flowerml.tasks import task_for

_NUMERIC_COLUMNS = ("Seed", "Val Acc", "Macro-F1")


@dataclass(frozen=True)
class _PhaseSection:
    """A phase with its figures; `final_models` are sentences about the models it made."""

    phase: PhaseSnapshot
    accuracies: DotPlot | None
    curves: CurvePlot | None
    final_models: tuple[str, ...]


@dataclass(frozen=True)
class _PhaseCost:
    """How long the runs of a phase took, as text."""

    phase: str
    runs: int
    together: str
    longest: str


def report_html(campaign: CampaignSnapshot) -> str:
    """Render the page, at any stage of the campaign. Write it as UTF-8."""
    return render_page(
        "report.html.j2",
        "flowerml.campaign.report",
        title=campaign.title,
        campaign=campaign,
        finished=sum(run.status is RunStatus.FINISHED for run in campaign.runs),
        time_left=duration(campaign.left) if campaign.left and campaign.status is CampaignStatus.RUNNING else "",
        started=_format_time(campaign.started),
        updated=_format_time(campaign.updated),
        columns=COLUMNS,
        numeric=_NUMERIC_COLUMNS,
        gain_columns=GAIN_COLUMNS,
        gain_note=GAIN_NOTE,
        rows=[dict(zip(COLUMNS, tracking_row(run), strict=True)) for run in campaign.runs],
        phases=[_phase_section(phase) for phase in campaign.phases if phase.runs],
        champions=_champion_sections(campaign),
        costs=_phase_costs(campaign.phases),
        total_time=duration((campaign.updated - campaign.started) / 1000),
        facts={
            "plan digest": campaign.plan_digest,
            "data digest": campaign.data_digest,
            "split digest": campaign.split_digest,
            "classes": ", ".join(campaign.classes),
            "MLflow run": campaign.run_id,
            "overrides": ", ".join(campaign.overrides),
            **campaign.environment,
        },
    )


def _phase_section(phase: PhaseSnapshot) -> _PhaseSection:
    chosen = phase.decision.chosen if phase.decision else ()
    finals = [run for run in phase.runs if phase.kind == "final" and run.status is RunStatus.FINISHED]
    return _PhaseSection(
        phase,
        accuracy_dots(phase.runs, chosen),
        epoch_curves(phase.runs, chosen),
        tuple(_describe_final_model(run) for run in finals),
    )


def _describe_final_model(run: RunRow) -> str:
    configuration = f", the configuration of {run.config}" if run.config else ""
    epochs = f"{pluralize(run.epoch, 'epoch')} with seed {run.seed}" if run.epoch else f"seed {run.seed}"
    accuracy = "all pictures, so none is left to measure it on"
    if run.accuracy is not None:
        accuracy = f"validation accuracy {run.accuracy:.4f}"
    return f"{run.name} is {run.title}{configuration}: {epochs}; {accuracy}."


def _champion_sections(campaign: CampaignSnapshot) -> list[ChampionSection]:
    """The run chosen by the last decision of each family, where its predictions can be read here."""
    chosen = {}
    for phase in campaign.phases:
        if phase.decision is not None and phase.decision.decision.chosen is not None:
            chosen[phase.decision.decision.scope.family or "all"] = phase.decision.decision.chosen.run_id
    sections = []
    for family, run_id in chosen.items():
        run = next((run for run in campaign.runs if run.run_id == run_id and run.folder is not None), None)
        if run is None or run.folder is None:
            continue
        predictions = read_predictions(run.folder / "predictions.csv")
        if predictions is not None:
            task = task_for(find_model(run.model))
            of_family = [one for one in campaign.runs if one.family == run.family]
            sections.append(champion_section(family, run, of_family, predictions, Path(campaign.train_dir), task))
    return sections


def _phase_costs(phases: Sequence[PhaseSnapshot]) -> list[_PhaseCost]:
    costs = []
    for phase in phases:
        seconds = [run.seconds for run in phase.runs if run.seconds is not None]
        if seconds:
            costs.append(_PhaseCost(phase.title, len(seconds), duration(sum(seconds)), duration(max(seconds))))
    return costs


def _format_time(milliseconds: int) -> str:
    return f"{datetime.fromtimestamp(milliseconds / 1000, UTC):%Y-%m-%d %H:%M}"
