"""Ranges that somebody has predicted for a plan's figures, and whether what came out lies in them."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from importlib.resources import files
from pathlib import Path

from flowerml.campaign.plan.yaml_nodes import Node, parse_yaml, read_yaml
from flowerml.errors import UserError

SHARES = ("accuracy", "mean_recall", "recall", "final_val_accuracy")  # in percent in the file, in 0..1 here
_RANGE = {"low": True, "high": True, "before": False, "note": False}
_SINGLE = {
    **{"accuracy": False, "mean_recall": False, "final_val_accuracy": False, "final_val_loss": False},
    **{"best_epoch": False, "minutes_per_epoch": False},
}


class RangeVerdict(StrEnum):
    """What became of a prediction."""

    MET = "met"
    MISSED = "missed"
    OPEN = "cannot be told"


@dataclass(frozen=True)
class PredictedRange:
    """A range of a figure, of one class where it is a recall. `before` is what the same text gives for the plan it is
    compared with.
    """

    low: float
    high: float
    before: float | None = None
    note: str = ""


Predictions = Mapping[tuple[str, str], PredictedRange]  # by figure, and class ("" where it is of none)


def judge(wanted: PredictedRange, low: float, high: float) -> tuple[RangeVerdict, str]:
    """Whether the interval from `low` to `high` lies in a range, outside of it (and on which side), or holds values of
    both kinds.
    """
    if wanted.low <= low and high <= wanted.high:
        return RangeVerdict.MET, ""
    if high < wanted.low:
        return RangeVerdict.MISSED, "below"
    if low > wanted.high:
        return RangeVerdict.MISSED, "above"
    return RangeVerdict.OPEN, ""


def predictions_for(first: str, second: str) -> Predictions:
    """What is shipped for a pair of plans; nothing where nothing is."""
    for path in sorted(files("flowerml.campaign.comparison").joinpath("shipped").iterdir(), key=lambda one: one.name):
        document = parse_yaml(path.read_text("utf-8"), path.name)
        names = document.as_mapping()
        if (names["plan"].as_text(), names["against"].as_text()) == (second, first):
            return understand(document)
    return {}


def read_predicted_ranges(path: Path) -> Predictions:
    """Those of a file. Raises UserError for whatever is wrong with it, with its line."""
    return understand(read_yaml(path, "--predicted"))


def understand(document: Node) -> Predictions:
    """A document as predictions. Raises UserError."""
    parts = document.as_fields({"plan": True, "against": True, "predicted": True})
    wanted = parts["predicted"].as_fields({**_SINGLE, "recall": False})
    found = {(figure, ""): _range(figure, node) for figure, node in wanted.items() if figure != "recall"}
    if "recall" in wanted:
        found |= {("recall", name): _range("recall", node) for name, node in wanted["recall"].as_mapping().items()}
    return found


def _range(figure: str, node: Node) -> PredictedRange:
    parts = node.as_fields(_RANGE)
    scale = 100.0 if figure in SHARES else 1.0
    low, high = (_number(parts[name]) / scale for name in ("low", "high"))
    if not low <= high:
        raise node.error(
            f"{node.key} goes from {parts['low'].as_text()} to {parts['high'].as_text()}: the lower end comes first"
        )
    before = _number(parts["before"]) / scale if "before" in parts else None
    return PredictedRange(low, high, before, parts["note"].as_text() if "note" in parts else "")


def _number(node: Node) -> float:
    try:
        value = float(node.as_text())
    except ValueError:
        value = float("nan")
    if not abs(value) < float("inf"):
        raise UserError(
            f"{node.file}, line {node.line}: {node.key} is {node.as_text()!r}. Allowed: a number; shares in percent"
        )
    return value
