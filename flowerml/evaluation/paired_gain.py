"""Two ways to predict the same pictures: both accuracies, and the interval of their difference, photo by photo."""

from dataclasses import dataclass
from typing import Any

import numpy as np

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

    def line(self, what: str, compared: str = "", where: str = "") -> str:
        """For the terminal; `what` names the second way, `compared` the first (" over …"), `where` the pictures."""
        low, high = self.interval.low, self.interval.high
        return (
            f"{what}: gain {self.gain:+.4f} in accuracy{compared} ({self.before:.4f} -> {self.after:.4f} on {where}"
            f"{self.pictures} pictures; 95 % interval {low:+.4f} to {high:+.4f}{'' if self.shown else ': not shown'})"
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
