"""Callbacks of the trainer, and the result it returns."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field

import torch

from flowerml.data.inputs import Inputs
from flowerml.evaluation.metrics import Predictions
from flowerml.selection.epochs import EpochResult
from flowerml.training.checkpoints.progress import Progress, StateDict
from flowerml.training.length.run_length import RunLength
from flowerml.training.performance.data_wait import DataWait

EpochMetrics = dict[str, float]  # a row of history.csv: metric name to value


@dataclass(frozen=True)
class Candidate:
    """An epoch that is the best so far: the weights that were evaluated, their result and predictions.

    `result` and `predictions` are None without validation data.
    """

    epoch: int
    state_dict: dict[str, torch.Tensor]
    result: EpochResult | None
    predictions: Predictions | None


@dataclass
class TrainingResult:
    """What `train` returns: metrics per epoch, the best epoch, and the epochs after which a plateau cut the rates.

    `stop_cause` says why training ended; it is empty while it goes on. `length` is that of the schedule.
    """

    history: list[EpochMetrics] = field(default_factory=list)
    best: Candidate | None = None
    cuts: list[int] = field(default_factory=list)
    stop_cause: str = ""
    length: RunLength | None = None


def _no_length(_length: RunLength) -> None:
    return None


def _no_stop() -> str | None:
    return None


def _no_early_stop() -> str:
    return ""


@dataclass(frozen=True)
class Callbacks:
    """Functions the trainer calls.

    Tensors passed to them are those in use, not copies: they are valid only during the call.
    """

    on_epoch: Callable[[EpochMetrics], None]  # after each epoch; after a resume first for every epoch before it
    on_best: Callable[[Candidate], None]  # an epoch is the best so far
    on_memory: Callable[[str], None]  # memory ran out and the micro-batches were halved; gets the message
    on_state: Callable[[Progress, StateDict], None]  # a checkpoint is due
    stop_reason: Callable[[], str | None] = _no_stop  # polled between steps: why to stop now and resume later, or None
    early_stop_reason: Callable[[], str] = _no_early_stop  # polled after each epoch: why it was the last, or ""
    waiting: Callable[[], AbstractContextManager[None]] = nullcontext  # around each wait for a batch, between two steps
    on_weights: Callable[[Candidate], None] | None = None  # after each epoch, best or not
    on_batch: Callable[[int, Inputs], None] | None = None  # epoch and first batch of each epoch, as the model gets it
    on_length: Callable[[RunLength], None] = _no_length  # the length was fitted to a time limit, or fitted again
    on_data_wait: Callable[[DataWait], None] | None = None  # after each epoch on images; all of them so far
