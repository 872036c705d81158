"""Small campaigns for tests: a plan whose runs take seconds, and an executor that does them in this process, one after
another.
"""

import os
from pathlib import Path

from mlflow.tracking import MlflowClient

from flowerml.campaign.engine.context import CampaignOptions
from flowerml.campaign.execution.job_worker import run_job
from flowerml.campaign.service import run_campaign
from flowerml.forkserver.job import JobResult
from flowerml.forkserver.server import run_with_exit_code
from tests.campaign.plans import plan_of

# Two families, all kinds of phases, eight runs.
TINY = """\
plan: tiny
about: every kind of phase, as small as can be
grid: none
defaults: {weights: none, epochs: 2, warmup_epochs: 0, freeze_backbone_epochs: 0, batch_size: 16, img_size: 32,
  workers: 0, device: cpu, randaugment: 0, mixup: 0, cutmix: 0, random_erasing: 0}
families:
  cnn: {model: "timm:test_convnext2.r160_in1k"}
  vit: {model: "timm:test_vit.r160_in1k", img_size: 160}
phases:
  A:
    smoke: true
    runs:
      A1: {family: cnn, epochs: 1}
  B:
    family: cnn
    runs:
      B1: {lr_head: 1e-3}
      B2: {lr_head: 3e-3}
    select: {top: 1, by: val_accuracy, then: [macro_f1, variance]}
  C:
    confirm: {of: B, seeds: [23]}
    runs: [C1]
    select: {top: 1, by: val_accuracy}
  D:
    family: vit
    runs:
      D1: {lr_head: 1e-3}
      D2: {lr_head: 3e-3}
    select: {top: 1, by: val_accuracy}
  F:
    final: {mode: retrain, of: [C, D]}
    runs: [F1, F2]
"""


class InProcessExecutor:
    """Does each job at once, in this process: no fork server, no imports to wait for. `jobs` are those it was given."""

    def __init__(self, before=lambda job: None):
        self.jobs = []
        self._before = before
        self._ended = []

    @property
    def free_slots(self):
        return 1 - len(self._ended)

    @property
    def running(self):
        return tuple(ended.name for ended in self._ended)

    def start(self, job):
        self.jobs.append(job.name)
        changed = self._before(job)
        self._ended.append(
            changed
            if isinstance(changed, JobResult)
            else JobResult(job.name, *run_with_exit_code(lambda: run_job(changed or job)))
        )

    def poll(self, seconds):
        ended, self._ended = self._ended, []
        return ended

    def stop(self, name):
        pass

    def close(self):
        pass


def options(train_dir, folder, **more):
    """For a campaign in a folder of its own."""
    return CampaignOptions(
        train_dir=str(train_dir), runs_root=Path(folder) / "runs", output_dir=Path(folder) / "out", **more
    )


def run_here(flowers, folder, text=TINY, *words, before=lambda job: None, shown=None, **more):
    """A campaign in this process; returns its snapshot and the names of the jobs in order."""
    doing = InProcessExecutor(before)
    os.environ.pop("MLFLOW_RUN_ID", None)
    finished = run_campaign(plan_of(text, *words), options(flowers, folder, **more), executor=doing, progress=shown)
    return finished, doing.jobs


def runs_at_mlflow(kind=None, campaign=None):
    """Every run of the store by its name in the plan (or its MLflow name), one kind or all, one campaign or all; a list
    for each.
    """
    client = MlflowClient()
    found = {}
    for run in client.search_runs([one.experiment_id for one in client.search_experiments()]):
        tags = run.data.tags
        if kind in (None, tags.get("flowerml.kind")) and campaign in (None, tags.get("flowerml.campaign")):
            found.setdefault(run.data.tags.get("flowerml.plan_run", run.info.run_name), []).append(run)
    return found
