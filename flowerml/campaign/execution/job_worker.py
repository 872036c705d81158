"""What the process of a run does: a training, a training with its evaluation, a copy, or an average of others."""

import logging
from pathlib import Path

from flowerml.campaign.execution.job import JobKind, RunJob
from flowerml.events import MemoryRecorder
from flowerml.runs.copy_run import run_copy
from flowerml.runs.evaluate import Request, run_evaluation
from flowerml.runs.lifecycle.run_file import read_run_file
from flowerml.runs.soup.final import run_soup
from flowerml.runs.train import run_training
from flowerml.settings import Settings, find_model
from flowerml.settings.families.recipes import check_combination
from flowerml.tracking import start_run

logger = logging.getLogger(__name__)


def run_job(job: RunJob) -> None:
    """Run a job in this process. Raises UserError, RunFailed and KeyboardInterrupt, as `run_training`."""
    settings = Settings.model_validate(dict(job.settings))
    if settings.gpus > 1:  # which the plan's settings were not checked with
        check_combination(settings, find_model(settings.model))
    assert settings.output_dir is not None
    folder = Path(settings.output_dir)
    run_file = read_run_file(folder)
    if job.kind is JobKind.COPY:
        assert job.source is not None
        run_copy(
            settings,
            Path(job.source),
            job.labels["flowerml.config_id"],
            start_run,
            labels=job.labels,
            figures=job.figures,
        )
    elif job.kind is JobKind.SOUP:
        run_soup(settings, tuple(map(Path, job.sources)), job.labels["flowerml.config_id"], start_run, job.labels)
    elif run_file is None or run_file.status != "FINISHED":  # a smoke test may have died before its evaluation
        folders = tuple(map(Path, job.calibration_folders))
        run_training(settings, start_run, labels=job.labels, calibration_folders=folders)
    if job.kind is JobKind.SMOKE:
        _evaluate_checkpoint(folder)


def _evaluate_checkpoint(folder: Path) -> None:
    """Evaluate best.pth on its validation images, as `flowerml eval`; the run has these metrics already."""
    evaluation = run_evaluation(Request(folder / "best.pth", "val"), lambda *_: MemoryRecorder())
    logger.info(f"smoke test: trained, kept and evaluated: validation accuracy {evaluation.scores.accuracy:.4f}")
