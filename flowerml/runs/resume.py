"""Where a run starts: at step 0, or at the latest checkpoint of an earlier attempt with the same settings."""

from dataclasses import dataclass

from flowerml.runs.lifecycle.leftovers import CHECKPOINTS
from flowerml.runs.lifecycle.run_file import RunFile, check_available
from flowerml.runs.prepare import Prepared
from flowerml.settings.identity import identity_values
from flowerml.training.checkpoints.store import CheckpointStore, StoredCheckpoint


@dataclass(frozen=True)
class StartPoint:
    """The checkpoint to resume from (None: step 0), and what the folder held, in words.

    `same_run`: the MLflow run of the earlier attempt goes on, also from step 0 if it had no checkpoint yet.
    """

    remark: str | None = None
    checkpoint: StoredCheckpoint | None = None
    same_run: bool = False

    @property
    def starts_over(self) -> bool:
        """Whether a new run takes the place of an earlier one, whose files are not its own."""
        return self.remark is not None and self.checkpoint is None and not self.same_run


def checkpoints_of(run: Prepared) -> CheckpointStore:
    """The run's checkpoint store: `state/` in its folder."""
    return CheckpointStore(run.folder / CHECKPOINTS, run.config_id, run.settings.seed, run.settings.keep_checkpoints)


def find_existing_run(run: Prepared) -> RunFile | None:
    """The unfinished run of the same settings in the run's folder, None where there is none.

    Raises:
        UserError: the folder may not be written to (`check_available`).
    """
    settings = run.settings
    return check_available(
        run.folder, run.config_id, settings.seed, identity_values(settings, run.digests), overwrite=settings.overwrite
    )


def find_start_point(run: Prepared) -> StartPoint:
    """Find what the run starts from; changes nothing in its folder.

    Raises:
        UserError: as `find_existing_run`, or every checkpoint of the earlier attempt is damaged.
    """
    settings, checkpoints, existing = run.settings, checkpoints_of(run), find_existing_run(run)
    if settings.overwrite:
        return StartPoint(f"{run.folder}: what stood there is replaced (--overwrite)" if existing else None)
    if existing is None and not checkpoints.positions():
        return StartPoint()
    how = (
        "is unknown"
        if existing is None
        else "was cut off"
        if existing.status == "RUNNING"
        else f"ended {existing.status}"
    )
    earlier = f"{run.folder}: an earlier try of these settings {how}"
    if settings.resume == "never":
        return StartPoint(f"{earlier}; it starts over (--resume never)")
    checkpoint = checkpoints.latest()
    if checkpoint is None:
        return StartPoint(f"{earlier} before its first checkpoint; it starts over", same_run=True)
    return StartPoint(f"{earlier}; it goes on {checkpoint.progress}", checkpoint, same_run=True)
