"""Deliver the journals of a run's folder that no live process delivers: `flowerml sync`."""

from dataclasses import dataclass
from pathlib import Path

from mlflow.tracking import get_tracking_uri

from flowerml.events import Ended, Status
from flowerml.journal import Journal, find_journals, has_undelivered, read_delivered
from flowerml.journal.lock import LockHeld
from flowerml.tracking.client.connection import store_name
from flowerml.tracking.client.failures import find_failure, to_user_error
from flowerml.tracking.delivery.journal_delivery import JournalDelivery


@dataclass(frozen=True)
class SyncResult:
    """Result for one run's folder: delivered and pending records, the MLflow run, and the reason for any pending ones.

    `server_answered` is False if the server is unreachable, so that trying other folders is useless; `run_ended` is
    False for an interrupted run.
    """

    root: Path
    delivered: int = 0
    run_id: str = ""
    pending: int = 0
    reason: str = ""
    server_answered: bool = True
    run_ended: bool = True


def sync_folder(root: Path) -> SyncResult:
    """Deliver the journals in a run's folder. Never raises because of MLflow.

    A run that was started over in the folder is closed as KILLED; an interrupted one is left RUNNING.
    """
    folders = find_journals(root)
    result = SyncResult(root)
    for folder in folders:
        result = _merge_results(result, _deliver_journal(root, folder, superseded=folder != folders[-1]))
        if not result.server_answered:
            break
    return result


def delivered_run_ids(root: Path) -> list[str]:
    """The MLflow run ids of the journals in a folder, as far as they are known."""
    return [run_id for folder in find_journals(root) if (run_id := read_delivered(folder).run_id)]


def belongs_to_current_store(root: Path) -> bool:
    """Whether all journals of a run's folder go to the current store or to none yet; False without any journal."""
    stores = {read_delivered(folder).store for folder in find_journals(root)}
    return bool(stores) and stores <= {"", store_name(get_tracking_uri())}


def has_pending(root: Path) -> bool:
    """Whether a run's folder may have undelivered records. Cheap: no journal is read."""
    return any(has_undelivered(folder) for folder in find_journals(root))


def _deliver_journal(root: Path, folder: Path, *, superseded: bool) -> SyncResult:
    try:
        journal = Journal(folder)
        delivery = JournalDelivery(journal, superseded=superseded)
    except LockHeld:
        return SyncResult(root, reason="another process delivers it just now")
    except OSError:  # fenced or removed since it was listed
        return SyncResult(root)

    def reported_run_id() -> str:
        return "" if superseded else delivery.run_id  # the folder is the later run's

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
            before = before or len(list(journal.records()))  # all records, if it went to another store
        pending = delivery.pending()
        reason = "" if delivery.files.error is None else str(to_user_error(delivery.files.error))
        delivered = max(0, before - pending)
        return SyncResult(
            root, delivered, reported_run_id(), pending, reason if pending else "", run_ended=journal.ended is not None
        )
    except Exception as error:  # any error of the server, the disk or the network
        try:
            pending = delivery.pending()
        except OSError:  # fenced: the rest is the newer attempt's
            return SyncResult(root)
        delivered = max(0, before - pending)
        failure = find_failure(error)
        reason, answered = str(failure), failure.is_permanent and not failure.is_unreached
        return SyncResult(root, delivered, reported_run_id(), pending, reason, answered, journal.ended is not None)
    finally:
        delivery.close()


def _merge_results(first: SyncResult, second: SyncResult) -> SyncResult:
    """Results of two journals of a folder: counts are added, the newer journal's other fields win."""
    return SyncResult(
        first.root,
        first.delivered + second.delivered,
        second.run_id,
        first.pending + second.pending,
        second.reason or first.reason,
        second.server_answered,
        second.run_ended,
    )
