"""A journal's records in the portions in which a server is asked to take them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from flowerml.events import Artifact, Event, Metrics, Params, Tags
from flowerml.journal import DamagedLine, Journal, Record, RunResumed, RunStarted

_RECORDS, _BYTES = 100, 500_000  # of one request; MLflow takes 1 MB
BYTES_PER_S = 1e6  # a slow upload


@dataclass(frozen=True)
class Batch:
    """Records that go in one request: figures, params and tags together, everything else alone. `end` is the place
    behind them.
    """

    records: Sequence[Record]
    damages: Sequence[DamagedLine]
    end: int


def next_batch(journal: Journal, begin: int) -> Batch | None:
    """What stands behind the place `begin`; None where nothing does. Raises OSError where the journal is gone."""
    records: list[Record] = []
    damages: list[DamagedLine] = []
    end = begin
    for found in journal.records(begin):
        if isinstance(found, DamagedLine):
            damages.append(found)
            end = found.end
            continue
        together = isinstance(found.record, Params | Metrics | Tags)
        if records and (not together or len(records) == _RECORDS or found.end - begin > _BYTES):
            break
        records.append(found.record)
        end = found.end
        if not together:
            break
    return Batch(records, damages, end) if end > begin else None


def split_record(record: Record) -> Iterator[Event]:
    """The smallest events that a record is made of: one for each name."""
    match record:
        case Params(values):
            yield from (Params({name: text}) for name, text in values.items())
        case Tags(values):
            yield from (Tags({name: text}) for name, text in values.items())
        case Metrics(values, step, timestamp):
            yield from (Metrics({name: value}, step, timestamp) for name, value in values.items())
        case RunStarted() | RunResumed():
            return
        case _:
            yield record


def describe_event(event: Event) -> str:
    """An event in a person's words."""
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


def upload_s(record: Record) -> float:
    """How long a slow server may take for a record's file, in seconds; 0 for a record without."""
    if not isinstance(record, Artifact):
        return 0.0
    return _size(record.path) / BYTES_PER_S


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
