"""The MLflow run in a folder and the campaign or sweep it belongs to, from the folder's journals."""

from pathlib import Path

from flowerml.events import Tags
from flowerml.journal import DamagedLine, Journal, find_journals, read_delivered
from flowerml.runs.lifecycle.run_file import read_run_file

_CAMPAIGN_TAG = "flowerml.campaign"


def run_id_of(folder: Path) -> str:
    """MLflow's id of the run in a folder; empty where it is not known (yet)."""
    found, run_file = find_journals(folder), read_run_file(folder)
    return (read_delivered(found[-1]).run_id if found else "") or (run_file.run_id if run_file else "")


def foreign_owner(folder: Path, campaign: str) -> str | None:
    """The campaign or sweep whose run lies in a folder; empty for a run of none.

    None where the run is `campaign`'s, no run is there, or it was killed before its journal had any tags.
    """
    if read_run_file(folder) is None:
        return None
    found = find_journals(folder)
    tags = _recorded_tags(found[-1]) if found else {}
    owner = tags.get(_CAMPAIGN_TAG)
    return None if owner == campaign or (found and not tags) else owner or ""


def _recorded_tags(journal: Path) -> dict[str, str]:
    tags: dict[str, str] = {}
    for entry in Journal(journal).records():
        if not isinstance(entry, DamagedLine) and isinstance(entry.record, Tags):
            tags |= entry.record.values
    return tags
