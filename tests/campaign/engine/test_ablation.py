"""A campaign with a base: its report and its decision have the gain of every other configuration."""

import pytest

from flowerml.campaign.report.html import report_html
from tests.campaign.campaigns import run_here, runs_at_mlflow

ABLATION = """\
plan: ablation
about: a base and two settings
grid: none
defaults: {weights: none, epochs: 2, warmup_epochs: 0, freeze_backbone_epochs: 0, batch_size: 16, img_size: 32,
  workers: 0, device: cpu, randaugment: 0, mixup: 0.2, cutmix: 0, random_erasing: 0}
families:
  cnn: {model: "timm:test_convnext2.r160_in1k"}
phases:
  A:
    family: cnn
    seeds: [11, 23]
    runs:
      BASE: {}
      SAM: {sam_rho: 0.05}
      UNMIXED: {unmixed_epochs: 1}
    select: {top: 1, by: val_accuracy, base: BASE}
"""


@pytest.mark.slow
def test_the_report_has_the_gains_over_the_base(flowers, tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    snapshot, jobs = run_here(flowers, tmp_path, ABLATION)
    assert len(jobs) == 6
    summary = snapshot.phases[0].decision
    assert summary.base == "BASE"
    assert [cells[0] for cells in summary.gains] == ["SAM", "UNMIXED"]
    accuracies = {}
    for row in snapshot.runs:
        accuracies.setdefault(row.config, []).append(row.accuracy)
    for name, mean, gain, interval, _ in summary.gains:
        expected = sum(accuracies[name]) / 2
        assert float(mean) == round(expected, 4)
        assert abs(float(gain) - (expected - sum(accuracies["BASE"]) / 2)) < 1e-4
        assert " to " in interval
        assert "seeds alone" not in interval, "paired by photo"
    assert "Gains over BASE" in report_html(snapshot)
    assert len(runs_at_mlflow("select")) == 1
