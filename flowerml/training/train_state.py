"""Everything that changes while a training runs, as plain tensors and values, and back: a resumed run goes on as if
nothing had happened.

Order, augmentation, mixing and dropout are keyed by (seed, epoch, picture or step), so the place is all that is needed
of them.
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
from flowerml.training.callbacks import Candidate, Outcome
from flowerml.training.checkpoints.progress import Progress, StateDict
from flowerml.training.ema import EMA
from flowerml.training.schedule import Plateau
from flowerml.training.train_step import TrainStep


@dataclass
class EpochTotals:
    """What an epoch under way has added up: `loss` over `pictures`, the gradient's `norm` over the `counted` steps,
    `seconds`.
    """

    steps: int = 0
    pictures: int = 0
    loss: float = 0.0
    norm: float = 0.0
    counted: int = 0
    seconds: float = 0.0

    def add(self, loss: float, norm: float, pictures: int) -> None:
        """One step: its mean loss and its gradient's norm."""
        self.steps += 1
        self.pictures += pictures
        self.loss += loss * pictures
        if math.isfinite(norm):  # fp16 leaves a step out when its scaled gradients overflow
            self.norm, self.counted = self.norm + norm, self.counted + 1


@dataclass
class TrainState:
    """The parts of a training that its steps change. `epoch` (1-based) is under way or about to begin."""

    model: nn.Module
    optimizer: torch.optim.Optimizer
    stepper: TrainStep
    ema: EMA | None
    plateau: Plateau
    stopping: EarlyStopping
    outcome: Outcome
    epoch: int = 1
    totals: EpochTotals = field(default_factory=EpochTotals)

    @property
    def progress(self) -> Progress:
        """How far it has come."""
        return Progress(self.epoch - 1, self.totals.steps)

    def state_dict(self) -> StateDict:
        """The state between two steps, readable with `torch.load(weights_only=True)`. Its tensors are those in use, not
        copies.
        """
        return {
            "model": dict(self.model.state_dict()),
            "average": None if self.ema is None else dict(self.ema.module.state_dict()),
            "updates": 0 if self.ema is None else self.ema.updates,
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.stepper.scaler.state_dict(),
            "accumulate": self.stepper.accumulate,
            "plateau": asdict(self.plateau),
            "stopping": {"without": self.stopping.without, "leader": _result_values(self.stopping.leader)},
            "best": _candidate_values(self.outcome.best),
            "history": self.outcome.history,
            "ended": self.outcome.ended,
            "epoch": self.epoch,
            "sums": asdict(self.totals),
            "random": _random_states(),
        }

    def load_state_dict(self, content: StateDict) -> None:
        """Put back what `content` has kept, into parts made from the same settings."""
        self.model.load_state_dict(content["model"])
        if self.ema is not None:
            self.ema.module.load_state_dict(content["average"])
            self.ema.updates = content["updates"]
        self.optimizer.load_state_dict(content["optimizer"])
        if content["scaler"]:  # empty where the earlier device scaled nothing, which a scaler in use does not take
            self.stepper.scaler.load_state_dict(content["scaler"])
        # Parts that did not fit into memory would not fit now; more of them may be asked for.
        self.stepper.accumulate = max(self.stepper.accumulate, content["accumulate"])
        for name, value in content["plateau"].items():
            setattr(self.plateau, name, value)
        self.stopping.without, self.stopping.leader = (
            content["stopping"]["without"],
            _result(content["stopping"]["leader"]),
        )
        self.outcome.best = _candidate(content["best"])
        self.outcome.history[:] = content["history"]
        self.outcome.cuts, self.outcome.ended = self.plateau.cuts, content["ended"]
        self.epoch, self.totals = content["epoch"], EpochTotals(**content["sums"])
        _restore_random(content["random"])


def _result_values(result: EpochResult | None) -> dict[str, Any] | None:
    return None if result is None else asdict(result)


def _result(values: dict[str, Any] | None) -> EpochResult | None:
    return None if values is None else EpochResult(**values)


def _candidate_values(best: Candidate | None) -> dict[str, Any] | None:
    """The best epoch but for its weights, which are in `best.pth`."""
    if best is None:
        return None
    said = best.predictions
    predictions = said and {
        "classes": list(said.classes),
        "ids": list(said.ids),
        "labels": torch.from_numpy(said.labels),
        "logits": torch.from_numpy(said.logits),
    }
    return {"epoch": best.epoch, "result": _result_values(best.result), "predictions": predictions}


def _candidate(values: dict[str, Any] | None) -> Candidate | None:
    if values is None:
        return None
    said = values["predictions"]
    predictions = said and Predictions(
        tuple(said["classes"]), tuple(said["ids"]), said["labels"].numpy(), said["logits"].numpy()
    )
    return Candidate(values["epoch"], {}, _result(values["result"]), predictions)


def _random_states() -> dict[str, Any]:
    """The generators' states. All draws here are keyed, so nothing hangs on them; what a library may draw beside does."""
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
    if (
        torch.cuda.is_initialized() and len(states["cuda"]) == torch.cuda.device_count()
    ):  # else it goes on on another machine
        torch.cuda.set_rng_state_all(states["cuda"])
    name, keys, *rest = states["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), *rest))
    random.setstate(states["python"])
