"""How a run begins: from nothing, or from the last checkpoint of an earlier try of the same settings."""

from dataclasses import dataclass

from flowerml.runs.lifecycle.run_file import RunFile, check_available
from flowerml.runs.prepare import Prepared
from flowerml.settings.identity import identity_values
from flowerml.training.checkpoints.store import CheckpointStore, StoredCheckpoint


@dataclass(frozen=True)
class StartPoint:
    """What stood in the folder, in words; the checkpoint to go on from; and whether it is the same run that goes on, in
    MLflow too (one that was cut off before its first checkpoint does from its start).
    """

    remark: str | None = None
    checkpoint: StoredCheckpoint | None = None
    same_run: bool = False


def checkpoints_of(run: Prepared) -> CheckpointStore:
    """Where a run keeps its checkpoints: `state/` in its folder."""
    return CheckpointStore(run.folder / "state", run.config_id, run.settings.seed, run.settings.keep_checkpoints)


def existing_run(run: Prepared) -> RunFile | None:
    """What stands in the run's folder and does not forbid it: the unfinished run of the same settings. Raises
    UserError: `require_free`.
    """
    settings = run.settings
    return check_available(
        run.folder, run.config_id, settings.seed, identity_values(settings, run.digests), overwrite=settings.overwrite
    )


def find_start_point(run: Prepared) -> StartPoint:
    """Whether the run may write into its folder, and what it begins from; changes nothing there.

    Raises:
        UserError: as `standing`; or every checkpoint of the earlier try is damaged.
    """
    settings, checkpoints, before = run.settings, checkpoints_of(run), existing_run(run)
    if settings.overwrite:
        return StartPoint(f"{run.folder}: what stood there is replaced (--overwrite)" if before else None)
    if before is None and not checkpoints.positions():
        return StartPoint()
    how = "is unknown" if before is None else "was cut off" if before.status == "RUNNING" else f"ended {before.status}"
    earlier = f"{run.folder}: an earlier try of these settings {how}"
    if settings.resume == "never":
        return StartPoint(f"{earlier}; it starts over (--resume never)")
    kept = checkpoints.latest()
    if kept is None:
        return StartPoint(f"{earlier} before its first checkpoint; it starts over", same_run=True)
    return StartPoint(f"{earlier}; it goes on {kept.progress}", kept, same_run=True)
