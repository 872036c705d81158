"""A comparison as one self-contained HTML page."""

from collections.abc import Sequence

from flowerml.campaign.comparison import summary as words
from flowerml.campaign.comparison import svg_figures as drawing
from flowerml.campaign.comparison.predictions import RangeVerdict
from flowerml.campaign.comparison.statistics import CampaignComparison, MetricRow
from flowerml.campaign.comparison.text_formats import RUN_COLUMNS, run_rows
from flowerml.campaign.report import html as report
from flowerml.campaign.report import svg_figures as report_figures
from flowerml.reporting.html import html_document, section, text

_STYLE = """
.verdict { padding: 1px 8px; border-radius: 999px; background: var(--box); font-size: .84rem; white-space: nowrap; }
.verdict.met { color: var(--right); } .verdict.missed { color: var(--wrong); }
.runs td small { display: block; color: var(--muted); } .runs td.shown { font-weight: 650; }
.runs td:first-child, .runs th:first-child { position: sticky; left: 0; background: var(--card); white-space: normal;
  overflow-wrap: anywhere; min-width: 6.5rem; }
.runs { border-collapse: separate; border-spacing: 0; } .box + .note { margin-top: 10px; }
@media (max-width: 480px) { .runs td:first-child, .runs th:first-child { max-width: 9rem; } }
"""


def comparison_html(comparison: CampaignComparison, command: Sequence[str]) -> str:
    """The page; `command` are the words that make it again. Write it as UTF-8."""
    material = comparison.data
    one, other = material.first.plan, material.second.plan
    said = "".join(f'<p class="said">{text(line)}</p>' for line in words.sentences(comparison))
    legend = drawing.legend(comparison, ranges=True)
    body = [
        f'<div class="box">{said}</div><p class="note">{text(words.READING)}</p>',
        section("figures", "The whole", _figures(comparison, comparison.others)),
        section(
            "recall", "Recall by class, the rarest first", legend + drawing.recalls(comparison) + _recalls(comparison)
        ),
        section("training", "How the trainings went", _training(comparison)),
        section("settings", "What was done otherwise", _settings(comparison)),
        section("again", "How to do it again", _again(comparison, command)),
    ]
    style = report.STYLE + report_figures.STYLE + drawing.STYLE + _STYLE
    return html_document(f"{other} against {one}", style, "\n".join(body))


def _figures(comparison: CampaignComparison, lines: Sequence[MetricRow]) -> str:
    return _table(
        ["figure", "n", *_columns(comparison)],
        [_row(words.name_of(line), line, columns=_predicted(comparison)) for line in lines],
    )


def _recalls(comparison: CampaignComparison) -> str:
    rows = [_row(line.of, line, columns=_predicted(comparison)) for line in comparison.recalls]
    rows += [
        f"<tr><td>{text(name)}</td><td"
        f" class=number>0</td><td>–</td><td>–</td><td>–</td><td>{text(words.wanted('recall', wanted))}</td>"
        f'<td><span class="verdict">{RangeVerdict.OPEN}</span></td></tr>'
        for name, wanted in comparison.absent
    ]
    return _table(["class", "n", *_columns(comparison)], rows)


def _columns(comparison: CampaignComparison) -> list[str]:
    return [comparison.data.first.plan, comparison.data.second.plan, "difference", *_predicted(comparison)]


def _predicted(comparison: CampaignComparison) -> list[str]:
    """Two more columns where anything is predicted."""
    return ["predicted", "verdict"] if any(line.predicted for line in comparison.lines) else []


def _row(name: str, line: MetricRow, columns: Sequence[str]) -> str:
    cells = [f"<td>{text(name)}</td>", f"<td class=number>{'' if line.n is None else line.n}</td>"]
    for one in (line.first, line.second):
        by_seed = f"<small>seeds {text(words.seeds(line, one))}</small>" if len(one.by_seed) > 1 else ""
        cells.append(f"<td>{text(words.estimate(line, one))}{by_seed}</td>")
    shown = " class=shown" if line.difference.sign else ""
    value, _, ends = words.difference(line, line.difference).partition(" (")
    interval = f"<small>{text(ends.removesuffix(')'))}</small>" if ends else ""
    cells.append(f"<td{shown}>{text(value)}{interval}</td>")
    if line.predicted is None:
        empty = "<td></td><td></td>" if columns else ""
        return f"<tr>{''.join(cells)}{empty}</tr>"
    before = words.before(line.figure, line.predicted)
    cells.append(
        f"<td>{text(words.wanted(line.figure, line.predicted))}{f'<small>from {text(before)}</small>' if before else ''}</td>"
    )
    kind = "" if line.verdict is RangeVerdict.OPEN else f" {line.verdict}"
    cells.append(f'<td><span class="verdict{kind}">{text(words.verdict(line))}</span></td>')
    return f"<tr>{''.join(cells)}</tr>"


def _training(comparison: CampaignComparison) -> str:
    material = comparison.data
    parts = [drawing.legend(comparison)]
    for figure, about in (
        ("val_loss", "a dot: the best epoch; dotted: the rates were cut after that epoch"),
        ("val_mean_recall", ""),
        ("val_accuracy", ""),
    ):
        if drawn := drawing.curves(comparison, figure):
            parts.append(f"<h3>{figure}</h3>{f'<p class=note>{about}</p>' if about else ''}{drawn}")
    rows = [_cells(row) for row in (*run_rows(material.first), *run_rows(material.second))]
    return "".join(parts) + _table(RUN_COLUMNS, rows)


def _settings(comparison: CampaignComparison) -> str:
    material = comparison.data
    rows = [_cells([name, one, other]) for name, one, other in material.differing]
    parts = [_table(["setting", material.first.plan, material.second.plan], rows)]
    for side in (material.first, material.second):
        if side.overrides not in ("", "none"):
            parts.append(f'<p class="note">{text(side.plan)} was run with <code>{text(side.overrides)}</code></p>')
    return "".join(parts)


def _again(comparison: CampaignComparison, command: Sequence[str]) -> str:
    material = comparison.data
    facts = {
        "data digest": material.data_digest,
        "split digest": material.split_digest,
        **{f"campaign of {side.plan}": side.campaign for side in (material.first, material.second)},
        **{f"configuration of {side.plan}": side.config_id for side in (material.first, material.second)},
        **{f"best baseline of {side.plan}": side.baseline for side in (material.first, material.second)},
    }
    listed = "".join(f"<dt>{text(name)}</dt><dd>{text(value)}</dd>" for name, value in facts.items() if value)
    return f'<pre>{text(" ".join(command))}</pre><dl class="facts">{listed}</dl>'


def _cells(row: Sequence[str]) -> str:
    return f"<tr>{''.join(f'<td>{text(cell)}</td>' for cell in row)}</tr>"


def _table(columns: Sequence[str], rows: Sequence[str]) -> str:
    head = "".join(f'<th scope="col">{text(name)}</th>' for name in columns)
    table = f'<table class="runs"><thead><tr>{head}</tr></thead><tbody>{"".join(rows)}</tbody></table>'
    return f'<div class="scroll" tabindex="0">{table}</div>'
