"""What test-time augmentation changes: predictions with and without it, and the difference of their accuracies."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import nn

from flowerml.data.loader import Batch
from flowerml.evaluation.metrics import Predictions
from flowerml.evaluation.predict import predict_all
from flowerml.evaluation.tta import NO_VIEWS, crop_shares
from flowerml.selection.intervals import Interval, bootstrap_intervals


@dataclass(frozen=True)
class PairedGain:
    """Accuracies (0..1) of two ways to predict the same pictures, and the 95 % interval of their difference."""

    before: float
    after: float
    interval: Interval
    pictures: int

    @property
    def gain(self) -> float:
        """The second accuracy minus the first, in -1..1."""
        return self.after - self.before

    @property
    def shown(self) -> bool:
        """Whether the interval of the gain leaves out zero."""
        return self.interval.low > 0 or self.interval.high < 0

    def line(self, what: str) -> str:
        """For the terminal; `what` names the second way."""
        low, high = self.interval.low, self.interval.high
        return (
            f"{what}: gain {self.gain:+.4f} in accuracy ({self.before:.4f} -> {self.after:.4f} on {self.pictures}"
            f" pictures; 95 % interval {low:+.4f} to {high:+.4f}{'' if self.shown else ': not shown'})"
        )

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "accuracy_before": self.before,
            "accuracy_after": self.after,
            "gain": self.gain,
            "interval_95": self.interval.as_json(),
            "shown": self.shown,
        }


def paired_gain(before: np.ndarray, after: np.ndarray) -> PairedGain:
    """Compare which pictures two ways to predict get right, (N,) bool each, in one order (N at least 1)."""
    pair = bootstrap_intervals({"before": before[None], "after": after[None]}, ("after", "before"))
    assert pair.difference is not None
    return PairedGain(float(before.mean()), float(after.mean()), pair.difference, len(before))


def predict_with_views(
    network: nn.Module,
    batches_at: Callable[[float], Iterable[Batch]],
    tta: str,
    crop_pct: float,
    classes: tuple[str, ...],
    device: torch.device,
    memory_format: torch.memory_format = torch.contiguous_format,
) -> tuple[Predictions, Predictions]:
    """Predictions (without views, with the views of `tta`), in fp32; the first are those of `predict_all`.

    `batches_at` gives the batches of the examples with this `crop_pct`, in one order.

    Raises:
        RunFailed, DataLoaderDied: as `predict_all`.
    """
    if tta == NO_VIEWS:
        plain = predict_all(network, batches_at(crop_pct), classes, device, memory_format)
        return plain, plain
    both = _WithMirrorImage(network)
    sizes = [
        predict_all(both, batches_at(share), classes, device, memory_format) for share in crop_shares(tta, crop_pct)
    ]
    pairs = np.stack([size.logits.reshape(-1, 2, len(classes)) for size in sizes])  # (V, N, 2, C)
    viewed = pairs.mean(axis=2).mean(axis=0, dtype=np.float32)
    return replace(sizes[0], logits=np.ascontiguousarray(pairs[0, :, 0])), replace(sizes[0], logits=viewed)


class _WithMirrorImage(nn.Module):
    """Logits (N, 2C): those of the inputs, then those of their mirror images."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return torch.cat([self.network(inputs), self.network(inputs.flip(-1))], dim=1)
