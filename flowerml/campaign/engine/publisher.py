"""Publish table and report at every change, in the campaign's folder and in its MLflow run."""

import time
from functools import partial

from flowerml.campaign.engine.context import CampaignContext
from flowerml.campaign.report.html import report_html
from flowerml.campaign.report.snapshot import CampaignSnapshot
from flowerml.campaign.report.table import tracking_table_csv, tracking_table_markdown
from flowerml.campaign.status import RunStatus
from flowerml.events import Artifact, Metrics, Tags
from flowerml.files import write_text
from flowerml.optional_files import write_optional
from flowerml.tracking.heartbeat import HEARTBEAT, heartbeat_json

_HEARTBEAT_S = 30.0
_REPORT_S = 10.0  # minimum interval between two reports while runs go on


class Publisher:
    """Writes what has changed since the last call."""

    def __init__(self, context: CampaignContext) -> None:
        self._context = context
        self._table = ""
        self._last_heartbeat = time.monotonic()
        self._last_report = 0.0
        self._is_stale = False

    def publish(self, campaign: CampaignSnapshot, *, urgent: bool) -> None:
        """Publish a table that has changed, and its report, which is delayed by some seconds unless `urgent`."""
        recorder, folder = self._context.parent.recorder, self._context.folder
        table = tracking_table_markdown(campaign)
        if table != self._table:
            self._table, self._is_stale = table, True
            for name, text in (("table.md", table), ("table.csv", tracking_table_csv(campaign))):
                if write_optional(folder / name, partial(write_text, text=text)):
                    recorder.record(Artifact(folder / name))
            finished = sum(run.status is RunStatus.FINISHED for run in campaign.runs)
            recorder.record(Metrics({"runs_finished": float(finished)}, step=finished))
        if urgent or (self._is_stale and time.monotonic() - self._last_report >= _REPORT_S):
            if write_optional(folder / "report.html", lambda path: write_text(path, report_html(campaign))):
                recorder.record(Artifact(folder / "report.html"))
            self._last_report, self._is_stale = time.monotonic(), False
        if time.monotonic() - self._last_heartbeat >= _HEARTBEAT_S:
            self._last_heartbeat = time.monotonic()
            recorder.record(Tags({HEARTBEAT: heartbeat_json()}))
