"""Table and report, written at every change into the campaign's folder and to its run at the tracking server."""

import time
from dataclasses import replace
from pathlib import Path

from flowerml.campaign.choices import Choice
from flowerml.campaign.ground import Ground
from flowerml.campaign.jobs import Job, Work
from flowerml.campaign.report import report_html
from flowerml.campaign.story import Campaign
from flowerml.campaign.table import as_csv, as_markdown
from flowerml.errors import UserError
from flowerml.events import Artifact, Metrics, Tags
from flowerml.files import write_text
from flowerml.runs.folder import read_run_file
from flowerml.tracking.campaigns import SIGN_OF_LIFE, fetch_artifact, runs_of_campaign, sign_of_life

_BEAT_S = 30.0
_PAGE_S = 60.0  # the report is drawn at most so often while runs go on


class Publisher:
    """Writes what has changed since the last time."""

    def __init__(self, ground: Ground) -> None:
        self._ground = ground
        self._table = ""
        self._beat = time.monotonic()
        self._page = 0.0
        self._stale = False

    def publish(self, campaign: Campaign, *, urgent: bool) -> None:
        """The table where it is another one; the report then too, though not more often than once a minute unless it is `urgent`."""
        recorder, folder = self._ground.parent.recorder, self._ground.folder
        table = as_markdown(campaign)
        if table != self._table:
            self._table, self._stale = table, True
            write_text(folder / "table.md", table)
            write_text(folder / "table.csv", as_csv(campaign))
            for name in ("table.md", "table.csv"):
                recorder.record(Artifact(folder / name))
            recorder.record(Metrics({"runs_finished": float(sum(run.status.value == "FINISHED" for run in campaign.runs))}, step=0))
        if urgent or (self._stale and time.monotonic() - self._page >= _PAGE_S):
            write_text(folder / "report.html", report_html(campaign))
            recorder.record(Artifact(folder / "report.html"))
            self._page, self._stale = time.monotonic(), False
        if time.monotonic() - self._beat >= _BEAT_S:
            self._beat = time.monotonic()
            recorder.record(Tags({SIGN_OF_LIFE: sign_of_life()}))

    def as_copy(self, job: Job, choice: Choice) -> Job:
        """A job that makes a run of a choice's best seed. Raises UserError where that one's files can't be had."""
        known = next((run for run in runs_of_campaign(self._ground.id, ("train",)) if run.run_id == choice.best_run_id), None)
        if known is None:
            raise UserError(f"run {choice.best_run_id} ({choice.best_run}) is not at the tracking server any more: nothing to keep")
        source = self._ground.place.folder(choice.best_run)
        if read_run_file(source) is None:
            source = self._fetched(choice)
        carried = {f"flowerml.{name}": text for name, text in known.tags.items() if name not in ("heartbeat", "journal", "reason", "ended")}
        labels = {**carried, **job.labels, "flowerml.seed": str(choice.best_seed), "flowerml.source_run": choice.best_run_id}
        figures = {name: value for name, value in known.metrics.items() if name.startswith("best_")}
        return replace(job, work=Work.COPY, source=str(source), labels=labels, figures=figures)

    def _fetched(self, choice: Choice) -> Path:
        into = self._ground.folder / "fetched" / choice.best_run
        for name in ("best.pth", "probe.npz", "predictions.csv", "settings.json", "split.json", "history.csv"):
            fetch_artifact(choice.best_run_id, name, into)
        return into
