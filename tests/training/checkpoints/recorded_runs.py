"""Toy runs whose states are recorded at every step, to be resumed from."""

import io

import torch

from flowerml.training.checkpoints.progress import Progress
from tests.training.conftest import Toy, Trained

EVERYTHING = {
    **{
        "epochs": 4,
        "dropout": 0.3,
        "mixup": 0.2,
        "cutmix": 1.0,
        "label_smoothing": 0.1,
        "freeze_backbone_epochs": 2,
        "amp": True,
    },
    "warmup_epochs": 1,
}
STILL = {"lr_head": 1e-12, "lr_backbone": 1e-12, "weight_decay": 0.0}  # no epoch is better than the first
CASES = {
    "everything": EVERYTHING,
    "without average": {**EVERYTHING, "ema": False},
    "sgd": {"epochs": 3, "optimizer": "sgd", "monitor": "val_loss", "accumulate": 2},
    "plateau": {
        **STILL,
        "epochs": 6,
        "scheduler": "plateau",
        "plateau_patience": 1,
        "plateau_factor": 0.1,
        "min_lr": 0.0,
    },
    "stopped early": {**STILL, "epochs": 8, "patience": 3},
    "without validation": {"epochs": 3, "stop_epoch": 2, "val": []},
}
SLOW_CASES = ("plateau", "stopped early")  # about ten seconds each


class StateRecorder:
    """An `on_state` callback that saves every state as bytes, as a file would hold it."""

    def __init__(self) -> None:
        self.states: dict[Progress, bytes] = {}

    def __call__(self, progress, state):
        buffer = io.BytesIO()
        torch.save(state, buffer)
        self.states[progress] = buffer.getvalue()

    def at(self, progress):
        return torch.load(io.BytesIO(self.states[progress]), weights_only=True)


def run_and_record(**changes) -> tuple[Trained, StateRecorder]:
    recorder = StateRecorder()
    return Toy().run(on_state=recorder, checkpoint_every_steps=1, **changes), recorder


def comparable_state(trained: Trained):
    """All that must be equal: weights, metrics without timing, best epoch with predictions, cuts, stop cause."""
    best = trained.outcome.best
    predictions = (
        None
        if best.predictions is None
        else (best.predictions.ids, best.predictions.logits.tobytes(), best.predictions.labels.tobytes())
    )
    weights = {name: tensor.numpy().tobytes() for name, tensor in trained.weights().items()}
    rows = [
        {name: value for name, value in row.items() if name != "images_per_second"} for row in trained.outcome.history
    ]
    return (
        weights,
        trained.metrics(),
        rows,
        (best.epoch, best.result, predictions),
        trained.outcome.cuts,
        trained.outcome.stop_cause,
    )


def best_weights_after(trained: Trained, after: int):
    """The weights that `on_best` got after an epoch."""
    later = [best for best in trained.bests if best.epoch > after]
    return [
        (best.epoch, {name: tensor.numpy().tobytes() for name, tensor in best.state_dict.items()}) for best in later
    ]
