"""What is chosen from: finished runs, what they got right picture by picture, and which of them are asked for."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum

import numpy as np

from flowerml.errors import UserError
from flowerml.translation import ENGLISH, Translation


class Rule(StrEnum):
    """What configurations are ranked by first, as plans and flags name it."""

    ACCURACY = "val_accuracy"
    MEAN_RECALL = "val_mean_recall"  # the mean over classes: rare classes count as much as frequent ones


@dataclass(frozen=True, kw_only=True)
class CandidateRun:
    """One run as the tracking server knows it.

    `status` is MLflow's word (FINISHED, FAILED, RUNNING, KILLED, SCHEDULED); `classes` counts them; `started` is in
    milliseconds since 1970; `accuracy`, `macro_f1` and `mean_recall` are best_val_accuracy and so on (None where
    never logged); `hits` of `total` validation pictures are right (None where not known); `plan_order` is its place in
    the plan. `cost` is what one prediction costs, in any unit that is the same for all runs (multiply-adds, seconds);
    `parameters` stands in for it where it is not known. `params` are only shown. `pruned` says that a sweep ended it
    before its last epoch. With cross-validation it has held out fold `fold` (from 1) of `folds`.
    """

    run_id: str
    run_name: str
    config_id: str
    seed: int
    status: str
    kind: str
    family: str
    classes: int
    data_digest: str
    split_digest: str
    started: int
    accuracy: float | None
    macro_f1: float | None
    mean_recall: float | None = None
    hits: int | None = None
    total: int | None = None
    best_epoch: int | None = None
    model: str = ""
    campaign: str | None = None
    phase: str | None = None
    plan_order: int | None = None
    parameters: int | None = None
    cost: float | None = None
    params: Mapping[str, str] = field(default_factory=dict)
    pruned: bool = False
    fold: int | None = None
    folds: int | None = None

    @property
    def place(self) -> tuple[int, int]:
        """Seed and fold (0 without): what a run stands for in its configuration."""
        return self.seed, self.fold or 0

    def with_hits(self, total: int) -> "CandidateRun":
        """The same run with its hits, where its accuracy is a whole number of `total` validation pictures; else
        unchanged.
        """
        if self.accuracy is None or not np.isfinite(self.accuracy):
            return self
        hits = round(self.accuracy * total)
        # Accuracies are hits / total in double precision; one that was rounded on its way can't be turned into hits
        # with certainty.
        return replace(self, hits=hits, total=total) if abs(hits / total - self.accuracy) < 1e-9 else self


def seeds_in_words(runs: Sequence[CandidateRun], texts: Translation = ENGLISH) -> str:
    """What the runs of a configuration differ in: `seed 11`, `seeds 11, 23`, `5 folds with seed 11`."""
    seeds = list(dict.fromkeys(run.seed for run in runs))
    words = list_of_seeds(seeds, texts)
    folds = runs[0].folds if runs else None
    return words if folds is None else texts.gettext("{folds} folds with {seeds}", folds=folds, seeds=words)


def list_of_seeds(seeds: Sequence[int], texts: Translation = ENGLISH) -> str:
    """`seed 11`, `seeds 11, 23`."""
    return texts.ngettext("seed {seeds}", "seeds {seeds}", max(1, len(seeds)), seeds=", ".join(map(str, seeds)))


@dataclass(frozen=True)
class PictureResults:
    """What one run got right: `right` (N,) bool, in the order of `ids`. Large, so fetched only for the runs that are
    compared.

    Raises:
        UserError: lengths that differ, or a picture twice.
    """

    ids: tuple[str, ...]
    right: np.ndarray

    def __post_init__(self) -> None:
        if self.right.shape != (len(self.ids),) or not self.ids:
            raise UserError(
                f"per-picture results need one value per picture: {len(self.ids)} pictures, values {self.right.shape}"
            )
        if len(set(self.ids)) < len(self.ids):
            raise UserError(
                f"per-picture results name a picture twice: {len(self.ids)} rows, {len(set(self.ids))} pictures"
            )

    @staticmethod
    def from_columns(ids: Sequence[str], labels: Sequence[str], predicted: Sequence[str]) -> "PictureResults":
        """From the columns image, label and predicted of `predictions.csv`."""
        if not len(ids) == len(labels) == len(predicted):
            raise UserError(
                f"columns of {len(ids)}, {len(labels)} and {len(predicted)} rows: predictions.csv is not whole"
            )
        return PictureResults(
            tuple(ids), np.array([one == other for one, other in zip(labels, predicted, strict=True)], dtype=bool)
        )

    @staticmethod
    def join(parts: "Sequence[PictureResults]") -> "PictureResults":
        """One result of several that have no picture in common, as of the folds of a cross-validation.

        Raises:
            UserError: a picture is in two of them.
        """
        return PictureResults(
            tuple(name for part in parts for name in part.ids), np.concatenate([part.right for part in parts])
        )

    @property
    def accuracy(self) -> float:
        """Share of right pictures."""
        return int(self.right.sum()) / len(self.ids)


@dataclass(frozen=True)
class Scope:
    """Which runs are asked for. None means any.

    `kinds`: only `train` is ranked, `trial` on request. `phases` and `campaign` restrict to a campaign's own runs.
    Digests may be named by their first characters. `classes` None: the number that most runs have. `rule`: what the
    runs are ranked by. `base_order`: the place in the plan of the configuration that the others' gains are over.
    """

    seeds: tuple[int, ...] = (11, 23, 47)
    kinds: tuple[str, ...] = ("train",)
    family: str | None = None
    campaign: str | None = None
    phases: tuple[str, ...] | None = None
    data_digest: str | None = None
    split_digest: str | None = None
    classes: int | None = None
    rule: Rule = Rule.ACCURACY
    base_order: int | None = None

    def __post_init__(self) -> None:
        if not self.seeds or len(set(self.seeds)) < len(self.seeds):
            raise UserError(f"seeds {list(self.seeds)}: at least one, and none twice, for example 11,23,47")
        if not set(self.kinds) <= {"train", "trial"}:
            raise UserError(f"kinds {', '.join(self.kinds)}: only train is ranked, and trial on request")

    def includes(self, run: CandidateRun) -> bool:
        """Whether a run is of the kind, family, campaign and phase asked for; its digests are another question."""
        return (
            run.kind in self.kinds
            and self.family in (None, run.family)
            and self.campaign in (None, run.campaign)
            and (self.phases is None or run.phase in self.phases)
        )

    def has_named_digests(self, run: CandidateRun) -> bool:
        """Whether a run is of the digests that were named."""
        return run.data_digest.startswith(self.data_digest or "") and run.split_digest.startswith(
            self.split_digest or ""
        )
