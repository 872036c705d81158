"""A campaign as a person sees it while it runs: a table on a terminal, plain lines in a log. All of it on stderr."""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

from flowerml.campaign.report.snapshot import CampaignSnapshot, PhaseSnapshot, RunRow
from flowerml.campaign.status import PhaseStatus, RunStatus
from flowerml.human_units import duration
from flowerml.progress_bar import on_terminal

if TYPE_CHECKING:
    from rich.live import Live
    from rich.table import Table

logger = logging.getLogger(__name__)

_EVERY_S = 60.0  # a line of progress in a log
_COLUMNS = ("run", "model", "seed", "status", "epoch", "best", "left")
_STYLES = {
    RunStatus.RUNNING: "bold",
    RunStatus.FINISHED: "green",
    RunStatus.FAILED: "red",
    RunStatus.INTERRUPTED: "yellow",
}


class Display(Protocol):
    """Shows how a campaign stands, as often as it is told."""

    def show(self, campaign: CampaignSnapshot) -> None:
        """The newest story."""
        ...


class LogDisplay:
    """A line for each run that begins or ends, and every minute one of progress."""

    def __init__(self) -> None:
        self._before: dict[str, tuple[RunStatus, int]] = {}
        self._shown = time.monotonic()

    def show(self, campaign: CampaignSnapshot) -> None:
        """What has changed since the last time."""
        for run in campaign.runs:
            now = run.status, run.tries
            if now != self._before.get(run.name) and (line := changed(run)):
                logger.info(line)
            self._before[run.name] = now
        if time.monotonic() - self._shown >= _EVERY_S:
            self._shown = time.monotonic()
            logger.info(progress(campaign))


class TableDisplay:
    """A table of all runs that is drawn anew in its place."""

    def __init__(self, live: "Live") -> None:
        self._live = live

    def show(self, campaign: CampaignSnapshot) -> None:
        """Draw it."""
        self._live.update(table(campaign))


@contextmanager
def display() -> Iterator[Display]:
    """What fits where stderr goes."""
    if not on_terminal():
        yield LogDisplay()
        return
    from rich.console import Console
    from rich.live import Live

    with Live(console=Console(stderr=True), refresh_per_second=2, vertical_overflow="crop") as live:
        yield TableDisplay(live)


def table(campaign: CampaignSnapshot) -> "Table":
    """Every run with status, epoch, best value and time left; phases that are closed in a line each."""
    from rich.table import Table

    left = f", about {duration(campaign.left)} left" if campaign.left else ""
    drawn = Table(title=f"{campaign.title} ({campaign.id}){left}", title_justify="left", expand=False)
    for name in _COLUMNS:
        drawn.add_column(name, justify="right" if name in ("seed", "epoch", "best", "left") else "left", no_wrap=True)
    for phase in campaign.phases:
        shown = duration(phase.left) if phase.left else ""
        drawn.add_row(f"[bold]{phase.name}[/] {phase.title}", "", "", str(phase.status), "", "", shown)
        if phase.status is PhaseStatus.CLOSED:
            drawn.add_row(f"   {_closed(phase)}", *[""] * 6, style="dim")
            continue
        for run in phase.runs:
            drawn.add_row(*_cells(run), style=_STYLES.get(run.status, ""))
    return drawn


def changed(run: RunRow) -> str:
    """A run's new status as a line; empty where there is nothing to say."""
    if run.status is RunStatus.RUNNING:
        return f"{run.name}: running, up to {run.epochs} epochs" + (f" (try {run.tries})" if run.tries > 1 else "")
    if run.status is RunStatus.FINISHED:
        took = f", {duration(run.seconds)}" if run.seconds else ""
        if run.accuracy is None:
            return f"{run.name}: finished{took}"
        f1 = f", macro-F1 {run.macro_f1:.4f}" if run.macro_f1 is not None else ""
        return (
            f"{run.name}: finished: val accuracy {run.accuracy:.4f}{f1} at epoch {run.best_epoch} of {run.epoch}{took}"
        )
    if run.status is RunStatus.FAILED:
        return f"{run.name}: failed (try {run.tries}): {run.reason}"
    return f"{run.name}: {run.status.value.lower()}" if run.status is RunStatus.INTERRUPTED else ""


def progress(campaign: CampaignSnapshot) -> str:
    """How far it is, in a line."""
    done = sum(run.status is RunStatus.FINISHED for run in campaign.runs)
    running = [
        f"{run.name} epoch {run.epoch}/{run.epochs}{_best(run)}"
        for run in campaign.runs
        if run.status is RunStatus.RUNNING
    ]
    phase = next((one for one in campaign.phases if one.status in (PhaseStatus.OPEN, PhaseStatus.DELIVERING)), None)
    of_phase = f"; about {duration(phase.left)} left in phase {phase.name}" if phase is not None and phase.left else ""
    whole = f", {duration(campaign.left)} in all" if campaign.left else ""
    return f"{done} of {len(campaign.runs)} runs finished{'; ' if running else ''}{', '.join(running)}{of_phase}{whole}"


def _closed(phase: PhaseSnapshot) -> str:
    finished = [run for run in phase.runs if run.status is RunStatus.FINISHED]
    best = max((run.accuracy for run in finished if run.accuracy is not None), default=None)
    shown = f", best {best:.4f}" if best is not None else ""
    chosen = f"; chosen: {', '.join(phase.decision.chosen)}" if phase.decision else ""
    return f"{len(finished)} of {len(phase.runs)} finished{shown}{chosen}"


def _cells(run: RunRow) -> list[str]:
    epoch = f"{run.epoch}/{run.epochs}" if run.epochs else ""
    best = _best(run).strip()
    left = duration(run.left) if run.left and run.status is RunStatus.RUNNING else ""
    return [f"   {run.name}", run.title, str(run.seed), run.status.value, epoch, best, left]


def _best(run: RunRow) -> str:
    if run.accuracy is not None:
        return f" {run.accuracy:.4f}"
    reached = [epoch.figures["val_accuracy"] for epoch in run.history if "val_accuracy" in epoch.figures]
    return f" {max(reached):.4f}" if reached else ""
