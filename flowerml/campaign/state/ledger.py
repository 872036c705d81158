"""What a campaign's own folder remembers between two starts: which campaign it is, how often runs have failed, how long
they took.

Nothing in it says that a run is finished: that stands in the runs' folders and with the tracking server. So losing it
loses no result.
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
    """What is noted of a run: how often it has failed and why at last, when it began first (ms), the seconds of all its
    tries.
    """

    failures: int = 0
    reason: str = ""
    started: int | None = None
    seconds: float = 0.0


@dataclass
class Ledger:
    """The notes of one campaign, in its folder."""

    folder: Path
    id: str
    plan: str
    plan_digest: str
    data_digest: str
    started: int
    names: tuple[str, ...] = ()
    runs: dict[str, RunNotes] = field(default_factory=dict)

    def of(self, name: str) -> RunNotes:
        """A run's notes."""
        return self.runs.setdefault(name, RunNotes())

    def reset_failures(self, names: Iterable[str]) -> None:
        """Forget that these runs have failed."""
        for name in names:
            notes = self.of(name)
            notes.failures, notes.reason = 0, ""

    def save(self) -> None:
        """Write it down. Raises UserError."""
        values = {key: value for key, value in asdict(self).items() if key != "folder"}
        write_json(self.folder / LEDGER, {"format": _FORMAT, **values})


def open_ledger(
    folder: Path, *, campaign: str, plan: str, plan_digest: str, data_digest: str, names: tuple[str, ...]
) -> Ledger:
    """The notes that stand in `folder`, or new ones."""
    content = _content(folder)
    if content is None or content.get("id") != campaign:
        return Ledger(folder, campaign, plan, plan_digest, data_digest, now_ms(), names)
    runs = {name: RunNotes(**notes) for name, notes in content["runs"].items()}
    return Ledger(folder, campaign, plan, plan_digest, data_digest, int(content["started"]), names, runs)


def check_run_names(root: Path, campaign: str, names: Iterable[str]) -> None:
    """Make sure that no other campaign has runs of these names in the folder `root`.

    Raises:
        UserError: one has; names it, and what to do.
    """
    wanted = set(names)
    try:
        others = sorted(path for path in root.glob(f"*/{LEDGER}"))
    except OSError:
        return
    for path in others:
        content = _content(path.parent)
        if content is None or content.get("id") == campaign:
            continue
        if taken := sorted(wanted & set(content.get("names", ()))):
            raise UserError(
                f"{root} holds the runs of campaign {content['id']} (plan {content['plan']},"
                f" {content['plan_digest'][:8]}; data {content['data_digest'][:8]}), which has a run {taken[0]} too:"
                " choose another --runs-root for this one"
            )


def _content(folder: Path) -> dict[str, Any] | None:
    try:
        content = json.loads((folder / LEDGER).read_text("utf-8"))
        return dict(content) if content["format"] == _FORMAT else None
    except (OSError, ValueError, TypeError, KeyError):
        return None
