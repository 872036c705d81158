"""The best epoch of a run, and early stopping."""

from dataclasses import dataclass

_F1_STEP = 1e-9  # macro-F1 or mean recalls closer than this are equal: sums in another order differ by less


@dataclass(frozen=True)
class EpochResult:
    """An epoch's validation result. `hits` of `total` predictions are right; `epoch` is 1-based."""

    epoch: int
    hits: int
    total: int
    macro_f1: float
    loss: float
    mean_recall: float = 0.0

    @property
    def accuracy(self) -> float:
        """hits / total."""
        return self.hits / self.total

    def as_metrics(self) -> dict[str, float]:
        """The metrics that stand in a checkpoint, by name."""
        return {
            "val_accuracy": self.accuracy,
            "val_macro_f1": self.macro_f1,
            "val_loss": self.loss,
            "val_mean_recall": self.mean_recall,
        }


def is_better(new: EpochResult, old: EpochResult | None, monitor: str) -> bool:
    """Whether `new`, a later epoch, replaces `old` as the best.

    What `monitor` names decides (val_accuracy, val_macro_f1, val_mean_recall or val_loss), then accuracy in integer
    hits, then macro-F1, then the earlier epoch.
    """
    if old is None:
        return True
    criteria = {
        "val_loss": _compare_values(old.loss - new.loss, 0.0),
        "val_accuracy": _compare_values(new.hits - old.hits, 0.0),
        "val_macro_f1": _compare_values(new.macro_f1 - old.macro_f1, _F1_STEP),
        "val_mean_recall": _compare_values(new.mean_recall - old.mean_recall, _F1_STEP),
    }
    for name in (monitor, "val_accuracy", "val_macro_f1"):
        if criteria[name]:
            return criteria[name] > 0
    return False


def is_improvement(new: EpochResult, old: EpochResult | None, monitor: str) -> bool:
    """Whether `new` is strictly better in the metric `monitor`, without tie-breakers: the test of early stopping."""
    if old is None:
        return True
    if monitor == "val_loss":
        return new.loss < old.loss
    if monitor == "val_macro_f1":
        return new.macro_f1 > old.macro_f1 + _F1_STEP
    if monitor == "val_mean_recall":
        return new.mean_recall > old.mean_recall + _F1_STEP
    return new.hits > old.hits


@dataclass
class EarlyStopping:
    """Counts epochs without a better one; `patience` 0 never stops, and nothing stops before `min_epochs`."""

    patience: int
    min_epochs: int
    monitor: str
    without: int = 0
    leader: EpochResult | None = None

    def stop_after(self, result: EpochResult) -> bool:
        """Add an epoch's result; returns whether training should stop."""
        if is_improvement(result, self.leader, self.monitor):
            self.leader, self.without = result, 0
        else:
            self.without += 1
        return 0 < self.patience <= self.without and result.epoch >= self.min_epochs


def _compare_values(difference: float, step: float) -> int:
    return 0 if abs(difference) <= step else 1 if difference > 0 else -1
