"""A campaign whose finalists are confirmed by folds: chosen by every picture, retrained on all of them."""

import json

import pytest

from flowerml.campaign.status import CampaignStatus
from tests.campaign.campaigns import TINY, run_here, runs_at_mlflow

TEXT = (
    TINY[: TINY.index("  C:\n")].replace("top: 1", "top: 2")
    + """\
  C:
    confirm: {of: B, folds: 2}
    runs: [C1a, C1b, C2a, C2b]
    select: {top: 1, by: val_accuracy}
  F:
    final: {mode: retrain, of: [C]}
    runs: [F1]
"""
)


@pytest.mark.slow
def test_finalists_are_chosen_by_every_picture_and_the_winner_is_retrained(flowers, tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    snapshot, jobs = run_here(flowers, tmp_path, TEXT)
    assert snapshot.status is CampaignStatus.FINISHED
    assert jobs == ["A1", "B1", "B2", "C1a", "C1b", "C2a", "C2b", "F1"]

    splits = {
        name: json.loads((tmp_path / "runs" / name / "split.json").read_text()) for name in ("C1a", "C1b", "C2a", "F1")
    }
    assert sorted([*splits["C1a"]["val"], *splits["C1b"]["val"]]) == sorted(splits["C1a"]["sha256"])
    assert splits["C1a"]["val"] == splits["C2a"]["val"]
    assert not splits["F1"]["val"]
    assert "fold" not in splits["F1"]

    decision = next(phase.decision.decision for phase in snapshot.phases if phase.name == "C")
    assert [len(one.configuration.runs) for one in decision.standings] == [2, 2]
    assert {one.total for one in decision.standings} == {60}
    assert "over 2 folds with seed 11" in decision.words
    report = (tmp_path / "runs" / snapshot.id / "report.html").read_text()
    assert "Seen through the best fold of the winning configuration" in report
    (final,) = runs_at_mlflow("final")["F1"]
    assert "flowerml.fold" not in final.data.tags
    (version,) = snapshot.delivered
    assert version.version == "1"


RELATIONS = """\
plan: pairs
about: relations, confirmed by folds
grid: none
defaults: {weights: none, epochs: 1, min_epochs: 0, img_size: 32, workers: 0, device: cpu}
families:
  relation: {model: "relation:timm:test_resnet"}
phases:
  B:
    family: relation
    runs:
      B1: {lr_head: 1e-3}
      B2: {lr_head: 1e-5}
    select: {top: 2, by: val_mean_recall}
  C:
    confirm: {of: B, folds: 2}
    runs: [C1a, C1b, C2a, C2b]
    select: {top: 1, by: val_mean_recall}
  F:
    final: {mode: retrain, of: [C]}
    runs: [F1]
"""


@pytest.mark.slow
def test_relations_are_confirmed_by_folds_of_whole_pictures(scenes, tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    snapshot, jobs = run_here(scenes, tmp_path, RELATIONS)
    assert snapshot.status is CampaignStatus.FINISHED
    assert jobs == ["B1", "B2", "C1a", "C1b", "C2a", "C2b", "F1"]
    first, second = (json.loads((tmp_path / "runs" / name / "split.json").read_text()) for name in ("C1a", "C1b"))
    assert sorted([*first["val"], *second["val"]]) == sorted(first["sha256"])
    decision = next(phase.decision.decision for phase in snapshot.phases if phase.name == "C")
    recalls = [one.mean_recall.mean for one in decision.standings]
    assert recalls == sorted(recalls, reverse=True)
    assert {one.total for one in decision.standings} == {100}
    (version,) = snapshot.delivered
    assert (version.registered_model, version.version) == ("relations", "1")
    page = (tmp_path / "runs" / snapshot.id / "report.html").read_text()
    assert "Seen through the best fold of the winning configuration" in page
