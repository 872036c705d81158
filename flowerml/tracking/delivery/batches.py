"""Group a journal's records into batches of one request each."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from flowerml.events import Artifact, Event, Metrics, Params, Tags
from flowerml.journal import DamagedLine, Journal, Record, RunResumed, RunStarted
from flowerml.tracking.client import artifacts

_MAX_RECORDS, _MAX_BYTES = 100, 500_000  # per request; MLflow's limit is 1 MB


@dataclass(frozen=True)
class Batch:
    """Records of one request: metrics, params and tags together, any other record alone.

    `damaged` are the damaged lines among them; `end` is the offset in the journal after the batch.
    """

    records: Sequence[Record]
    damaged: Sequence[DamagedLine]
    end: int


def next_batch(journal: Journal, start: int) -> Batch | None:
    """The batch after the offset `start`; None at the end of the journal. Raises OSError if the journal is gone."""
    records: list[Record] = []
    damaged: list[DamagedLine] = []
    end = start
    for entry in journal.records(start):
        if isinstance(entry, DamagedLine):
            damaged.append(entry)
            end = entry.end
            continue
        can_batch = isinstance(entry.record, Params | Metrics | Tags)
        if records and (not can_batch or len(records) == _MAX_RECORDS or entry.end - start > _MAX_BYTES):
            break
        records.append(entry.record)
        end = entry.end
        if not can_batch:
            break
    return Batch(records, damaged, end) if end > start else None


def split_record(record: Record) -> Iterator[Event]:
    """Split a record into the smallest events: one per name."""
    match record:
        case Params(values):
            yield from (Params({name: text}) for name, text in values.items())
        case Tags(values):
            yield from (Tags({name: text}) for name, text in values.items())
        case Metrics(values):
            yield from (replace(record, values={name: value}) for name, value in values.items())
        case RunStarted() | RunResumed():
            return
        case _:
            yield record


def describe_event(event: Event) -> str:
    """An event as text for a log message."""
    match event:
        case Params(values):
            return f"the param {', '.join(values)}"
        case Tags(values):
            return f"the tag {', '.join(values)}"
        case Metrics(values, step):
            return f"{', '.join(values)} of step {step}"
        case Artifact(path):
            return str(path)
    return f"the run's {type(event).__name__}"


def estimate_upload_s(record: Record) -> float:
    """Seconds a slow connection may need for a record's file; 0 for a record without one."""
    return artifacts.estimate_upload_s(record.path) if isinstance(record, Artifact) else 0.0
