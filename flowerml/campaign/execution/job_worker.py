"""What a run's own process does: the training, or whatever stands in for one."""

import logging
from pathlib import Path

from flowerml.campaign.execution.job import Job, JobKind
from flowerml.events import MemoryRecorder
from flowerml.runs.copy_run import run_copy
from flowerml.runs.evaluate import Request, run_evaluation
from flowerml.runs.lifecycle.run_file import read_run_file
from flowerml.runs.train import run_training
from flowerml.settings import Settings
from flowerml.tracking import start_run

logger = logging.getLogger(__name__)


def run_job(job: Job) -> None:
    """Do it. Raises UserError, RunFailed and KeyboardInterrupt, as `run_training`."""
    settings = Settings.model_validate(dict(job.settings))
    assert settings.output_dir is not None
    folder = Path(settings.output_dir)
    standing = read_run_file(folder)
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
    elif standing is None or standing.status != "FINISHED":  # a smoke test may have been cut off between its two halves
        run_training(settings, start_run, labels=job.labels)
    if job.kind is JobKind.SMOKE:
        _evaluate(folder)


def smoke_completed(folder: Path) -> bool:
    """Whether the second half of a smoke test is done too."""
    return (folder / "eval_val" / "errors.html").is_file()  # written last


def _evaluate(folder: Path) -> None:
    """The written checkpoint on its validation pictures, as `flowerml eval` does it; its figures stand in the run
    already.
    """
    evaluation = run_evaluation(Request(folder / "best.pth", "val"), lambda *_: MemoryRecorder())
    logger.info(f"smoke test: trained, kept and evaluated: validation accuracy {evaluation.scores.accuracy:.4f}")
