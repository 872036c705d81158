"""A run without training: a byte copy of another run's best.pth and its artifacts."""

import logging
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from flowerml.errors import UserError
from flowerml.events import Artifact, DatasetInput, Metrics, Params, Tags, TrainedModel
from flowerml.files import copy_file
from flowerml.journal import Journal, JournalEntry, find_journals
from flowerml.runs.lifecycle.lease import HEARTBEATS_PER_LEASE, acquire, clean_fenced, fenced_writes
from flowerml.runs.lifecycle.run_file import RUN_FILE, RUN_FILES, read_run_file
from flowerml.runs.lifecycle.stop_request import StopRequest, watch_run
from flowerml.runs.lifecycle.termination import finalize_run_status
from flowerml.runs.train import OpenRecorder
from flowerml.settings import Settings
from flowerml.settings.serialization import as_params

logger = logging.getLogger(__name__)


def run_copy(
    settings: Settings,
    source: Path,
    config_id: str,
    open_recorder: OpenRecorder,
    *,
    labels: Mapping[str, str],
    figures: Mapping[str, float],
) -> Path:
    """Copy the finished run in the folder `source` to the run that `settings` describe; returns its best.pth.

    `labels` are all its tags, `figures` the source's metrics at its best epoch (`best_epoch` is their step). An
    interrupted copy is made again.

    Raises:
        UserError: the source has no best.pth, or the target holds a finished run; RunFailed where it can't be written.
    """
    assert settings.output_dir is not None
    assert settings.run_name is not None
    folder = Path(settings.output_dir)
    if not (source / "best.pth").is_file():
        raise UserError(f"{source} has no best.pth to copy: train that run again")
    existing = read_run_file(folder)
    if existing is not None and existing.status == "FINISHED":
        raise UserError(f"{folder} holds a finished run (run {existing.run_id}): choose another --output-dir")
    lease, stop = acquire(folder, settings.lease_seconds), StopRequest()
    with fenced_writes(lease), watch_run(lease.heartbeat, settings.lease_seconds / HEARTBEATS_PER_LEASE, stop, None):
        recorder = open_recorder(
            settings, settings.experiment or "flowers", settings.run_name, lease.folder, lease.previous
        )
        with finalize_run_status(folder, config_id, settings.seed, recorder, stop):
            recorder.record(Tags(labels))
            recorder.record(Params(as_params(settings)))
            for event in _data_and_model(source, settings.run_name):
                recorder.record(event)
            for name in RUN_FILES:
                if name != RUN_FILE and (source / name).is_file():
                    copy_file(source / name, folder / name)
                    recorder.record(Artifact(folder / name))
            if figures:
                recorder.record(Metrics(dict(figures), step=int(figures.get("best_epoch", 0)), of_model=True))
        clean_fenced(lease)
    logger.info(f"{folder / 'best.pth'} is that of {source}")
    return folder / "best.pth"


def _data_and_model(source: Path, name: str) -> Iterator[DatasetInput | TrainedModel]:
    """What the journal of the run in the folder `source` says of its data and its model, which gets another name."""
    for folder in find_journals(source)[-1:]:
        for entry in Journal(folder).records():
            match entry.record if isinstance(entry, JournalEntry) else None:
                case DatasetInput() as data:
                    yield data
                case TrainedModel() as model:
                    yield replace(model, name=name)
