"""Table and report, written at every change into the campaign's folder and to its run at the tracking server."""

import time

from flowerml.campaign.engine.context import CampaignContext
from flowerml.campaign.report.html import report_html
from flowerml.campaign.report.snapshot import CampaignSnapshot
from flowerml.campaign.report.table import as_csv, as_markdown
from flowerml.campaign.status import RunStatus
from flowerml.events import Artifact, Metrics, Tags
from flowerml.files import write_text
from flowerml.tracking.search.campaigns import SIGN_OF_LIFE, heartbeat_json

_BEAT_S = 30.0
_PAGE_S = 10.0  # the report is drawn at most so often while runs go on


class Publisher:
    """Writes what has changed since the last time."""

    def __init__(self, ground: CampaignContext) -> None:
        self._ground = ground
        self._table = ""
        self._beat = time.monotonic()
        self._page = 0.0
        self._stale = False

    def publish(self, campaign: CampaignSnapshot, *, urgent: bool) -> None:
        """The table where it is another one; the report then too, though not more often than every few seconds unless
        it is `urgent`.
        """
        recorder, folder = self._ground.parent.recorder, self._ground.folder
        table = as_markdown(campaign)
        if table != self._table:
            self._table, self._stale = table, True
            write_text(folder / "table.md", table)
            write_text(folder / "table.csv", as_csv(campaign))
            for name in ("table.md", "table.csv"):
                recorder.record(Artifact(folder / name))
            finished = sum(run.status is RunStatus.FINISHED for run in campaign.runs)
            recorder.record(Metrics({"runs_finished": float(finished)}, step=finished))
        if urgent or (self._stale and time.monotonic() - self._page >= _PAGE_S):
            write_text(folder / "report.html", report_html(campaign))
            recorder.record(Artifact(folder / "report.html"))
            self._page, self._stale = time.monotonic(), False
        if time.monotonic() - self._beat >= _BEAT_S:
            self._beat = time.monotonic()
            recorder.record(Tags({SIGN_OF_LIFE: heartbeat_json()}))
