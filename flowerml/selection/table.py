"""The ranking as a table: Markdown, cells for the terminal, and CSV with all digits."""

from collections.abc import Sequence

from flowerml.selection.decision import Decision
from flowerml.selection.gains import GAIN_COLUMNS, GAIN_NOTE, gain_cells
from flowerml.selection.intervals import Over
from flowerml.selection.rank import Standing, require_value
from flowerml.selection.records import Rule, list_of_seeds, seeds_in_words
from flowerml.text import csv_text, escape_markdown
from flowerml.translation import ENGLISH, N_, Translation

SEEDS_ALONE = N_("* over seeds alone (Student's t): of these runs no per-picture results were used")
_RIGHT = ("", "n", "mean", "sd", "macro-F1", "recall", "P(best)")  # columns of numbers


def column_names(decision: Decision, texts: Translation = ENGLISH) -> list[str]:
    """The column names."""
    last = list_of_seeds(decision.scope.seeds, texts)
    if decision.standings and decision.standings[0].configuration.runs[0].fold is not None:
        last = seeds_in_words(decision.standings[0].configuration.runs, texts)
    names = [
        "",
        N_("config"),
        N_("model"),
        N_("n"),
        N_("mean"),
        N_("sd"),
        N_("95 % interval"),
        N_("macro-F1"),
        *([N_("recall")] if decision.scope.rule is Rule.MEAN_RECALL else []),
        N_("P(best)"),
    ]
    return [*map(texts.translated, names), last]


def is_numeric(column: str, texts: Translation = ENGLISH) -> bool:
    """Whether a column is right-aligned."""
    return column in map(texts.translated, _RIGHT)


def standing_cells(standing: Standing, rule: Rule) -> list[str]:
    """One configuration in the order of `column_names`; accuracies with four digits."""
    runs, interval = standing.configuration.runs, standing.interval
    star = "*" if interval is not None and interval.over is Over.SEEDS else ""
    return [
        str(standing.place),
        standing.configuration.config_id[:8],
        runs[0].model or runs[0].family,
        str(standing.accuracy.n),
        f"{standing.accuracy.mean:.4f}",
        "" if standing.accuracy.deviation is None else f"{standing.accuracy.deviation:.4f}",
        "" if interval is None else f"{interval.low:.4f}–{interval.high:.4f}{star}",
        f"{standing.macro_f1.mean:.4f}",
        *([f"{standing.mean_recall.mean:.4f}"] if rule is Rule.MEAN_RECALL and standing.mean_recall else []),
        "" if standing.p_best is None else resample_percent(standing.p_best),
        " ".join(f"{require_value(run.accuracy):.4f}" for run in runs),
    ]


def resample_percent(share: float) -> str:
    """A share of resamples in whole percent; `<1 %` is not 0, and `>99 %` is not 100."""
    if 0 < share < 0.01:
        return "<1 %"
    return ">99 %" if 0.99 < share < 1 else f"{100 * share:.0f} %"


def has_seeds_alone(standings: Sequence[Standing]) -> bool:
    """Whether a table of these needs the footnote `SEEDS_ALONE`."""
    return any(standing.interval is not None and standing.interval.over is Over.SEEDS for standing in standings)


def decision_markdown(decision: Decision) -> str:
    """The decision as a page: words, ranking, what was not eligible and why, remarks."""
    lines = [decision.words, ""]
    if decision.standings:
        columns = column_names(decision)
        lines += [
            "| " + " | ".join(columns) + " |",
            "|" + "|".join("---:" if is_numeric(column) else "---" for column in columns) + "|",
        ]
        lines += [
            "| " + " | ".join(escape_markdown(cell) for cell in standing_cells(standing, decision.scope.rule)) + " |"
            for standing in decision.standings
        ]
        lines += ["", SEEDS_ALONE.replace("*", "\\*"), ""] if has_seeds_alone(decision.standings) else [""]
    if decision.gains:
        lines += [f"Gains over {escape_markdown(_base_label(decision))}. {GAIN_NOTE}", ""]
        lines += [f"| {' | '.join(GAIN_COLUMNS)} |", "|---|---:|---:|---|---|"]
        lines += [
            "| " + " | ".join(map(escape_markdown, gain_cells(gain.configuration.label, gain))) + " |"
            for gain in decision.gains
        ]
        lines.append("")
    if decision.ineligible:
        lines += [f"Not eligible: {len(decision.ineligible)}.", ""]
        lines += [
            f"- {escape_markdown(one.label)}: {escape_markdown('; '.join(one.reasons))}" for one in decision.ineligible
        ]
        lines.append("")
    if decision.remarks:
        lines += ["Remarks:", "", *(f"- {escape_markdown(remark)}" for remark in decision.remarks), ""]
    return "\n".join(lines)


def _base_label(decision: Decision) -> str:
    """The configuration that the gains are over, as sentences call it."""
    order = decision.scope.base_order
    found = (one.configuration for one in decision.standings if one.configuration.plan_order == order)
    return next(found).label


def ranking_csv(decision: Decision) -> str:
    """A row per eligible configuration, all digits; for each seed (and fold) a column of accuracy and one of run id."""
    places = [f"s{seed}" for seed in decision.scope.seeds]
    if decision.standings and decision.standings[0].configuration.runs[0].fold is not None:
        places = [f"s{run.seed}_f{run.fold}" for run in decision.standings[0].configuration.runs]
    figures = [
        "mean_val_accuracy",
        "standard_deviation",
        "interval_low",
        "interval_high",
        "interval_over",
        "mean_val_macro_f1",
    ]
    by_recall = decision.scope.rule is Rule.MEAN_RECALL
    figures += ["mean_val_mean_recall"] if by_recall else []
    names = ["place", "config_id", "model", "n", *figures, "hits", "total", "p_best", "ahead_by"]
    rows: list[list[object]] = [
        [*names, *(f"accuracy_{place}" for place in places), *(f"run_{place}" for place in places)]
    ]
    for one in decision.standings:
        runs, interval = one.configuration.runs, one.interval
        row = [
            one.place,
            one.configuration.config_id,
            runs[0].model,
            one.accuracy.n,
            one.accuracy.mean,
            one.accuracy.deviation,
        ]
        row += [interval.low, interval.high, str(interval.over)] if interval else [None, None, None]
        row += [one.macro_f1.mean, *([one.mean_recall.mean] if by_recall and one.mean_recall else [])]
        row += [one.hits, one.total, one.p_best, one.ahead_by and str(one.ahead_by)]
        rows.append([*row, *(require_value(run.accuracy) for run in runs), *(run.run_id for run in runs)])
    return csv_text(rows)
