"""Small training runs in this process, recorded in memory."""

import pytest

from flowerml.events import MemoryRecorder
from flowerml.runs.train import run_training
from flowerml.settings import resolve

SMALL = {
    "model": "convnextv2_atto",
    "weights": "none",
    "img_size": 32,
    "epochs": 3,
    "batch_size": 16,
    "warmup_epochs": 1,
    "freeze_backbone_epochs": 1,
    "lr_head": 3e-3,
    "lr_backbone": 3e-3,
    "workers": 0,
    "device": "cpu",
}


@pytest.fixture(scope="session")
def train_small(flowers, tmp_path_factory):
    """A function that trains with SMALL and some changes; returns (what came of it, the recorder)."""

    def train(**changes):
        output = str(tmp_path_factory.mktemp("run") / "out")
        settings, _ = resolve({**SMALL, "train_dir": str(flowers), "output_dir": output, **changes})
        recorder = MemoryRecorder()
        return run_training(settings, lambda *_: recorder), recorder

    return train


@pytest.fixture(scope="session")
def small_run(train_small):
    """One finished run with mixing, augmentation, dropout and stochastic depth all on."""
    return train_small(dropout=0.2)
