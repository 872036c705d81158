"""A run that trains nothing: another run's best.pth, byte for byte, with what belongs to it."""

import logging
from collections.abc import Mapping
from pathlib import Path

from flowerml.errors import UserError
from flowerml.events import Artifact, Metrics, Params, Tags
from flowerml.files import copy_file
from flowerml.runs.lifecycle.lease import acquire, clean_fenced, fenced_writes
from flowerml.runs.lifecycle.run_file import RUN_FILE, RUN_FILES, read_run_file
from flowerml.runs.lifecycle.stop_request import StopRequest, watched
from flowerml.runs.lifecycle.termination import closing
from flowerml.runs.train import OpenRecorder
from flowerml.settings import Settings
from flowerml.settings.serialization import as_params

logger = logging.getLogger(__name__)

_BEATS = 6  # signs of life within a lease


def run_copy(
    settings: Settings,
    source: Path,
    config_id: str,
    open_recorder: OpenRecorder,
    *,
    labels: Mapping[str, str],
    figures: Mapping[str, float],
) -> Path:
    """Make the run that `settings` name out of the finished run in the folder `source`; returns its best.pth.

    `labels` are all its tags, `figures` what the source reached at its best epoch (`best_epoch` is the step they are
    noted at). Done anew where an earlier try was cut off.

    Raises:
        UserError: the source has no best.pth, or a finished run stands there already; RunFailed where it can't be
            written.
    """
    assert settings.output_dir is not None
    assert settings.run_name is not None
    folder = Path(settings.output_dir)
    if not (source / "best.pth").is_file():
        raise UserError(f"{source} has no best.pth to copy: train that run again")
    standing = read_run_file(folder)
    if standing is not None and standing.status == "FINISHED":
        raise UserError(f"{folder} holds a finished run (run {standing.run_id}): choose another --output-dir")
    attempt, stopping = acquire(folder, settings.lease_seconds), StopRequest()
    with fenced_writes(attempt), watched(attempt.heartbeat, settings.lease_seconds / _BEATS, stopping, None):
        recorder = open_recorder(
            settings, settings.experiment or "flowers", settings.run_name, attempt.folder, attempt.previous
        )
        with closing(folder, config_id, settings.seed, recorder, stopping):
            recorder.record(Tags(labels))
            recorder.record(Params(as_params(settings)))
            for name in RUN_FILES:
                if name != RUN_FILE and (source / name).is_file():
                    copy_file(source / name, folder / name)
                    recorder.record(Artifact(folder / name))
            if figures:
                recorder.record(Metrics(dict(figures), step=int(figures.get("best_epoch", 0))))
        clean_fenced(attempt)
    logger.info(f"{folder / 'best.pth'} is that of {source}")
    return folder / "best.pth"
