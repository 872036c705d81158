"""Small training runs in this process, recorded in memory."""

import pytest

from flowerml.events import Ended, MemoryRecorder, Status
from flowerml.runs.train import run_training
from flowerml.settings import resolve
from tests.runs.interrupted_runs import Stops

SMALL = {
    "model": "timm:test_convnext2",
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

    def train(calibration_folders=(), **changes):
        output = str(tmp_path_factory.mktemp("run") / "out")
        settings, _ = resolve({**SMALL, "train_dir": str(flowers), "output_dir": output, **changes})
        recorder = MemoryRecorder()
        return run_training(settings, lambda *_: recorder, calibration_folders=calibration_folders), recorder

    return train


@pytest.fixture(scope="session")
def small_run(train_small):
    """One finished run with mixing, augmentation, dropout and stochastic depth all on."""
    return train_small(dropout=0.2)


@pytest.fixture
def begin(flowers, tmp_path):
    """Starts (or goes on with) one run; returns its recorder, which Ctrl-C has ended where `at` says so."""

    def begin(at=None, run_id="again", **changes):
        settings, _ = resolve(
            {**SMALL, "dropout": 0.2, "train_dir": str(flowers), "output_dir": str(tmp_path / "out"), **changes}
        )
        recorder = MemoryRecorder(run_id) if at is None else Stops(at)
        if at is None:
            run_training(settings, lambda *_: recorder)
        else:
            with pytest.raises(KeyboardInterrupt):
                run_training(settings, lambda *_: recorder)
            assert recorder.events[-1] == Ended(Status.KILLED, "stopped by Ctrl-C")
        return recorder

    return begin
