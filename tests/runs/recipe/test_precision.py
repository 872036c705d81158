"""Epochs are evaluated in the training's own precision, the best one once more in fp32: those figures are kept."""

import csv

import numpy as np
import pytest
import torch

from flowerml.events import MemoryRecorder, Metrics
from flowerml.runs.evaluate import Request, run_evaluation
from flowerml.training.checkpoints.checkpoint import load_checkpoint


@pytest.fixture
def bf16_cpu(monkeypatch):
    """This CPU as one with bf16 instructions: it computes the same without them, slowly."""
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": True})


def history(folder):
    with (folder / "history.csv").open() as handle:
        return list(csv.DictReader(handle))


def metrics_of(recorder):
    return {
        name: value for event in recorder.events if isinstance(event, Metrics) for name, value in event.values.items()
    }


@pytest.mark.slow
@pytest.mark.parametrize("changes", [{}, {"probe": True, "freeze_backbone_epochs": "auto", "lr_backbone": "auto"}])
def test_the_figures_of_a_bf16_training_are_those_of_its_best_weights_in_fp32(train_small, bf16_cpu, changes):
    result, recorder = train_small(**changes)
    metrics, stored = metrics_of(recorder), load_checkpoint(result.folder / "best.pth").metrics
    assert stored["val_accuracy"] == metrics["best_val_accuracy"] == result.scores.accuracy
    assert stored["val_loss"] == result.scores.loss
    in_bf16 = float(history(result.folder)[result.best_epoch - 1]["val_loss"])
    assert in_bf16 == pytest.approx(result.scores.loss, abs=0.05)
    assert in_bf16 != pytest.approx(result.scores.loss, abs=1e-7)  # bf16 has 8 bits
    request = Request(result.folder / "best.pth", "val", None, None, "cpu", 0, 0.0)
    again = run_evaluation(request, lambda *_: MemoryRecorder()).scores
    assert again.hits == result.scores.hits
    assert again.loss == pytest.approx(result.scores.loss, abs=1e-6)
    probe = np.load(result.folder / "probe.npz")
    assert probe["logits"].dtype == np.float32


def test_those_of_an_fp32_training_are_evaluated_once(train_small):
    result, _ = train_small(amp=False)
    best = history(result.folder)[result.best_epoch - 1]
    stored = load_checkpoint(result.folder / "best.pth").metrics
    assert float(best["val_loss"]) == pytest.approx(stored["val_loss"], rel=1e-6)
    assert stored["val_loss"] == result.scores.loss
