"""A campaign on tar files: trained, chosen and delivered as on a folder, with the wrong pictures in its report."""

import pytest

from flowerml.campaign.status import CampaignStatus
from tests.campaign.campaigns import run_here
from tests.data.sources.shards import shards_of

PLAN = """\
plan: tiny
about: one family
grid: none
defaults: {weights: none, epochs: 1, warmup_epochs: 0, freeze_backbone_epochs: 0, batch_size: 16, img_size: 32,
  workers: 0, device: cpu, randaugment: 0, mixup: 0, cutmix: 0, random_erasing: 0}
families:
  cnn: {model: "timm:test_convnext2.r160_in1k"}
phases:
  B:
    family: cnn
    runs:
      B1: {lr_head: 1e-3}
      B2: {lr_head: 3e-3}
    select: {top: 1, by: val_accuracy}
  F:
    final: {mode: keep_best, of: [B]}
    runs: [F1]
"""


@pytest.mark.slow
def test_a_campaign_on_tar_files_is_that_on_the_folder(flowers, tmp_path, capsys):
    shards = shards_of(flowers, tmp_path / "data")
    found = {}
    for name, pictures in {"folder": flowers, "shards": shards}.items():
        (tmp_path / name).mkdir()
        snapshot, jobs = run_here(pictures, tmp_path / name, PLAN, name=name)
        assert snapshot.status is CampaignStatus.FINISHED
        assert jobs == ["B1", "B2", "F1"]
        found[name] = (snapshot.data_digest, [(run.accuracy, run.macro_f1) for run in snapshot.runs])
        said = capsys.readouterr().err
        assert "0 of 10 labels differ from predictions.csv" in said
        (report,) = (tmp_path / name).rglob("report.html")
        found[name] += (report.read_text().count("data:image/jpeg"),)
    assert found["folder"] == found["shards"]
    assert found["shards"][2] > 0, "no wrong picture is shown"
