"""A campaign as one self-contained HTML page: its story, phase by phase, with figures; the tracking table; how to do it
again.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from flowerml.campaign.report import champion_section as champion
from flowerml.campaign.report import svg_figures as report_figures
from flowerml.campaign.report.champion_section import champion_html, read_predictions
from flowerml.campaign.report.snapshot import CampaignSnapshot, PhaseSnapshot, RunRow
from flowerml.campaign.report.svg_figures import accuracy_dots, epoch_curves
from flowerml.campaign.report.table import COLUMNS, cells
from flowerml.campaign.status import CampaignStatus, RunStatus
from flowerml.human_units import duration
from flowerml.reporting.html import counted, html_document, section, text
from flowerml.settings import find_model
from flowerml.tasks import task_for

STYLE = """
section { margin-top: 42px; } h2 { margin: 0 0 6px; font-size: 1.25rem; } h3 { margin: 26px 0 4px; font-size: 1.05rem; }
h4 { margin: 18px 0 0; font-size: .98rem; } code { font: .92em/1.4 ui-monospace, monospace; overflow-wrap: anywhere; }
.note { max-width: 84ch; } .said { max-width: 84ch; margin: 8px 0; }
.scroll { overflow-x: auto; margin-top: 12px; border: 1px solid var(--line); border-radius: 10px; background: var(--card); }
.runs { border-collapse: collapse; width: 100%; font-size: .9rem; }
.runs th, .runs td { padding: 6px 12px; text-align: left; white-space: nowrap; border-top: 1px solid var(--line); }
.runs thead th { border-top: 0; color: var(--muted); font-weight: 600; }
.runs .number { text-align: right; font-variant-numeric: tabular-nums; }
.state { padding: 1px 8px; border-radius: 999px; background: var(--box); font-size: .8rem; }
.state.FAILED, .state.INTERRUPTED { color: var(--wrong); } .state.DONE, .state.RUNNING { color: var(--right); }
.facts { display: grid; grid-template-columns: max-content minmax(0, 1fr); gap: 3px 18px; margin: 12px 0 0; }
.facts dt { color: var(--muted); } .facts dd { margin: 0; overflow-wrap: anywhere; }
pre { overflow-x: auto; margin: 12px 0 0; padding: 12px 14px; border: 1px solid var(--line); border-radius: 10px; background: var(--card);
  font: .88rem/1.5 ui-monospace, monospace; }
.box { margin-top: 12px; padding: 12px 16px; border: 1px solid var(--line); border-left: 5px solid var(--right-bar); border-radius: 10px;
  background: var(--card); }
