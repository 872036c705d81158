"""A campaign of a model whose head starts from class names: its report has the accuracy before any training."""

import shutil

import pytest

from flowerml.campaign.report.html import report_html
from flowerml.campaign.state.run_status import ZERO_SHOT
from flowerml.evaluation.metrics import wilson_interval
from flowerml.runs import text_head
from tests.campaign.campaigns import run_here, runs_at_mlflow
from tests.models import small_clip

TEXTS = """\
plan: texts
about: a head from texts and a random one
grid: none
defaults: {epochs: 1, warmup_epochs: 0, freeze_backbone_epochs: 0, batch_size: 16, workers: 0, device: cpu,
  randaugment: 0, mixup: 0, cutmix: 0, random_erasing: 0, drop_path: 0, val_split: 0.5}
families:
  vit: {model: "%s", weights: "%s"}
phases:
  A:
    family: vit
    runs:
      TEXT: {head_init: text}
      RANDOM: {}
    select: {top: 1, by: val_accuracy}
"""


@pytest.fixture
def plan(tmp_path):
    small_clip.register(tmp_path)
    return TEXTS % (small_clip.MODEL, small_clip.save(tmp_path, small_clip.make()))


@pytest.mark.slow
def test_the_report_has_the_accuracy_without_training(plan, flowers, tmp_path, monkeypatch):
    assert ZERO_SHOT == text_head.ZERO_SHOT
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    snapshot, jobs = run_here(flowers, tmp_path, plan)
    assert sorted(jobs) == ["RANDOM", "TEXT"]
    (run,) = runs_at_mlflow()["TEXT"]
    rows = {row.name: row for row in snapshot.runs}
    recorded = run.data.metrics[ZERO_SHOT]
    assert (rows["TEXT"].zero_shot, rows["RANDOM"].zero_shot) == (recorded, None)
    low, high = wilson_interval(round(recorded * 30), 30)
    cells = f'<td class="number">{recorded:.4f}</td><td class="number">{low:.4f} to {high:.4f}</td>'
    assert f"<td>zero-shot (no training)</td>{cells}" in report_html(snapshot)

    shutil.rmtree(tmp_path / "runs")  # as on another host: the store alone knows
    again, jobs = run_here(flowers, tmp_path, plan)
    assert jobs == []
    assert {row.name: row.zero_shot for row in again.runs} == {"TEXT": recorded, "RANDOM": None}
    page = report_html(again)
    assert ">zero-shot (no training)<" in page
    assert f"zero-shot (no training) {recorded:.4f}" in page
