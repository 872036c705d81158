"""Train the runs of a cross-validation one after the other; those that are finished already are not trained again."""

import logging
from collections.abc import Callable, Mapping
from pathlib import Path

from flowerml.runs.lifecycle.reap import complete_finished_run
from flowerml.runs.lifecycle.run_file import RunFile, read_run_file
from flowerml.runs.prepare import Prepared, fold_folder, prepare
from flowerml.runs.train import OpenRecorder, run_training
from flowerml.settings import Settings

logger = logging.getLogger(__name__)


def train_folds(
    settings: Settings,
    open_recorder: OpenRecorder,
    *,
    labels: Mapping[str, str] | None = None,
    on_prepared: Callable[[Prepared], None] | None = None,
) -> Path:
    """Train `settings.folds` runs, each of which holds out one fold; returns the folder that has theirs.

    That folder is `settings.output_dir`, or one in the runs root with the configuration's name. A repeated command
    goes on where it was interrupted: finished folds stay, the one that was cut off is resumed.
    `labels` and `on_prepared` are those of `run_training`.

    Raises:
        UserError: as `run_training`; or a fold's folder has a finished run of other settings.
    """
    parent = None if settings.output_dir is None else Path(settings.output_dir)
    for fold in range(1, settings.folds + 1):
        of_fold = settings.replace(fold=fold)
        if parent is not None:
            of_fold = of_fold.replace(output_dir=str(fold_folder(parent, fold)), run_name=_run_name(settings, fold))
        finished = _finished_run(of_fold)
        logger.info(f"\nfold {fold} of {settings.folds}:")
        if finished is not None:
            folder, run = finished
            complete_finished_run(folder)
            logger.info(f"{folder} holds its finished run ({run.run_id}) already")
        else:
            folder = run_training(of_fold, open_recorder, labels=labels, on_prepared=on_prepared).folder
        parent = folder.parent
    assert parent is not None
    return parent


def _run_name(settings: Settings, fold: int) -> str | None:
    return None if settings.run_name is None else f"{settings.run_name}-fold{fold}"


def _finished_run(settings: Settings) -> tuple[Path, RunFile] | None:
    """The finished run of just these settings, with its folder; None where it has to be trained. Raises UserError."""
    if settings.overwrite or (settings.output_dir is not None and not _is_finished(Path(settings.output_dir))):
        return None
    prepared = prepare(settings)
    existing = read_run_file(prepared.folder)
    if existing is None or existing.status != "FINISHED" or not _is_same(prepared, existing):
        return None  # the training says what is wrong with it
    return prepared.folder, existing


def _is_finished(folder: Path) -> bool:
    existing = read_run_file(folder)
    return existing is not None and existing.status == "FINISHED"


def _is_same(prepared: Prepared, existing: RunFile) -> bool:
    return (existing.config_id, existing.seed) == (prepared.config_id, prepared.settings.seed)
