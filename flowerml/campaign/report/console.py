"""The progress of a campaign on stderr: a live table in its language on a terminal, plain English lines in a log."""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal, Protocol

from flowerml.campaign.report.snapshot import CampaignSnapshot, PhaseSnapshot, RunRow
from flowerml.campaign.status import PhaseStatus, RunStatus
from flowerml.human_units import duration
from flowerml.progress_bar import on_terminal
from flowerml.translation import N_, Translation, translation

if TYPE_CHECKING:
    from rich.live import Live
    from rich.table import Table

logger = logging.getLogger(__name__)

_PROGRESS_INTERVAL_S = 60.0  # between lines of progress in a log
_COLUMNS = (N_("run"), N_("model"), N_("seed"), N_("status"), N_("epoch"), N_("best"), N_("left"))
_STYLES = {
    RunStatus.RUNNING: "bold",
    RunStatus.FINISHED: "green",
    RunStatus.FAILED: "red",
    RunStatus.INTERRUPTED: "yellow",
}


class Display(Protocol):
    """Shows the progress of a campaign."""

    def show(self, campaign: CampaignSnapshot) -> None:
        """Show the newest snapshot."""
        ...


class LogDisplay:
    """Logs a line for each run that starts or ends, and a line of progress every minute."""

    def __init__(self) -> None:
        self._last_status: dict[str, tuple[RunStatus, int]] = {}
        self._last_progress = time.monotonic()

    def show(self, campaign: CampaignSnapshot) -> None:
        """Log what has changed since the last snapshot."""
        for run in campaign.runs:
            status = run.status, run.tries
            if status != self._last_status.get(run.name) and (line := status_line(run)):
                logger.info(line)
            self._last_status[run.name] = status
        if time.monotonic() - self._last_progress >= _PROGRESS_INTERVAL_S:
            self._last_progress = time.monotonic()
            logger.info(progress_line(campaign))


class TableDisplay:
    """A live table of all runs."""

    def __init__(self, live: "Live") -> None:
        self._live = live

    def show(self, campaign: CampaignSnapshot) -> None:
        """Redraw the table."""
        self._live.update(live_table(campaign))


@contextmanager
def open_display() -> Iterator[Display]:
    """The live table where stderr is a terminal, otherwise log lines."""
    if not on_terminal():
        yield LogDisplay()
        return
    from rich.console import Console
    from rich.live import Live

    with Live(console=Console(stderr=True), refresh_per_second=2, vertical_overflow="crop") as live:
        yield TableDisplay(live)


def live_table(campaign: CampaignSnapshot) -> "Table":
    """Every run with status, epoch, best accuracy and time left; a closed phase takes one line."""
    from rich.table import Table

    texts = translation(campaign.language)
    left = texts.gettext(", about {time} left", time=duration(campaign.left)) if campaign.left else ""
    table = Table(title=f"{texts.translated(campaign.title)} ({campaign.id}){left}", title_justify="left", expand=False)
    for name in _COLUMNS:
        justify: Literal["left", "right"] = "right" if name in ("seed", "epoch", "best", "left") else "left"
        table.add_column(texts.translated(name), justify=justify, no_wrap=True)
    for phase in campaign.phases:
        phase_left = duration(phase.left) if phase.left else ""
        title = f"[bold]{phase.name}[/] {texts.translated(phase.title)}"
        table.add_row(title, "", "", texts.translated(phase.status), "", "", phase_left)
        if phase.status is PhaseStatus.CLOSED:
            table.add_row(f"   {_closed_phase_line(phase, texts)}", *[""] * 6, style="dim")
            continue
        for run in phase.runs:
            table.add_row(*_live_row(run), style=_STYLES.get(run.status, ""))
    return table


def status_line(run: RunRow) -> str:
    """A run's new status as a line, empty for a status that is not worth one."""
    if run.status is RunStatus.RUNNING:
        return f"{run.name}: running, up to {run.epochs} epochs" + (f" (try {run.tries})" if run.tries > 1 else "")
    if run.status is RunStatus.FINISHED:
        took = f", {duration(run.seconds)}" if run.seconds else ""
        if run.accuracy is None:
            return f"{run.name}: finished{took}"
        f1 = f", macro-F1 {run.macro_f1:.4f}" if run.macro_f1 is not None else ""
        epoch = f" at epoch {run.best_epoch} of {run.epoch}" if run.history else ""  # an average has no epochs
        return f"{run.name}: finished: val accuracy {run.accuracy:.4f}{f1}{epoch}{took}"
    if run.status is RunStatus.FAILED:
        return f"{run.name}: failed (try {run.tries}): {run.reason}"
    if run.status is RunStatus.SKIPPED and run.reason:
        return f"{run.name}: {run.reason}"
    return f"{run.name}: {run.status.value.lower()}" if run.status is RunStatus.INTERRUPTED else ""


def progress_line(campaign: CampaignSnapshot) -> str:
    """Finished runs, epochs of the running ones and time left, in one line."""
    finished = sum(run.status is RunStatus.FINISHED for run in campaign.runs)
    running = [
        f"{run.name} epoch {run.epoch}/{run.epochs}{_format_best(run)}"
        for run in campaign.runs
        if run.status is RunStatus.RUNNING
    ]
    active = (PhaseStatus.OPEN, PhaseStatus.DELIVERING)
    phase = next((phase for phase in campaign.phases if phase.status in active), None)
    line = f"{finished} of {len(campaign.runs)} runs finished{'; ' if running else ''}{', '.join(running)}"
    if phase is not None and phase.left:
        line += f"; about {duration(phase.left)} left in phase {phase.name}"
    if campaign.left:
        line += f", {duration(campaign.left)} in all"
    return line


def _closed_phase_line(phase: PhaseSnapshot, texts: Translation) -> str:
    finished = [run for run in phase.runs if run.status is RunStatus.FINISHED]
    best = max((run.accuracy for run in finished if run.accuracy is not None), default=None)
    line = texts.gettext("{finished} of {runs} finished", finished=len(finished), runs=len(phase.runs))
    if best is not None:
        line += texts.gettext(", best {accuracy:.4f}", accuracy=best)
    if phase.decision:
        line += texts.gettext("; chosen: {names}", names=", ".join(phase.decision.chosen))
    return line


def _live_row(run: RunRow) -> list[str]:
    """The cells of a run in the order of `_COLUMNS`."""
    epoch = f"{run.epoch}/{run.epochs}" if run.epochs else ""
    left = duration(run.left) if run.left and run.status is RunStatus.RUNNING else ""
    return [f"   {run.name}", run.title, str(run.seed), run.status.value, epoch, _format_best(run).strip(), left]


def _format_best(run: RunRow) -> str:
    """The final or the best accuracy so far, after a space; empty where there is none yet."""
    if run.accuracy is not None:
        return f" {run.accuracy:.4f}"
    accuracies = [epoch.figures["val_accuracy"] for epoch in run.history if "val_accuracy" in epoch.figures]
    return f" {max(accuracies):.4f}" if accuracies else ""
