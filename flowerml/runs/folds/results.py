"""What a cross-validation found: scores over every picture, the labels it doubts, and its own run in MLflow."""

import json
import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from flowerml.data.decode import BadImage
from flowerml.errors import UserError, one_line
from flowerml.evaluation.labels.label_errors import LabelError, LabelErrors
from flowerml.evaluation.labels.next_pictures import class_needs, confused_pairs, find_uncertain_pictures
from flowerml.evaluation.metrics import Predictions, format_scores
from flowerml.events import Artifact, Metrics, Params, Recorder, Tags
from flowerml.files import write_json, write_text
from flowerml.optional_files import try_to_make, write_optional
from flowerml.reporting.next_pictures_page import next_pictures_page
from flowerml.reporting.thumbnail import thumbnail_jpeg
from flowerml.runs.folds.out_of_fold import FILE, CrossValidation
from flowerml.runs.lifecycle.termination import finalize_status
from flowerml.runs.outputs.artifacts import write_evaluation
from flowerml.settings import find_model
from flowerml.settings.serialization import as_params
from flowerml.tasks import Task
from flowerml.text import csv_text

logger = logging.getLogger(__name__)

FORMAT = "flowerml-folds-1"
PAGE = "next_pictures.html"
TABLE = "next_pictures.csv"
_SHOWN = 60  # pictures of each kind on the page
_OWN_SETTINGS = ("fold", "output_dir", "run_name")  # of each fold's run


@dataclass(frozen=True)
class FoldsReport:
    """A cross-validation with the labels that it doubts; `run_id` is its own MLflow run's, "" where it has none.

    `label_errors` is None where the task says that its labels are not doubted.
    """

    found: CrossValidation
    label_errors: LabelErrors | None
    run_id: str = ""

    @property
    def page(self) -> Path | None:
        """The page of pictures to look at next; None where no labels are doubted."""
        return None if self.label_errors is None else self.found.folder / PAGE

    def as_json(self) -> dict[str, Any]:
        """Plain values, as in `folds.json`."""
        found, scores = self.found, self.found.scores
        rows = [(run, run.scores) for run in found.runs]
        return {
            "format": FORMAT,
            "run_id": self.run_id,
            "model": found.settings.model,
            "seed": found.settings.seed,
            "folds": len(found.runs),
            "split_digest": found.split.folds_digest,
            "data_digest": found.split.data_digest,
            "out_of_fold": scores.as_json(),
            "likely_wrong_labels": None if self.label_errors is None else dict(self.label_errors.estimated),
            "runs": [
                {
                    "fold": run.fold,
                    "run_id": run.run.run_id,
                    "folder": run.folder.name,
                    "accuracy": of_fold.accuracy,
                    "hits": of_fold.hits,
                    "total": of_fold.total,
                    "macro_f1": of_fold.macro_f1,
                    "mean_recall": of_fold.mean_recall,
                }
                for run, of_fold in rows
            ],
        }

    def as_text(self) -> str:
        """The scores for a terminal: each fold, then every example out of fold, then the labels."""
        found = self.found
        task = found.task
        by_recall = task.headline == "mean_recall"
        first = "mean recall  " if by_recall else ""
        lines = [f"fold   {first}accuracy  macro-F1       n  run"]
        for run in found.runs:
            of_fold = run.scores
            own = f"{of_fold.mean_recall:11.4f}  " if by_recall else ""
            lines.append(
                f"{run.fold:<4}   {own}{of_fold.accuracy:8.4f}  {of_fold.macro_f1:8.4f}  {of_fold.total:6d}"
                f"  {run.run.run_id}"
            )
        scores = format_scores(found.scores, task.headline)
        return "\n".join([*lines, "", f"every {task.noun}, out of fold:", scores, "", self._labels_in_words()])

    def _labels_in_words(self) -> str:
        if self.label_errors is None:
            reason = self.found.task.no_label_errors
            return f"labels are not doubted, and no page says what to look at next: {reason}"
        if self.label_errors.too_weak:
            return self.label_errors.too_weak
        wrong = {name: count for name, count in self.label_errors.estimated.items() if count}
        counted = ", ".join(f"{name} {count}" for name, count in wrong.items())
        return f"{sum(wrong.values())} labels are likely wrong ({counted})" if wrong else "no label is likely wrong"


def write_results(
    found: CrossValidation, open_run: Callable[[str, str], Recorder] | None, train_dir: Path | None = None
) -> FoldsReport:
    """Write the results beside the folds' folders and record them in a run of their own.

    Writes `folds.json`, `predictions.csv`, `per_class.json`, `confusion_matrix.json` and `.png`, `errors.html`, and of
    whole pictures `next_pictures.html` and `.csv`. `open_run` takes an experiment and a name (None: not recorded). A
    cross-validation whose very runs are recorded already is not recorded again. Where the server can't be reached, a
    warning says so.

    Raises:
        UserError: a file can't be written, or the photos are gone.
    """
    task, settings = found.task, found.settings
    root = train_dir or Path(settings.train_dir)
    report = FoldsReport(found, None if task.no_label_errors else found.label_errors(), _recorded_run(found))
    every = {example.id: example for example in task.examples(root, found.classes, None, settings)[0]}
    if missing := [key for key in found.predictions.ids if key not in every]:
        raise UserError(
            f"{root}: {len(missing)} of the {task.noun}s are not there any more, for example {one_line(missing[0])}"
        )
    title = f"{found.folder.name}, every {task.noun} by the fold that held it out"
    examples = [every[key] for key in found.predictions.ids]
    paths = write_evaluation(found.folder, title, found.predictions, found.scores, task, examples)
    if report.label_errors is not None:
        paths += _write_next_pictures(report, report.label_errors, task, root)
    if open_run is not None and not report.run_id:
        report = FoldsReport(found, report.label_errors, _record(report, open_run, paths))
    write_json(found.folder / FILE, report.as_json())
    return report


