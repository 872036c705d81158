"""Journals that no living process delivers, brought to MLflow: all that is in a run's folder, and what it takes with
it.
"""

from dataclasses import dataclass
from pathlib import Path

from mlflow.tracking import get_tracking_uri

from flowerml.events import Ended, Status
from flowerml.journal import Journal, has_undelivered, journals, read_delivered
from flowerml.tracking.client.connection import store_name
from flowerml.tracking.client.errors import is_answer, refusal
from flowerml.tracking.delivery.journal_delivery import Delivery
from flowerml.tracking.delivery.lock import Busy


@dataclass(frozen=True)
class Synced:
    """What came of one run's folder: how many records were delivered and to which run, how many are left, and why."""

    root: Path
    delivered: int = 0
    run_id: str = ""
    left: int = 0
    why: str = ""
    answered: bool = True  # whether asking for other folders may be of use
    ended: bool = True


def sync_folder(root: Path) -> Synced:
    """Deliver what a run's folder holds. A run that was started over there is closed as KILLED; one that was cut off
    stays as it is.

    Never raises for MLflow's sake.
    """
    folders = journals(root)
    done = Synced(root)
    for folder in folders:
        done = _added(done, _deliver(root, folder, superseded=folder != folders[-1]))
        if not done.answered:
            break
    return done


def run_ids(root: Path) -> list[str]:
    """The ids of the runs at MLflow that the journals of a folder belong to, as far as they are known."""
    return [run_id for folder in journals(root) if (run_id := read_delivered(folder).run_id)]


def belongs_here(root: Path) -> bool:
    """Whether the journals of a run's folder go to the store that is set, or have not been begun to be delivered; False
    without any.
    """
    stores = {read_delivered(folder).store for folder in journals(root)}
    return bool(stores) and stores <= {"", store_name(get_tracking_uri())}


def has_left(root: Path) -> bool:
    """Whether a run's folder may hold something that has to be delivered. Cheap: no journal is read."""
    return any(has_undelivered(folder) for folder in journals(root))


def _deliver(root: Path, folder: Path, *, superseded: bool) -> Synced:
    try:
        journal = Journal(folder)
        delivery = Delivery(journal, superseded=superseded)
    except Busy:
        return Synced(root, why="another process delivers it just now")
    except OSError:  # taken over, or removed, in this moment
        return Synced(root)

    def run_id() -> str:
        return "" if superseded else delivery.run_id  # the folder is the newer run's

    try:
        before = delivery.waiting()
        if superseded and journal.ended is None:
            journal.append(Ended(Status.KILLED, "it was started over in its folder"))
            before += 1
        if delivery.waiting() or read_delivered(folder).store != store_name(get_tracking_uri()):
            delivery.open()
            while delivery.step():
                if not delivery.is_open:
                    delivery.open()
            before = before or len(list(journal.records()))  # all of it, at another store
        return Synced(root, max(0, before - delivery.waiting()), run_id(), ended=journal.ended is not None)
    except Exception as error:  # whatever a server, a disk or a network in between may raise
        try:
            left = delivery.waiting()
        except OSError:  # taken over: what is left of it is somebody else's
            return Synced(root)
        return Synced(
            root,
            max(0, before - left),
            run_id(),
            left,
            str(refusal(error)),
            is_answer(error),
            journal.ended is not None,
        )
    finally:
        delivery.close()


def _added(before: Synced, after: Synced) -> Synced:
    """Of one folder, the newer journal's words and both's counts."""
    return Synced(
        before.root,
        before.delivered + after.delivered,
        after.run_id,
        before.left + after.left,
        after.why or before.why,
        after.answered,
        after.ended,
    )
