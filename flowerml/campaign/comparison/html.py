"""A comparison of two campaigns as one HTML page."""

from collections.abc import Sequence
from dataclasses import dataclass

from flowerml.campaign.comparison.data import ComparisonData
from flowerml.campaign.comparison.predictions import RangeVerdict
from flowerml.campaign.comparison.statistics import CampaignComparison, Estimate, MetricRow
from flowerml.campaign.comparison.summary import (
    READING_NOTE,
    format_by_seed,
    format_difference_interval,
    format_estimate,
    format_range,
    format_reference,
    format_signed,
    format_verdict,
    metric_name,
    summary_sentences,
)
from flowerml.campaign.comparison.svg_figures import recall_plot, training_curves
from flowerml.campaign.comparison.text_formats import RUN_COLUMNS, run_table
from flowerml.reporting.html import render_page
from flowerml.translation import ENGLISH, N_, Translation

_TRAINING_METRICS = {
    "val_loss": N_("a dot: the best epoch; dotted: the rates were cut after that epoch"),
    "val_mean_recall": "",
    "val_accuracy": "",
}


@dataclass(frozen=True)
class _EstimateCell:
    """A value with its interval, and the values by seed where there are several."""

    text: str
    by_seed: str


@dataclass(frozen=True)
class _ComparisonRow:
    """A metric as the page's tables have it, all as text. `verdict_class` is the CSS class of its colour."""

    name: str
    n: str
    estimates: tuple[_EstimateCell, ...]
    difference: str
    interval: str
    is_different: bool
    predicted: str
    reference: str
    verdict: str
    verdict_class: str


def comparison_html(comparison: CampaignComparison, command: Sequence[str], texts: Translation = ENGLISH) -> str:
    """Render the page; `command` are the words of the command that makes it again. Write it as UTF-8."""
    data = comparison.data
    first, second = data.first.plan, data.second.plan
    plots = {metric: training_curves(comparison, metric, texts) for metric in _TRAINING_METRICS}
    return render_page(
        "comparison.html.j2",
        "flowerml.campaign.comparison",
        "flowerml.campaign.report",
        language=texts.language,
        title=texts.gettext("{second} against {first}", second=second, first=first),
        data=data,
        sentences=summary_sentences(comparison, texts),
        reading_note=READING_NOTE,
        has_predictions=any(row.predicted for row in comparison.rows),
        has_predicted_recalls=any(row.predicted for row in comparison.recalls),
        metrics=[_comparison_row(metric_name(row, texts), row, texts) for row in comparison.metrics],
        recalls=[_comparison_row(row.class_name, row, texts) for row in comparison.recalls],
        absent_classes={
            name: format_range("recall", predicted, texts) for name, predicted in comparison.absent_classes
        },
        absent_verdict=RangeVerdict.OPEN,
        recall_plot=recall_plot(comparison, texts),
        training_plots=[(metric, _TRAINING_METRICS[metric], plot) for metric, plot in plots.items() if plot],
        run_columns=[texts.translated(column) for column in RUN_COLUMNS],
        runs=[cells for side in data.sides for cells in run_table(side)],
        command=" ".join(command),
        facts=_facts(data, texts),
    )


def _comparison_row(name: str, row: MetricRow, texts: Translation) -> _ComparisonRow:
    predicted = row.predicted
    return _ComparisonRow(
        name=name,
        n="" if row.n is None else str(row.n),
        estimates=tuple(_estimate_cell(row, estimate, texts) for estimate in (row.first, row.second)),
        difference=format_signed(row, row.difference.value),
        interval=format_difference_interval(row, texts),
        is_different=row.difference.sign != 0,
        predicted=format_range(row.metric, predicted, texts) if predicted else "",
        reference=format_reference(row.metric, predicted, texts) if predicted else "",
        verdict=format_verdict(row, texts),
        verdict_class="" if row.verdict in (None, RangeVerdict.OPEN) else str(row.verdict),
    )


def _estimate_cell(row: MetricRow, estimate: Estimate, texts: Translation) -> _EstimateCell:
    by_seed = format_by_seed(row, estimate) if len(estimate.by_seed) > 1 else ""
    return _EstimateCell(format_estimate(row, estimate, texts), by_seed)


def _facts(data: ComparisonData, texts: Translation) -> dict[str, str]:
    _ = texts.gettext
    return {
        N_("data digest"): data.data_digest,
        N_("split digest"): data.split_digest,
        **{_("campaign of {plan}", plan=side.plan): side.campaign for side in data.sides},
        **{_("configuration of {plan}", plan=side.plan): side.config_id for side in data.sides},
        **{_("best baseline of {plan}", plan=side.plan): side.baseline for side in data.sides},
    }
