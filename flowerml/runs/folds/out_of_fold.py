"""The out-of-fold predictions of a cross-validation, read from the folders of its runs."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from flowerml.data.splits.split import Split
from flowerml.errors import UserError
from flowerml.evaluation.labels.label_errors import LabelErrors, find_label_errors
from flowerml.evaluation.metrics import Predictions, Scores, compute_metrics, join_predictions
from flowerml.evaluation.prediction_table import PredictionTable, read_predictions
from flowerml.runs.lifecycle.run_file import RunFile, read_run_file
from flowerml.runs.prepare import fold_folder
from flowerml.settings import Settings, find_model, settings_from_json
from flowerml.tasks import Task, task_for

FILE = "folds.json"


@dataclass(frozen=True)
class FoldRun:
    """A finished run that held out fold `fold`, and what it predicted there."""

    fold: int
    folder: Path
    run: RunFile
    settings: Settings
    split: Split
    table: PredictionTable

    @property
    def scores(self) -> Scores:
        """Of its held-out pictures."""
        return compute_metrics(self.table.as_predictions())


@dataclass(frozen=True)
class CrossValidation:
    """The runs of all folds, in order; every picture is held out in one of them."""

    folder: Path
    runs: tuple[FoldRun, ...]

    @property
    def settings(self) -> Settings:
        """Those of the first fold's run."""
        return self.runs[0].settings

    @property
    def classes(self) -> tuple[str, ...]:
        """The class names, in label order."""
        return self.runs[0].table.classes

    @property
    def split(self) -> Split:
        """That of the first fold's run, which has the folds of all pictures."""
        return self.runs[0].split

    @property
    def task(self) -> Task:
        """The task of its model."""
        return task_for(find_model(self.settings.model))

    def require_label_errors(self) -> None:
        """Check that labels of its task may be doubted. Raises UserError."""
        if reason := self.task.no_label_errors:
            raise UserError(
                f"{self.folder}: is a cross-validation of {self.settings.model}, whose labels are not doubted"
                f" ({reason}). Allowed: those of whole pictures"
            )

    @cached_property
    def predictions(self) -> Predictions:
        """Of every picture, by the run that held it out; sorted by id."""
        joined = join_predictions([run.table.as_predictions() for run in self.runs])
        return joined.part(sorted(range(len(joined.ids)), key=joined.ids.__getitem__))

    @cached_property
    def scores(self) -> Scores:
        """Of every picture."""
        return compute_metrics(self.predictions)

    @property
    def how(self) -> str:
        """Where the probabilities come from, as a sentence."""
        return (
            f"Every picture is judged by the one of {len(self.runs)} runs of {self.settings.model} that was trained"
            f" without it (seed {self.settings.seed})."
        )

    def unchanged(self, sha256: Mapping[str, str]) -> Predictions:
        """The predictions of pictures that have the same content in `sha256` (by key) as at the training."""
        trained = self.split.sha256
        return self.predictions.part(
            [row for row, key in enumerate(self.predictions.ids) if sha256.get(key) == trained[key]]
        )

    def label_errors(self, predictions: Predictions | None = None) -> LabelErrors:
        """The labels that the runs doubt, of some of the predictions (None: all)."""
        judged = self.predictions if predictions is None else predictions
        return find_label_errors(judged.ids, judged.labels, judged.probabilities, self.classes, self.how)


def read_cross_validation(folder: Path) -> CrossValidation:
    """Read the runs of the cross-validation in `folder`.

    Raises:
        UserError: there is none, a fold's run is missing, unfinished, unreadable, or of other settings or pictures.
    """
    first = _read_fold(folder, 1)
    runs = [first, *(_read_fold(folder, fold) for fold in range(2, first.settings.folds + 1))]
    for run in runs[1:]:
        if _identity(run) != _identity(first):
            raise UserError(
                f"{run.folder}: is of other settings or pictures than {first.folder}: a cross-validation needs one"
                " configuration. Train it again into another --output-dir"
            )
    return CrossValidation(folder, tuple(runs))


def _read_fold(parent: Path, fold: int) -> FoldRun:
    folder = fold_folder(parent, fold)
    run = read_run_file(folder)
    if run is None:
        found = sorted(path.name for path in parent.glob("fold*")) if parent.is_dir() else []
        lacks = f"no run in fold{fold}; it has {', '.join(found)}" if found else "no cross-validation is there"
        raise UserError(f"{parent}: {lacks}. Train it with flowerml train --folds 5 --output-dir {parent}")
    if run.status != "FINISHED":
        raise UserError(f"{folder}: its run is {run.status}: repeat the command that started it, which goes on with it")
    settings = settings_from_json(_read_json(folder / "settings.json").get("settings", {}))
    split = Split.from_json(_read_json(folder / "split.json"))
    if settings.fold != fold or split.fold != fold:
        raise UserError(f"{folder}: its run held out {_held_out(settings)}, not fold {fold}")
    table = read_predictions(folder / "predictions.csv")
    if table is None or set(table.images) != set(split.val):
        raise UserError(f"{folder / 'predictions.csv'}: is missing, or not of the pictures that the run held out")
    return FoldRun(fold, folder, run, settings, split, table)


def _held_out(settings: Settings) -> str:
    return f"fold {settings.fold} of {settings.folds}" if settings.folds else f"a share of {settings.val_split:g}"


def _identity(run: FoldRun) -> dict[str, Any]:
    """What all folds of a cross-validation have in common."""
    stored = dict(_read_json(run.folder / "settings.json").get("identity", {}))
    return {
        **stored,
        "split": run.split.folds_digest,
        "seed": run.settings.seed,
        "folds": run.settings.folds,
        "classes": run.table.classes,
    }


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: can't be read ({type(error).__name__})") from error
    if not isinstance(content, dict):
        raise UserError(f"{path}: is not a JSON object")
    return content