def _write_next_pictures(report: FoldsReport, label_errors: LabelErrors, task: Task, root: Path) -> list[Path]:
    """Write the page and the table of pictures to look at next; returns those that could be made."""
    table, page = report.found.folder / TABLE, report.found.folder / PAGE
    write_text(table, next_pictures_csv(report.found.predictions, label_errors))
    if write_optional(page, lambda path: write_text(path, _page(report, label_errors, task, root))):
        return [table, page]
    return [table]


def next_pictures_csv(predictions: Predictions, label_errors: LabelErrors) -> str:
    """A row per picture, those with a likely wrong label first, then by the margin of the two most probable classes."""
    likely = {row.key for rows in label_errors.by_class.values() for row in rows if row.likely_wrong}
    pictures = find_uncertain_pictures(
        predictions.ids, predictions.labels, predictions.probabilities, predictions.classes, len(predictions.ids)
    )
    own = {key: shares[label] for key, label, shares in _rows(predictions)}
    rows = [
        [
            picture.key,
            picture.label,
            "likely wrong" if picture.key in likely else "",
            f"{own[picture.key]:.6g}",
            picture.first,
            f"{picture.p_first:.6g}",
            picture.second,
            f"{picture.p_second:.6g}",
        ]
        for picture in sorted(pictures, key=lambda one: one.key not in likely)  # stable: then by margin
    ]
    head = ["image", "label", "label_is", "p_label", "first", "p_first", "second", "p_second"]
    return csv_text([head, *rows])


def _rows(predictions: Predictions) -> "zip[tuple[str, int, Any]]":
    return zip(predictions.ids, predictions.labels, predictions.probabilities, strict=True)


def _page(report: FoldsReport, label_errors: LabelErrors, task: Task, root: Path) -> str:
    predictions, scores = report.found.predictions, report.found.scores
    doubted: list[LabelError] = sorted(
        (row for rows in label_errors.by_class.values() for row in rows if row.likely_wrong),
        key=lambda row: (row.p_label - row.p_suggested, row.key),
    )
    likely = {row.key for row in doubted}
    uncertain = find_uncertain_pictures(
        predictions.ids, predictions.labels, predictions.probabilities, predictions.classes, _SHOWN + len(likely)
    )

    def thumbnail(key: str) -> bytes | None:
        try:
            picture = task.render_by_id(root, key)
        except BadImage:
            return None  # removed meanwhile
        return None if picture is None else thumbnail_jpeg(picture)

    return next_pictures_page(
        title=f"Pictures to look at next: {report.found.folder.name}",
        how=" ".join(filter(None, (label_errors.how, label_errors.too_weak))),
        needs=class_needs(scores.confusion, scores.classes),
        pairs=confused_pairs(scores.confusion, scores.classes),
        doubted=doubted[:_SHOWN],
        doubted_in_all=sum(label_errors.estimated.values()),
        uncertain=[picture for picture in uncertain if picture.key not in likely][:_SHOWN],
        thumbnail=thumbnail,
    )


def _recorded_run(found: CrossValidation) -> str:
    """The MLflow run that these very runs are recorded in; "" where there is none yet."""
    try:
        earlier = json.loads((found.folder / FILE).read_text("utf-8"))
        same = [row["run_id"] for row in earlier["runs"]] == [run.run.run_id for run in found.runs]
        return str(earlier["run_id"]) if same else ""
    except (OSError, ValueError, TypeError, KeyError):
        return ""


def _record(report: FoldsReport, open_run: Callable[[str, str], Recorder], paths: list[Path]) -> str:
    recorded = try_to_make("the cross-validation's own run in MLflow", partial(_record_run, report, open_run, paths))
    if recorded is None:
        logger.warning("repeat the command when the server answers: it trains no fold again")
    return recorded or ""


def _record_run(report: FoldsReport, open_run: Callable[[str, str], Recorder], paths: list[Path]) -> str:
    found, scores = report.found, report.found.scores
    settings = found.settings
    spec = find_model(settings.model)
    recorder = open_run(settings.experiment or found.task.name, f"{found.folder.name}, {len(found.runs)} folds")
    with finalize_status(recorder):
        recorder.record(
            Tags(
                {
                    "flowerml.family": str(spec.family),
                    "flowerml.model": settings.model,
                    "flowerml.seed": str(settings.seed),
                    "flowerml.folds": str(len(found.runs)),
                    "flowerml.data_digest": found.split.data_digest,
                    "flowerml.split_digest": found.split.folds_digest,
                    "flowerml.fold_runs": ",".join(run.run.run_id for run in found.runs),
                }
            )
        )
        params = as_params(settings)
        recorder.record(Params({name: text for name, text in params.items() if name not in _OWN_SETTINGS}))
        low, high = scores.interval
        metrics = {
            "out_of_fold_accuracy": scores.accuracy,
            "out_of_fold_accuracy_low": low,
            "out_of_fold_accuracy_high": high,
            "out_of_fold_macro_f1": scores.macro_f1,
            "out_of_fold_mean_recall": scores.mean_recall,
        }
        if report.label_errors is not None:
            metrics["likely_wrong_labels"] = float(sum(report.label_errors.estimated.values()))
        recorder.record(Metrics(metrics))
        for path in paths:
            recorder.record(Artifact(path))
    return recorder.run_id
