"""What a training tells while it runs, and what it leaves."""

from collections.abc import Callable
from dataclasses import dataclass, field

import torch

from flowerml.errors import RunFailed
from flowerml.evaluation.metrics import Predictions
from flowerml.selection.epochs import EpochResult
from flowerml.training.checkpoints.progress import Progress, StateDict

EpochMetrics = dict[str, float]


@dataclass(frozen=True)
class Candidate:
    """An epoch that became the best so far: its evaluated weights and what they predicted (None without validation
    pictures).
    """

    epoch: int
    state_dict: dict[str, torch.Tensor]
    result: EpochResult | None
    predictions: Predictions | None


@dataclass
class Outcome:
    """What a finished training leaves: a row per epoch, the best epoch, epochs after which a plateau cut the rates, why
    it ended (empty until it has).
    """

    history: list[EpochMetrics] = field(default_factory=list)
    best: Candidate | None = None
    cuts: list[int] = field(default_factory=list)
    ended: str = ""


class Stopped(Exception):
    """A training was asked to stop, and did between two steps, its state kept. Says why."""


class DataLoaderDied(RunFailed):
    """A process that loads pictures died by itself: out of memory, mostly."""


def _nobody() -> None:
    return None


def _never() -> str:
    return ""


@dataclass(frozen=True)
class Callbacks:
    """Who hears of a finished epoch (after a resumption first of those before it), of an epoch that is the best so far
    (its weights are only valid during the call), of memory that ran out (in words), and of a state to keep (valid
    during the call too).

    `asked` is asked between steps whether to stop (and to go on another time), and says why. `enough` is asked after
    each epoch whether it was the last one, and says why; nothing if not.
    """

    on_epoch: Callable[[EpochMetrics], None]
    on_best: Callable[[Candidate], None]
    on_memory: Callable[[str], None]
    on_state: Callable[[Progress, StateDict], None]
    stop_reason: Callable[[], str | None] = _nobody
    early_stop_reason: Callable[[], str] = _never
