"""A run of the plan as a job for an executor: plain values, as it is pickled for another process or host."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

RUN_JOB = "flowerml.campaign.execution.job_worker:run_job"  # by name: its module imports torch and MLflow


class JobKind(StrEnum):
    """What the run's process does."""

    TRAIN = "train"
    SMOKE = "smoke"  # train, then evaluate the written checkpoint on its validation images
    COPY = "copy"  # make a run of another run's best.pth
    SOUP = "soup"  # average the weights of other runs


@dataclass(frozen=True)
class RunJob:
    """One run of the plan: name, complete settings as plain values, tags, and the file that takes its output.

    For a copy, `source` is the folder whose best.pth is copied, and `figures` are that run's metrics. For a training
    without validation images, `calibration_folders` hold the predictions of other runs of its configuration. For a
    soup, `sources` are the folders of the runs, the best one first.
    """

    name: str
    kind: JobKind
    settings: Mapping[str, Any]
    labels: Mapping[str, str]
    log: str
    source: str | None = None
    figures: Mapping[str, float] = field(default_factory=dict)
    calibration_folders: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()

    def on_gpus(self, count: int) -> "RunJob":
        """The job, trained by `count` processes on a GPU each; a linear probe by one, as it takes seconds."""
        return self if self.settings["probe"] else replace(self, settings={**self.settings, "gpus": count})
