"""The training state as a state dict of plain tensors and values, and back: a resumed run gives the same weights.

Data order, augmentation, mixup and dropout are seeded by (seed, epoch, image or step): the position is their state.
"""

import math
import random
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch
from torch import nn

from flowerml.evaluation.metrics import Predictions
from flowerml.selection.epochs import EarlyStopping, EpochResult
from flowerml.training.callbacks import Candidate, TrainingResult
from flowerml.training.checkpoints.progress import Progress, StateDict
from flowerml.training.ema import EMA
from flowerml.training.length.fit import LengthFit
from flowerml.training.optimizer import load_optimizer_state
from flowerml.training.schedule import Plateau
from flowerml.training.train_step import TrainStep


@dataclass
class EpochTotals:
    """Running totals of an epoch: `loss` over `pictures`, gradient `norm` over the `counted` steps, and `seconds`.

    The fields are written to checkpoints by name.
    """

    steps: int = 0
    pictures: int = 0
    loss: float = 0.0
    norm: float = 0.0
    counted: int = 0
    seconds: float = 0.0

    def add(self, loss: float, norm: float, pictures: int) -> None:
        """Add a step of `pictures` images with its mean loss and its gradient's norm."""
        self.steps += 1
        self.pictures += pictures
        self.loss += loss * pictures
        if math.isfinite(norm):  # with fp16 a step is skipped when its scaled gradients overflow
            self.norm, self.counted = self.norm + norm, self.counted + 1


@dataclass
class TrainState:
    """The objects that training changes. `epoch` (1-based) is the current one, or the next one between two epochs."""

    model: nn.Module
    optimizer: torch.optim.Optimizer
    train_step: TrainStep
    ema: EMA | None
    plateau: Plateau
    stopping: EarlyStopping
    result: TrainingResult
    epoch: int = 1
    totals: EpochTotals = field(default_factory=EpochTotals)
    fit: LengthFit | None = None

    @property
    def progress(self) -> Progress:
        """Completed epochs, and steps into the next."""
        return Progress(self.epoch - 1, self.totals.steps)

    def state_dict(self) -> StateDict:
        """The state between two steps, readable with `torch.load(weights_only=True)`.

        Tensors are those in use, not copies. The keys are the on-disk format.
        """
        fit = None if self.fit is None else self.fit.state_dict()
        return {
            "model": dict(self.model.state_dict()),
            "average": None if self.ema is None else dict(self.ema.module.state_dict()),
            "updates": 0 if self.ema is None else self.ema.updates,
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.train_step.scaler.state_dict(),
            "accumulate": self.train_step.accumulate,
            "plateau": asdict(self.plateau),
            "stopping": {"without": self.stopping.without, "leader": _result_to_dict(self.stopping.leader)},
            "best": _candidate_to_dict(self.result.best),
            "history": self.result.history,
            "ended": self.result.stop_cause,
            "epoch": self.epoch,
            "sums": asdict(self.totals),
            "random": _random_states(),
            **({} if self.train_step.lora is None else {"lora": self.train_step.lora.state_dict()}),
            **({} if fit is None else {"length": fit}),
        }

    def load_state_dict(self, state_dict: StateDict) -> None:
        """Load a `state_dict` of a run with the same settings."""
        self.model.load_state_dict(state_dict["model"])
        if self.ema is not None:
            self.ema.module.load_state_dict(state_dict["average"])
            self.ema.updates = state_dict["updates"]
        if self.train_step.lora is not None:
            self.train_step.lora.load_state_dict(state_dict["lora"])
        load_optimizer_state(self.optimizer, state_dict["optimizer"])
        if state_dict["scaler"]:  # empty where the earlier device had no scaler; an enabled scaler refuses that
            self.train_step.scaler.load_state_dict(state_dict["scaler"])
        # Micro-batches that did not fit into memory then would not fit now; the settings may ask for smaller ones.
        self.train_step.accumulate = max(self.train_step.accumulate, state_dict["accumulate"])
        for name, value in state_dict["plateau"].items():
            setattr(self.plateau, name, value)
        stopping = state_dict["stopping"]
        self.stopping.without, self.stopping.leader = stopping["without"], _result_from_dict(stopping["leader"])
        self.result.best = _candidate_from_dict(state_dict["best"])
        self.result.history[:] = state_dict["history"]
        self.result.cuts, self.result.stop_cause = self.plateau.cuts, state_dict["ended"]
        self.epoch, self.totals = state_dict["epoch"], EpochTotals(**state_dict["sums"])
        if self.fit is not None and "length" in state_dict:
            self.fit.load_state_dict(state_dict["length"])
        _restore_random(state_dict["random"])


def _result_to_dict(result: EpochResult | None) -> dict[str, Any] | None:
    return None if result is None else asdict(result)


def _result_from_dict(values: dict[str, Any] | None) -> EpochResult | None:
    return None if values is None else EpochResult(**values)


def _candidate_to_dict(best: Candidate | None) -> dict[str, Any] | None:
    """The best epoch without its weights, which are in `best.pth`."""
    if best is None:
        return None
    found = best.predictions
    predictions = found and {
        "classes": list(found.classes),
        "ids": list(found.ids),
        "labels": torch.from_numpy(found.labels),
        "logits": torch.from_numpy(found.logits),
    }
    return {"epoch": best.epoch, "result": _result_to_dict(best.result), "predictions": predictions}


def _candidate_from_dict(values: dict[str, Any] | None) -> Candidate | None:
    if values is None:
        return None
    stored = values["predictions"]
    predictions = stored and Predictions(
        tuple(stored["classes"]), tuple(stored["ids"]), stored["labels"].numpy(), stored["logits"].numpy()
    )
    return Candidate(values["epoch"], {}, _result_from_dict(values["result"]), predictions)


def _random_states() -> dict[str, Any]:
    """States of the global generators. All draws here are seeded by key; a library may still draw from these."""
    name, keys, position, has_gauss, gauss = np.random.get_state(legacy=True)  # a tuple, as legacy is
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else [],
        "numpy": [
            str(name),
            torch.from_numpy(np.asarray(keys, dtype=np.int64)),
            int(position),
            int(has_gauss),
            float(gauss),
        ],
        "python": random.getstate(),
    }


def _restore_random(states: dict[str, Any]) -> None:
    torch.set_rng_state(states["torch"])
    # A run resumed on another machine may have another number of GPUs.
    if torch.cuda.is_initialized() and len(states["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(states["cuda"])
    name, keys, *rest = states["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), *rest))
    random.setstate(states["python"])
