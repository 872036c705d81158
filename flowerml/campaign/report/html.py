"""The report of a campaign as one HTML page: tracking table, phases with figures, champions, how to reproduce it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from flowerml.campaign.report.champion_section import ChampionSection, champion_section
from flowerml.campaign.report.snapshot import CampaignSnapshot, DeliveredFile, PhaseSnapshot, RunRow
from flowerml.campaign.report.svg_figures import CurvePlot, DotPlot, accuracy_dots, epoch_curves
from flowerml.campaign.report.table import COLUMNS, tracking_row
from flowerml.campaign.status import CampaignStatus, RunStatus
from flowerml.evaluation.prediction_table import read_predictions
from flowerml.human_units import duration
from flowerml.reporting.html import render_page
from flowerml.selection.gains import GAIN_COLUMNS, GAIN_NOTE
from flowerml.selection.registration import AliasAction
from flowerml.settings import find_model
from flowerml.tasks import task_for
from flowerml.translation import ENGLISH, N_, Translation, translation

_NUMERIC_COLUMNS = ("Seed", "Val Acc", "Macro-F1")
_ALIAS_NOTES = {  # in place of the registry's own English words
    AliasAction.FIRST: N_("It is the first champion."),
    AliasAction.SAME: N_("It is the champion already."),
    AliasAction.RETRAINED: N_("It takes the alias champion: the same decision, trained on all pictures."),
    AliasAction.BETTER: N_("It takes the alias champion: it is better on this split."),
    AliasAction.OTHER_SPLIT: N_("It takes the alias champion: the one before was judged on another split."),
    AliasAction.FORCED: N_("It takes the alias champion because forced."),
    AliasAction.KEEP: N_("The champion before it keeps the alias."),
}
_ENVIRONMENT = (N_("host"), N_("cores"))  # the other facts of the environment are names of packages


@dataclass(frozen=True)
class _PhaseSection:
    """A phase with its figures.

    `sentences` are the selector's about its decision, `final_models` those about the models it made.
    """

    phase: PhaseSnapshot
    sentences: tuple[str, ...]
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
    """Render the page in the campaign's language, at any stage of it. Write it as UTF-8."""
    texts = translation(campaign.language)
    return render_page(
        "report.html.j2",
        "flowerml.campaign.report",
        language=campaign.language,
        title=texts.translated(campaign.title),
        campaign=campaign,
        finished=sum(run.status is RunStatus.FINISHED for run in campaign.runs),
        time_left=duration(campaign.left) if campaign.left and campaign.status is CampaignStatus.RUNNING else "",
        started=_format_time(campaign.started),
        updated=_format_time(campaign.updated),
        columns=COLUMNS,
        numeric=_NUMERIC_COLUMNS,
        gain_columns=GAIN_COLUMNS,
        gain_note=GAIN_NOTE,
        alias_note=partial(_alias_note, texts),
        rows=[dict(zip(COLUMNS, tracking_row(run), strict=True)) for run in campaign.runs],
        phases=[_phase_section(phase, texts) for phase in campaign.phases if phase.runs],
        champions=_champion_sections(campaign, texts),
        costs=_phase_costs(campaign.phases),
        total_time=duration((campaign.updated - campaign.started) / 1000),
        facts={
            N_("plan digest"): campaign.plan_digest,
            N_("data digest"): campaign.data_digest,
            N_("split digest"): campaign.split_digest,
            N_("classes"): ", ".join(campaign.classes),
            N_("MLflow run"): campaign.run_id,
            N_("overrides"): ", ".join(campaign.overrides),
            **campaign.environment,
        },
    )


def _alias_note(texts: Translation, file: DeliveredFile) -> str:
    """What happened to the alias: the registry's words, with figures, or in another language a sentence for them."""
    if texts is ENGLISH or file.alias_action is None:
        return file.alias_note
    return texts.translated(_ALIAS_NOTES[file.alias_action])


def _phase_section(phase: PhaseSnapshot, texts: Translation) -> _PhaseSection:
    chosen = phase.decision.chosen if phase.decision else ()
    finals = [run for run in phase.runs if phase.kind == "final" and run.status is RunStatus.FINISHED]
    return _PhaseSection(
        phase,
        phase.decision.decision.explain(texts) if phase.decision else (),
        accuracy_dots(phase.runs, chosen, texts),
        epoch_curves(phase.runs, chosen, texts=texts),
        tuple(_describe_final_model(run, texts) for run in finals),
    )


def _describe_final_model(run: RunRow, texts: Translation) -> str:
    configuration = texts.gettext(", the configuration of {config}", config=run.config) if run.config else ""
    epochs = texts.gettext("seed {seed}", seed=run.seed)
    if run.epoch:
        epochs = texts.ngettext(
            "{number} epoch with seed {seed}", "{number} epochs with seed {seed}", run.epoch, seed=run.seed
        )
    accuracy = texts.gettext("all pictures, so none is left to measure it on")
    if run.accuracy is not None:
        accuracy = texts.gettext("validation accuracy {accuracy:.4f}", accuracy=run.accuracy)
    return texts.gettext(
        "{run} is {model}{configuration}: {epochs}; {accuracy}.",
        run=run.name,
        model=run.title,
        configuration=configuration,
        epochs=epochs,
        accuracy=accuracy,
    )


def _champion_sections(campaign: CampaignSnapshot, texts: Translation) -> list[ChampionSection]:
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
            sections.append(
                champion_section(family, run, of_family, predictions, Path(campaign.train_dir), task, texts)
            )
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
