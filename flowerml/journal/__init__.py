"""Write-ahead journal of a run's events: on disk (fsync) before the tracking server is sent anything.

Weighed against MLflow's async logging (a queue in memory, lost with the process), persist-queue (consumed
items are gone: no replay into another store) and SQLite in WAL mode (not on network file systems): an append-only
file of checksummed lines is kept because it can be replayed from any offset and survives a torn or damaged line.
"""

from flowerml.journal.delivered import COMPARISON, Delivered, read_delivered, write_delivered
from flowerml.journal.discovery import find_fold_folders, find_journals, find_run_folders, has_undelivered
from flowerml.journal.file import JOURNAL, DamagedLine, Journal, JournalEntry
from flowerml.journal.records import Record, RunResumed, RunStarted

__all__ = [
    "COMPARISON",
    "JOURNAL",
    "DamagedLine",
    "Delivered",
    "Journal",
    "JournalEntry",
    "Record",
    "RunResumed",
    "RunStarted",
    "find_fold_folders",
    "find_journals",
    "find_run_folders",
    "has_undelivered",
    "read_delivered",
    "write_delivered",
]
