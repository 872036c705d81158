"""Accuracy without any training, of runs whose head starts from class names (`head_init: text`), as rows."""

from collections.abc import Sequence
from dataclasses import dataclass

from flowerml.campaign.report.snapshot import RunRow
from flowerml.evaluation.metrics import wilson_interval
from flowerml.translation import ENGLISH, N_, Translation

LABEL = N_("zero-shot (no training)")


@dataclass(frozen=True)
class AccuracyRow:
    """Validation accuracy (0 to 1) with its 95 % Wilson interval over pictures; that is the accuracy where their
    number is not known.
    """

    name: str
    accuracy: float
    interval: tuple[float, float]


def run_accuracy(run: RunRow) -> AccuracyRow | None:
    """That of a run; None without one."""
    if run.accuracy is None:
        return None
    return accuracy_row(run.name, run.accuracy, run.hits, run.total)


def zero_shot_rows(runs: Sequence[RunRow], texts: Translation = ENGLISH) -> list[AccuracyRow]:
    """A row for each model of `runs` that was measured before its first step, and for each share of right pictures.

    Runs on several seeds start alike, so they are one row. Folds hold out different pictures: they are pooled.
    """
    shares: dict[tuple[str, float, int], None] = {}  # in their order
    folds: dict[str, dict[int, tuple[float, int]]] = {}
    for run in runs:
        if run.zero_shot is None:
            continue
        if run.fold is None or not run.total:
            shares[run.title, run.zero_shot, run.total or 0] = None
        else:
            folds.setdefault(run.title, {}).setdefault(run.fold, (run.zero_shot, run.total))
    for title, parts in folds.items():
        total = sum(count for _, count in parts.values())
        shares[title, sum(share * count for share, count in parts.values()) / total, total] = None
    several = len({title for title, _, _ in shares}) > 1
    label = texts.translated(LABEL)
    return [
        accuracy_row(f"{label}, {title}" if several else label, share, round(share * total), total)
        for title, share, total in shares
    ]


def accuracy_row(name: str, accuracy: float, hits: int | None, total: int | None) -> AccuracyRow:
    """A row of `hits` right pictures of `total`; None: not known."""
    return AccuracyRow(
        name, accuracy, wilson_interval(hits, total) if hits is not None and total else (accuracy, accuracy)
    )
