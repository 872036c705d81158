"""A comparison as Markdown and as CSV."""

from collections.abc import Sequence

from flowerml.campaign.comparison.data import Side
from flowerml.campaign.comparison.predictions import RangeVerdict
from flowerml.campaign.comparison.statistics import CampaignComparison, MetricRow
from flowerml.campaign.comparison.summary import (
    READING_NOTE,
    format_difference,
    format_estimate,
    format_range,
    format_verdict,
    metric_name,
    summary_sentences,
)
from flowerml.text import csv_text
from flowerml.translation import ENGLISH, N_, Translation

RUN_COLUMNS = [
    N_("run"),
    N_("seed"),
    N_("best epoch"),
    N_("epochs"),
    N_("rates cut after"),
    N_("ended"),
    N_("seconds"),
]


def comparison_markdown(comparison: CampaignComparison, texts: Translation = ENGLISH) -> str:
    """All metrics in two tables, after the sentences; then the runs and the settings that differ."""
    data, _ = comparison.data, texts.gettext
    first, second = data.first.plan, data.second.plan
    sentences = "".join(f"- {line}\n" for line in summary_sentences(comparison, texts))
    columns = ["n", first, second, _("difference"), _("predicted"), _("verdict")]
    metrics = [[metric_name(row, texts), *_metric_cells(row, texts)] for row in comparison.metrics]
    recalls = [[row.class_name, *_metric_cells(row, texts)] for row in comparison.recalls]
    recalls += [
        [name, "0", "", "", "", format_range("recall", predicted, texts), texts.translated(RangeVerdict.OPEN)]
        for name, predicted in comparison.absent_classes
    ]
    runs = [cells for side in data.sides for cells in run_table(side)]
    parts = [
        f"# {_('{second} against {first}', second=second, first=first)}\n\n",
        f"{sentences}\n{texts.translated(READING_NOTE)}\n\n",
        _markdown_table([_("figure"), *columns], metrics),
        f"\n## {_('Recall by class, the rarest first')}\n\n{_markdown_table([_('class'), *columns], recalls)}",
        f"\n## {_('Runs')}\n\n{_markdown_table([*map(texts.translated, RUN_COLUMNS)], runs)}",
        f"\n## {_('Settings that differ')}\n\n",
        _markdown_table([_("setting"), first, second], data.differing_settings),
        f"\n{_('Data {data}, split {split}.', data=data.data_digest[:8], split=data.split_digest[:8])}\n",
    ]
    return "".join(parts)


def run_table(side: Side) -> list[list[str]]:
    """A row per run of a side with how its training went, in the order of `RUN_COLUMNS`."""
    return [
        [
            run.name,
            str(run.seed),
            str(run.best_epoch),
            str(run.history[-1].number),
            ", ".join(map(str, run.lr_cuts)) or "–",
            run.end_reason,
            f"{run.seconds:.0f}",
        ]
        for run in side.runs
    ]


def comparison_csv(comparison: CampaignComparison) -> str:
    """A row per metric, plain numbers: shares in 0..1. In English in every language: programs read it."""
    ends = [f"{name}{end}" for name in ("first", "second", "difference") for end in ("", "_low", "_high")]
    rows: list[list[object]] = [["figure", "class", "n", *ends, "predicted_low", "predicted_high", "verdict"]]
    for row in comparison.rows:
        values: list[float | None] = []
        for estimate in (row.first, row.second, row.difference):
            values += [estimate.value, estimate.low, estimate.high]
        values += [row.predicted.low, row.predicted.high] if row.predicted else [None, None]
        numbers = ["" if value is None else f"{value:.9g}" for value in values]
        rows.append([row.metric, row.class_name, "" if row.n is None else row.n, *numbers, row.verdict or ""])
    for name, predicted in comparison.absent_classes:
        numbers = [*[""] * 9, f"{predicted.low:.9g}", f"{predicted.high:.9g}"]
        rows.append(["recall", name, 0, *numbers, RangeVerdict.OPEN])
    return csv_text(rows)


def _metric_cells(row: MetricRow, texts: Translation) -> list[str]:
    return [
        "" if row.n is None else str(row.n),
        format_estimate(row, row.first, texts),
        format_estimate(row, row.second, texts),
        format_difference(row, texts),
        format_range(row.metric, row.predicted, texts) if row.predicted else "",
        format_verdict(row, texts),
    ]


def _markdown_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [columns, ["---"] * len(columns), *([cell.replace("|", "\\|") for cell in row] for row in rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)
