"""The run's own record of what happened, on disk before anybody else hears of it."""

from flowerml.journal.delivered import Delivered, read_delivered, write_delivered
from flowerml.journal.discovery import has_undelivered, journals
from flowerml.journal.file import JOURNAL, Damage, Entry, Journal
from flowerml.journal.records import Opening, Record, Reopening

__all__ = [
    "JOURNAL",
    "Damage",
    "Delivered",
    "Entry",
    "Journal",
    "Opening",
    "Record",
    "Reopening",
    "has_undelivered",
    "journals",
    "read_delivered",
    "write_delivered",
]
