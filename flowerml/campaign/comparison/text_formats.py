"""A comparison as Markdown and as CSV."""

import csv
import io

from flowerml.campaign.comparison import summary as words
from flowerml.campaign.comparison.data import Side
from flowerml.campaign.comparison.predictions import RangeVerdict
from flowerml.campaign.comparison.statistics import CampaignComparison, MetricRow


def as_markdown(comparison: CampaignComparison) -> str:
    """All figures in two tables, after the sentences."""
    material = comparison.data
    one, other = material.first.plan, material.second.plan
    head = [
        f"# {other} against {one}",
        "",
        *(f"- {line}" for line in words.sentences(comparison)),
        "",
        words.READING,
        "",
        "",
    ]
    columns = ["figure", "n", one, other, "difference", "predicted", "verdict"]
    rows = [[words.name_of(line), *_cells(line)] for line in comparison.others]
    recalls = [[line.of, *_cells(line)] for line in comparison.recalls]
    recalls += [
        [name, "0", "", "", "", words.wanted("recall", wanted), str(RangeVerdict.OPEN)]
        for name, wanted in comparison.absent
    ]
    parts = [
        "\n".join(head),
        _table(columns, rows),
        f"\n## Recall by class, the rarest first\n\n{_table(['class', *columns[1:]], recalls)}",
    ]
    parts.append("\n## Runs\n\n" + _table(RUN_COLUMNS, [*run_rows(material.first), *run_rows(material.second)]))
    differing = [[name, here, there] for name, here, there in material.differing]
    parts.append("\n## Settings that differ\n\n" + _table(["setting", one, other], differing))
    parts.append(f"\nData {material.data_digest[:8]}, split {material.split_digest[:8]}.\n")
    return "".join(parts)


RUN_COLUMNS = ["run", "seed", "best epoch", "epochs", "rates cut after", "ended", "seconds"]


def run_rows(side: Side) -> list[list[str]]:
    """A row per run of a side: how its training went."""
    return [
        [
            run.name,
            str(run.seed),
            str(run.best_epoch),
            str(run.history[-1].number),
            ", ".join(map(str, run.cuts)) or "–",
            run.ended,
            f"{run.seconds:.0f}",
        ]
        for run in side.runs
    ]


def as_csv(comparison: CampaignComparison) -> str:
    """A row per figure, plain numbers: shares in 0..1."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    ends = [f"{name}{end}" for name in ("first", "second", "difference") for end in ("", "_low", "_high")]
    writer.writerow(["figure", "class", "n", *ends, "predicted_low", "predicted_high", "verdict"])
    for line in comparison.lines:
        values: list[float | None] = []
        for one in (line.first, line.second, line.difference):
            values += [one.value, one.low, one.high]
        values += [line.predicted.low, line.predicted.high] if line.predicted else [None, None]
        shown = ["" if value is None else f"{value:.9g}" for value in values]
        writer.writerow([line.figure, line.of, "" if line.n is None else line.n, *shown, line.verdict or ""])
    for name, wanted in comparison.absent:
        writer.writerow(["recall", name, 0, *[""] * 9, f"{wanted.low:.9g}", f"{wanted.high:.9g}", RangeVerdict.OPEN])
    return text.getvalue()


def _cells(line: MetricRow) -> list[str]:
    return [
        "" if line.n is None else str(line.n),
        words.estimate(line, line.first),
        words.estimate(line, line.second),
        words.difference(line, line.difference),
        words.wanted(line.figure, line.predicted) if line.predicted else "",
        words.verdict(line),
    ]


def _table(columns: list[str], rows: list[list[str]]) -> str:
    lines = [columns, ["---"] * len(columns), *([cell.replace("|", "\\|") for cell in row] for row in rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)
