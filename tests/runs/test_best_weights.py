"""`best.pth` after a training: whole, with its calibration, and written once."""

import pytest
import torch

from flowerml.runs.outputs import finalize
from flowerml.training.checkpoints.checkpoint import load_checkpoint

PROBE = {
    "probe": True,
    "freeze_backbone_epochs": "auto",
    "lr_backbone": "auto",
    "val_split": 0.85,
    "mixup": 0.0,
    "cutmix": 0.0,
}


@pytest.fixture
def writes(monkeypatch):
    """The names of the checkpoints written after the training."""
    names = []
    original = finalize.BestWeights.write

    def write(self):
        before = self.path.stat().st_mtime_ns if self.path.exists() else None
        original(self)
        if self.path.stat().st_mtime_ns != before:
            names.append(self.path.name)

    monkeypatch.setattr(finalize.BestWeights, "write", write)
    return names


@pytest.mark.parametrize("changes", [PROBE, {"val_split": 0.85}], ids=["probe", "whole model"])
def test_it_is_written_once_and_has_its_calibration(train_small, writes, changes):
    finished, _ = train_small(**changes)
    assert writes == ["best.pth"]
    checkpoint = load_checkpoint(finished.folder / "best.pth")
    assert checkpoint.calibration is not None
    assert any(name.startswith("backbone.") for name in checkpoint.state_dict)
    assert not list(finished.folder.rglob("best_head.pth"))


def test_a_probe_whose_evaluation_fails_keeps_its_weights(train_small, tmp_path, monkeypatch):
    def fail(*_):
        raise RuntimeError("no memory left")

    monkeypatch.setattr(finalize, "_in_fp32", fail)
    folder = tmp_path / "out"
    with pytest.raises(RuntimeError, match="no memory left"):
        train_small(**PROBE, output_dir=str(folder))
    state = torch.load(folder / "best.pth", weights_only=True)["state_dict"]
    assert {name.partition(".")[0] for name in state} == {"backbone", "head"}
