"""Ranges predicted for a plan's metrics, and whether the measured values lie in them."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from importlib.resources import files
from pathlib import Path

from flowerml.campaign.plan.yaml_nodes import Node, parse_yaml, read_yaml
from flowerml.errors import UserError
from flowerml.translation import N_

SHARES = ("accuracy", "mean_recall", "recall", "final_val_accuracy")  # in percent in the file, 0 to 1 here
_RANGE_KEYS = {"low": True, "high": True, "before": False, "note": False}  # key: is it required
_METRIC_KEYS = {
    **{"accuracy": False, "mean_recall": False, "final_val_accuracy": False, "final_val_loss": False},
    **{"best_epoch": False, "minutes_per_epoch": False},
}


class RangeVerdict(StrEnum):
    """Whether a prediction came true."""

    MET = N_("met")
    MISSED = N_("missed")
    OPEN = N_("cannot be told")


@dataclass(frozen=True)
class PredictedRange:
    """A range of a metric; `reference` is the value the same source gives for the plan it is compared with."""

    low: float
    high: float
    reference: float | None = None
    note: str = ""


PredictedRanges = Mapping[tuple[str, str], PredictedRange]  # by metric and class ("" for metrics over all classes)


def judge_range(predicted: PredictedRange, low: float, high: float) -> tuple[RangeVerdict, str]:
    """Whether the interval from `low` to `high` lies inside a range, `below` or `above` it, or partly inside."""
    if predicted.low <= low and high <= predicted.high:
        return RangeVerdict.MET, ""
    if high < predicted.low:
        return RangeVerdict.MISSED, "below"
    if low > predicted.high:
        return RangeVerdict.MISSED, "above"
    return RangeVerdict.OPEN, ""


def predictions_for(first: str, second: str) -> PredictedRanges:
    """The shipped predictions for the plan `second` compared with `first`; empty where there are none."""
    shipped = files("flowerml.campaign.comparison").joinpath("shipped")
    for path in sorted(shipped.iterdir(), key=lambda path: path.name):
        document = parse_yaml(path.read_text("utf-8"), path.name)
        names = document.as_mapping()
        if (names["plan"].as_text(), names["against"].as_text()) == (second, first):
            return parse_predicted_ranges(document)
    return {}


def read_predicted_ranges(path: Path) -> PredictedRanges:
    """Read a file of predictions. Raises UserError with the line of what is wrong with it."""
    return parse_predicted_ranges(read_yaml(path, "--predicted"))


def parse_predicted_ranges(document: Node) -> PredictedRanges:
    """Parse a document with the keys `plan`, `against` and `predicted`. Raises UserError."""
    parts = document.as_fields({"plan": True, "against": True, "predicted": True})
    metrics = parts["predicted"].as_fields({**_METRIC_KEYS, "recall": False})
    ranges = {(metric, ""): _parse_range(metric, node) for metric, node in metrics.items() if metric != "recall"}
    if "recall" in metrics:
        ranges |= {
            ("recall", name): _parse_range("recall", node) for name, node in metrics["recall"].as_mapping().items()
        }
    return ranges


def _parse_range(metric: str, node: Node) -> PredictedRange:
    parts = node.as_fields(_RANGE_KEYS)
    scale = 100.0 if metric in SHARES else 1.0
    low, high = (_parse_finite(parts[name]) / scale for name in ("low", "high"))
    if not low <= high:
        raise node.error(
            f"{node.key} goes from {parts['low'].as_text()} to {parts['high'].as_text()}: the lower end comes first"
        )
    reference = _parse_finite(parts["before"]) / scale if "before" in parts else None
    return PredictedRange(low, high, reference, parts["note"].as_text() if "note" in parts else "")


def _parse_finite(node: Node) -> float:
    try:
        value = float(node.as_text())
    except ValueError:
        value = float("nan")
    if not abs(value) < float("inf"):
        raise UserError(
            f"{node.file}, line {node.line}: {node.key} is {node.as_text()!r}. Allowed: a number; shares in percent"
        )
    return value
