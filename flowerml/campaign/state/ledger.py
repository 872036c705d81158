"""The ledger of a campaign in its folder: its identity, and the failures and durations of its runs.

Whether a run is finished is not in it, but in the run's folder and at the tracking server: losing it loses no result.
"""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from flowerml.errors import UserError
from flowerml.events import now_ms
from flowerml.files import write_json

LEDGER = "campaign.json"
_FORMAT = "flowerml-campaign-1"


@dataclass
class RunNotes:
    """Notes of a run: failures and the last one's reason, its first start (ms since 1970), seconds of all attempts.

    `superseded` are the MLflow ids of runs in its place that an earlier decision had.
    """

    failures: int = 0
    reason: str = ""
    started: int | None = None
    seconds: float = 0.0
    superseded: list[str] = field(default_factory=list)


@dataclass
class Ledger:
    """The notes of one campaign; `names` are those of its runs."""

    folder: Path
    id: str
    plan: str
    plan_digest: str
    data_digest: str
    started: int
    names: tuple[str, ...] = ()
    runs: dict[str, RunNotes] = field(default_factory=dict)

    def notes_of(self, name: str) -> RunNotes:
        """The notes of a run."""
        return self.runs.setdefault(name, RunNotes())

    def reset_failures(self, names: Iterable[str]) -> None:
        """Set the failures of these runs to zero."""
        for name in names:
            notes = self.notes_of(name)
            notes.failures, notes.reason = 0, ""

    def save(self) -> None:
        """Write it to disk. Raises UserError."""
        values = {key: value for key, value in asdict(self).items() if key != "folder"}
        write_json(self.folder / LEDGER, {"format": _FORMAT, **values})


def open_ledger(
    folder: Path, *, campaign: str, plan: str, plan_digest: str, data_digest: str, names: tuple[str, ...]
) -> Ledger:
    """Read the ledger in `folder`, or make a new one where there is none of this campaign."""
    content = _read_ledger(folder)
    if content is None or content.get("id") != campaign:
        return Ledger(folder, campaign, plan, plan_digest, data_digest, now_ms(), names)
    runs = {name: RunNotes(**notes) for name, notes in content["runs"].items()}
    return Ledger(folder, campaign, plan, plan_digest, data_digest, int(content["started"]), names, runs)


def check_run_names(root: Path, campaign: str, names: Iterable[str]) -> None:
    """Check that no other campaign has runs of these names in the folder `root`.

    Raises:
        UserError: another campaign has.
    """
    own_names = set(names)
    try:
        others = sorted(path for path in root.glob(f"*/{LEDGER}"))
    except OSError:
        return
    for path in others:
        content = _read_ledger(path.parent)
        if content is None or content.get("id") == campaign:
            continue
        if taken := sorted(own_names & set(content.get("names", ()))):
            raise UserError(
                f"{root} holds the runs of campaign {content['id']} (plan {content['plan']},"
                f" {content['plan_digest'][:8]}; data {content['data_digest'][:8]}), which has a run {taken[0]} too:"
                " choose another --runs-root for this one"
            )


def _read_ledger(folder: Path) -> dict[str, Any] | None:
    try:
        content = json.loads((folder / LEDGER).read_text("utf-8"))
        return dict(content) if content["format"] == _FORMAT else None
    except (OSError, ValueError, TypeError, KeyError):
        return None
