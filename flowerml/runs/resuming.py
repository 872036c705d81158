"""How a run begins: from nothing, or from the last checkpoint of an earlier try of the same settings."""

from dataclasses import dataclass

from flowerml.runs.folder import claim_folder
from flowerml.runs.prepare import Prepared
from flowerml.settings.identity import identity
from flowerml.training.keeping import Checkpoints, Kept


@dataclass(frozen=True)
class Beginning:
    """What stood in the folder, in words; the checkpoint to go on from, and the id of the run it belongs to ("" where that is lost)."""

    remark: str | None = None
    kept: Kept | None = None
    run_id: str = ""


def checkpoints_of(run: Prepared) -> Checkpoints:
    """Where a run keeps its checkpoints: `state/` in its folder."""
    return Checkpoints(run.folder / "state", run.config_id, run.settings.seed, run.settings.keep_checkpoints)


def beginning(run: Prepared) -> Beginning:
    """Whether the run may write into its folder, and what it begins from; changes nothing there.

    Raises:
        UserError: as `claim_folder`; or every checkpoint of the earlier try is damaged.
    """
    settings, checkpoints = run.settings, checkpoints_of(run)
    shaping = identity(settings, run.digests)
    standing = claim_folder(run.folder, run.config_id, settings.seed, shaping, overwrite=settings.overwrite)
    if settings.overwrite:
        return Beginning(f"{run.folder}: what stood there is replaced (--overwrite)" if standing else None)
    if standing is None and not checkpoints.places():
        return Beginning()
    how = "is unknown" if standing is None else "was cut off" if standing.status == "RUNNING" else f"ended {standing.status}"
    earlier = f"{run.folder}: an earlier try of these settings {how}"
    if settings.resume == "never":
        return Beginning(f"{earlier}; it starts over (--resume never)")
    kept = checkpoints.newest()
    if kept is None:
        return Beginning(f"{earlier} before its first checkpoint; it starts over")
    return Beginning(f"{earlier}; it goes on {kept.place}", kept, standing.run_id if standing else "")
