"""Journals that no living process delivers, brought to MLflow: all that is in a run's folder, and what it takes with
it.
"""

from dataclasses import dataclass
from pathlib import Path

from mlflow.tracking import get_tracking_uri

from flowerml.events import Ended, Status
from flowerml.journal import Journal, find_journals, has_undelivered, read_delivered
from flowerml.journal.lock import LockHeld
from flowerml.tracking.client.connection import store_name
from flowerml.tracking.client.errors import is_server_response, to_user_error
from flowerml.tracking.delivery.journal_delivery import JournalDelivery


@dataclass(frozen=True)
class SyncResult:
    """What came of one run's folder: how many records were delivered and to which run, how many are left, and why."""

    root: Path
    delivered: int = 0
    run_id: str = ""
    pending: int = 0
    why: str = ""
    answered: bool = True  # whether asking for other folders may be of use
    ended: bool = True


def sync_folder(root: Path) -> SyncResult:
    """Deliver what a run's folder holds. A run that was started over there is closed as KILLED; one that was cut off
    stays as it is.

    Never raises for MLflow's sake.
    """
    folders = find_journals(root)
    done = SyncResult(root)
    for folder in folders:
        done = _merge_results(done, _deliver(root, folder, superseded=folder != folders[-1]))
        if not done.answered:
            break
    return done


def delivered_run_ids(root: Path) -> list[str]:
    """The ids of the runs at MLflow that the journals of a folder belong to, as far as they are known."""
    return [run_id for folder in find_journals(root) if (run_id := read_delivered(folder).run_id)]


def belongs_to_current_store(root: Path) -> bool:
    """Whether the journals of a run's folder go to the store that is set, or have not been begun to be delivered; False
    without any.
    """
    stores = {read_delivered(folder).store for folder in find_journals(root)}
    return bool(stores) and stores <= {"", store_name(get_tracking_uri())}


def has_pending(root: Path) -> bool:
    """Whether a run's folder may hold something that has to be delivered. Cheap: no journal is read."""
    return any(has_undelivered(folder) for folder in find_journals(root))


def _deliver(root: Path, folder: Path, *, superseded: bool) -> SyncResult:
    try:
        journal = Journal(folder)
        delivery = JournalDelivery(journal, superseded=superseded)
    except LockHeld:
        return SyncResult(root, why="another process delivers it just now")
    except OSError:  # taken over, or removed, in this moment
        return SyncResult(root)

    def run_id() -> str:
        return "" if superseded else delivery.run_id  # the folder is the newer run's

    try:
        before = delivery.pending()
        if superseded and journal.ended is None:
            journal.append(Ended(Status.KILLED, "it was started over in its folder"))
            before += 1
        if delivery.pending() or read_delivered(folder).store != store_name(get_tracking_uri()):
            delivery.open()
            while delivery.deliver_batch():
                if not delivery.is_open:
                    delivery.open()
            before = before or len(list(journal.records()))  # all of it, at another store
        return SyncResult(root, max(0, before - delivery.pending()), run_id(), ended=journal.ended is not None)
    except Exception as error:  # whatever a server, a disk or a network in between may raise
        try:
            left = delivery.pending()
        except OSError:  # taken over: what is left of it is somebody else's
            return SyncResult(root)
        return SyncResult(
            root,
            max(0, before - left),
            run_id(),
            left,
            str(to_user_error(error)),
            is_server_response(error),
            journal.ended is not None,
        )
    finally:
        delivery.close()


def _merge_results(before: SyncResult, after: SyncResult) -> SyncResult:
    """Of one folder, the newer journal's words and both's counts."""
    return SyncResult(
        before.root,
        before.delivered + after.delivered,
        after.run_id,
        before.pending + after.pending,
        after.why or before.why,
        after.answered,
        after.ended,
    )
