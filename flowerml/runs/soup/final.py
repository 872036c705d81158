"""A campaign's final run that averages the weights of its runs: a greedy soup in a run's folder, without training."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

from flowerml.errors import UserError
from flowerml.events import Artifact, Metrics, Params, Tags
from flowerml.files import copy_file
from flowerml.runs.lifecycle.lease import HEARTBEATS_PER_LEASE, acquire, clean_fenced, fenced_writes
from flowerml.runs.lifecycle.run_file import read_run_file
from flowerml.runs.lifecycle.stop_request import StopRequest, handle_signals, watch_run
from flowerml.runs.lifecycle.termination import finalize_run_status
from flowerml.runs.soup.evaluator import FILES, Request
from flowerml.runs.soup.greedy import Soup, format_soup, make_soup
from flowerml.runs.soup.record import validation_metrics
from flowerml.runs.train import OpenRecorder
from flowerml.settings import Settings
from flowerml.settings.serialization import as_params

logger = logging.getLogger(__name__)

_COPIED = ("settings.json", "split.json")  # of the first run: those of its configuration and split


def run_soup(
    settings: Settings, sources: Sequence[Path], config_id: str, open_recorder: OpenRecorder, labels: Mapping[str, str]
) -> Soup:
    """Average the finished runs in the folders `sources` into the run that `settings` describe.

    The first is the one that others are compared with: what can't be averaged with it is left out with a warning.
    `labels` are the run's tags. An interrupted one is made again.

    Raises:
        UserError: the target holds a finished run; RunFailed where the runs can't be read or averaged.
    """
    assert settings.output_dir is not None
    assert settings.run_name is not None
    folder = Path(settings.output_dir)
    existing = read_run_file(folder)
    if existing is not None and existing.status == "FINISHED":
        raise UserError(f"{folder} holds a finished run (run {existing.run_id}): choose another --output-dir")
    lease, stop = acquire(folder, settings.lease_seconds), StopRequest()
    with (
        fenced_writes(lease),
        handle_signals(stop),
        watch_run(lease.heartbeat, settings.lease_seconds / HEARTBEATS_PER_LEASE, stop, None),
    ):
        recorder = open_recorder(
            settings, settings.experiment or "flowers", settings.run_name, lease.folder, lease.previous
        )
        with finalize_run_status(folder, config_id, settings.seed, recorder, stop):
            recorder.record(Tags(labels))
            recorder.record(Params(as_params(settings)))
            soup = make_soup(
                Request(
                    runs=tuple(sources),
                    output_dir=folder,
                    train_dir=Path(settings.train_dir),
                    device=settings.device,
                    workers=settings.workers,
                    skip_others=True,
                )
            )
            scores = soup.scores
            metrics = {"best_epoch": soup.epoch, **validation_metrics(scores), **soup.as_metrics()}
            recorder.record(Metrics(metrics, step=soup.epoch))
            recorder.record(Tags({"flowerml.val_hits": str(scores.hits), "flowerml.val_total": str(scores.total)}))
            for name in _COPIED:
                if (sources[0] / name).is_file():
                    copy_file(sources[0] / name, folder / name)
            for name in (*FILES, *_COPIED):
                if (folder / name).is_file():
                    recorder.record(Artifact(folder / name))
        clean_fenced(lease)
    logger.info(format_soup(soup))
    return soup