.box.bad { border-left-color: var(--wrong-bar); }
.contents { display: flex; flex-wrap: wrap; gap: 6px 18px; margin: 16px 0 0; padding: 0; list-style: none; }
.contents a { color: var(--right); }
@media (max-width: 480px) {
  .facts { grid-template-columns: minmax(0, 1fr); } .facts dd { margin-bottom: 6px; } main { padding: 18px 12px 36px; }
}
"""


def report_html(campaign: CampaignSnapshot) -> str:
    """The page, whatever the campaign has come to. Write it as UTF-8."""
    parts = [
        ("table", "Tracking table", _table(campaign.runs)),
        *((f"phase-{phase.name}", phase.title, _phase(phase)) for phase in campaign.phases if phase.runs),
        *((f"champion-{family}", f"Champion: {family}", body) for family, body in _champions(campaign)),
        ("cost", "Time", _cost(campaign)),
        ("again", "How to do it again", _again(campaign)),
    ]
    links = "".join(f'<li><a href="#{anchor}">{text(title)}</a></li>' for anchor, title, _ in parts)
    body = [
        _head(campaign),
        f'<nav aria-label="Contents"><ul class="contents">{links}</ul></nav>',
        *(section(*part) for part in parts),
    ]
    return html_document(campaign.title, STYLE + report_figures.STYLE + champion.STYLE, "\n".join(body))


def _head(campaign: CampaignSnapshot) -> str:
    done = sum(run.status is RunStatus.FINISHED for run in campaign.runs)
    left = (
        f", about {duration(campaign.left)} left" if campaign.left and campaign.status is CampaignStatus.RUNNING else ""
    )
    lines = [
        (
            f'<p class="summary"><b>{campaign.status}</b>: {done} of {counted(len(campaign.runs), "run")}'
            f" finished{left}</p>"
        ),
        (
            f'<p class="note">Plan <code>{text(campaign.plan)}</code>, begun {_time(campaign.started)}, this page is of'
            f" {_time(campaign.updated)} (UTC).</p>"
        ),
    ]
    if campaign.reason:
        lines.append(f'<p class="box bad">{text(campaign.reason)}</p>')
    for file in campaign.delivered:
        lines.append(
            f'<div class="box"><b><code>{text(file.path.name)}</code></b>: {text(file.registered_model)} version'
            f" {text(file.version)}. {text(file.words)}<br><small>sha256 <code>{text(file.sha256)}</code></small></div>"
        )
    return "\n".join(lines)


def _table(runs: Sequence[RunRow]) -> str:
    head = "".join(f'<th scope="col"{_class(name)}>{text(name)}</th>' for name in COLUMNS)
    rows = []
    for run in runs:
        line = cells(run)
        line[3] = f'<span class="state {line[3]}">{line[3]}</span>'
        shown = [value if place == 3 else text(value) or "–" for place, value in enumerate(line)]
        rows.append(
            "<tr>"
            + "".join(f"<td{_class(name)}>{value}</td>" for name, value in zip(COLUMNS, shown, strict=True))
            + "</tr>"
        )
    return (
        '<div class="scroll" tabindex="0"><table'
        f' class="runs"><thead><tr>{head}</tr></thead><tbody>{"".join(rows)}</tbody></table></div>'
    )


def _class(column: str) -> str:
    return ' class="number"' if column in ("Seed", "Val Acc", "Macro-F1") else ""


def _phase(phase: PhaseSnapshot) -> str:
    chosen = phase.decision.chosen if phase.decision else ()
    parts = [f'<p class="note">{text(phase.kind)}, {phase.status}</p>']
    if phase.decision is not None:
        parts += [f'<p class="said">{text(line)}</p>' for line in phase.decision.highlights]
        words = "".join(f"<li>{text(line)}</li>" for line in phase.decision.decision.sentences)
        parts.append(f"<details><summary>The selector's own words</summary><ul>{words}</ul></details>")
    if phase.kind == "final":
        parts += [f'<p class="said">{text(_made(run))}</p>' for run in phase.runs if run.status is RunStatus.FINISHED]
    failed = [f'<p class="box bad"><b>{text(run.name)}</b>: {text(run.reason)}</p>' for run in phase.runs if run.reason]
    if figure := accuracy_dots(phase.runs, chosen):
        parts.append(
            '<h3>Every run</h3><p class="note">validation accuracy, 95 % interval over pictures; chosen in'
            f" orange</p>{figure}"
        )
    if figure := epoch_curves(phase.runs, chosen):
        parts.append(f"<h3>Curves</h3><p class=note>val_accuracy over the epochs</p>{figure}")
    return "\n".join(parts + failed)


def _made(run: RunRow) -> str:
    """What a final model is, in words."""
    of = f", the configuration of {run.config}" if run.config else ""
    long = f"{counted(run.epoch, 'epoch')} with seed {run.seed}" if run.epoch else f"seed {run.seed}"
    measured = (
        f"validation accuracy {run.accuracy:.4f}"
        if run.accuracy is not None
        else "all pictures, so none is left to measure it on"
    )
    return f"{run.name} is {run.title}{of}: {long}; {measured}."


def _champions(campaign: CampaignSnapshot) -> list[tuple[str, str]]:
    """The last decision of each family, seen through its chosen run: (family, HTML)."""
    newest = {}
    for phase in campaign.phases:
        if phase.decision is not None and phase.decision.decision.chosen is not None:
            newest[phase.decision.decision.scope.family or "all"] = phase.decision.decision.chosen
    found = []
    for family, chosen in newest.items():
        row = next((run for run in campaign.runs if run.run_id == chosen.run_id and run.folder is not None), None)
        said = read_predictions(row.folder / "predictions.csv") if row is not None and row.folder is not None else None
        if row is None or said is None:
            continue
        about = (
            f'<p class="note">Seen through the best seed of the winning configuration: <b>{text(row.name)}</b>, seed'
            f" {row.seed}.</p>"
        )
        found.append((family, about + champion_html(said, Path(campaign.train_dir), task_for(find_model(row.model)))))
    return found


def _cost(campaign: CampaignSnapshot) -> str:
    rows = []
    for phase in campaign.phases:
        seconds = [run.seconds for run in phase.runs if run.seconds is not None]
        if seconds:
            rows.append(
                f"<tr><td>{text(phase.title)}</td><td class=number>{len(seconds)}</td><td"
                f" class=number>{duration(sum(seconds))}</td><td class=number>{duration(max(seconds))}</td></tr>"
            )
    total = duration((campaign.updated - campaign.started) / 1000)
    head = (
        "<tr><th>phase</th><th class=number>runs</th><th class=number>together</th><th class=number>longest</th></tr>"
    )
    table = f'<div class="scroll"><table class="runs"><thead>{head}</thead><tbody>{"".join(rows)}</tbody></table></div>'
    return f'<p class="note">From the first start to this page: {total}, pauses included.</p>{table if rows else ""}'


def _again(campaign: CampaignSnapshot) -> str:
    facts = {
        "plan digest": campaign.plan_digest,
        "data digest": campaign.data_digest,
        "split digest": campaign.split_digest,
        "classes": ", ".join(campaign.classes),
        "MLflow run": campaign.run_id,
        **({"overrides": ", ".join(campaign.overrides)} if campaign.overrides else {}),
        **campaign.environment,
    }
    listed = "".join(f"<dt>{text(name)}</dt><dd>{text(value)}</dd>" for name, value in facts.items() if value)
    warned = "".join(f'<p class="note">{text(line)}</p>' for line in campaign.warnings)
    return f'<pre>{text(" ".join(campaign.command))}</pre>{warned}<dl class="facts">{listed}</dl>'


def _time(milliseconds: int) -> str:
    return f"{datetime.fromtimestamp(milliseconds / 1000, UTC):%Y-%m-%d %H:%M}"
