"""How a run begins: from nothing, or from the last checkpoint of an earlier try of the same settings."""

from dataclasses import dataclass

from flowerml.runs.lifecycle.run_file import RunFile, require_free
from flowerml.runs.prepare import Prepared
from flowerml.settings.identity import identity
from flowerml.training.checkpoints.store import Checkpoints, Kept


@dataclass(frozen=True)
class Beginning:
    """What stood in the folder, in words; the checkpoint to go on from; and whether it is the same run that goes on, in
    MLflow too (one that was cut off before its first checkpoint does from its start).
    """

    remark: str | None = None
    kept: Kept | None = None
    same_run: bool = False


def checkpoints_of(run: Prepared) -> Checkpoints:
    """Where a run keeps its checkpoints: `state/` in its folder."""
    return Checkpoints(run.folder / "state", run.config_id, run.settings.seed, run.settings.keep_checkpoints)


def standing(run: Prepared) -> RunFile | None:
    """What stands in the run's folder and does not forbid it: the unfinished run of the same settings. Raises
    UserError: `require_free`.
    """
    settings = run.settings
    return require_free(
        run.folder, run.config_id, settings.seed, identity(settings, run.digests), overwrite=settings.overwrite
    )


def beginning(run: Prepared) -> Beginning:
    """Whether the run may write into its folder, and what it begins from; changes nothing there.

    Raises:
        UserError: as `standing`; or every checkpoint of the earlier try is damaged.
    """
    settings, checkpoints, before = run.settings, checkpoints_of(run), standing(run)
    if settings.overwrite:
        return Beginning(f"{run.folder}: what stood there is replaced (--overwrite)" if before else None)
    if before is None and not checkpoints.places():
        return Beginning()
    how = "is unknown" if before is None else "was cut off" if before.status == "RUNNING" else f"ended {before.status}"
    earlier = f"{run.folder}: an earlier try of these settings {how}"
    if settings.resume == "never":
        return Beginning(f"{earlier}; it starts over (--resume never)")
    kept = checkpoints.newest()
    if kept is None:
        return Beginning(f"{earlier} before its first checkpoint; it starts over", same_run=True)
    return Beginning(f"{earlier}; it goes on {kept.place}", kept, same_run=True)
