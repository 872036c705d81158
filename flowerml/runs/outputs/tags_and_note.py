"""A run's tags, by which it is found, and its description in the MLflow UI."""

import subprocess
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from flowerml.evaluation.metrics import MANY_CLASSES, Scores, worst_classes
from flowerml.models import frozen_backbones
from flowerml.models.resources.cost import multiply_adds
from flowerml.runs.prepare import Prepared
from flowerml.text import escape_markdown
from flowerml.training.callbacks import TrainingResult
from flowerml.training.length.run_length import RunLength


def run_tags(run: Prepared) -> dict[str, str]:
    """The run's `flowerml.*` tags, known before training."""
    return {
        # Without validation there is nothing to rank by: such a run is a final one.
        "flowerml.kind": "train" if run.settings.val_split > 0 else "final",
        "flowerml.family": str(run.spec.family),
        "flowerml.task": run.task.name,
        "flowerml.model": run.settings.model,
        "flowerml.parameters": str(run.built.parameters),
        "flowerml.multiply_adds": str(_multiply_adds(run)),
        "flowerml.config_id": run.shared_config_id,
        "flowerml.seed": str(run.settings.seed),
        "flowerml.data_digest": run.digests.data,
        "flowerml.split_digest": run.shared_split_digest,
        "flowerml.classes": ",".join(run.data.classes),
        **(
            {"flowerml.fold": str(run.settings.fold), "flowerml.folds": str(run.settings.folds)}
            if run.settings.folds
            else {}
        ),
        **_git_tags(),
    }


def _multiply_adds(run: Prepared) -> int:
    model = run.built.model
    count = partial(multiply_adds, model, model.example_inputs(run.built.description.size))
    return frozen_backbones.remember(model.backbone, f"multiply_adds, {len(run.data.classes)} classes", count)


def final_tags(outcome: TrainingResult, scores: Scores | None) -> dict[str, str]:
    """Tags known at the end: why it ended, hits of the best epoch (for the selection), epochs of plateau rate cuts."""
    counted = {} if scores is None else {"flowerml.val_hits": str(scores.hits), "flowerml.val_total": str(scores.total)}
    cuts = {"flowerml.rates_cut_after": ",".join(map(str, outcome.cuts))} if outcome.cuts else {}
    return {"flowerml.ended": outcome.stop_cause, **counted, **cuts}


def run_description(run: Prepared, outcome: TrainingResult, scores: Scores | None, test: Scores | None) -> str:
    """The run in Markdown, for `mlflow.note.content`."""
    settings, fitted = run.settings, outcome.length
    length = fitted.in_epochs if fitted is not None else str(settings.epochs)
    model, pictures = escape_markdown(settings.model), len(run.data.train)
    lines = [f"**{model}** on {pictures} training pictures of {_names(run.data.classes)}.", ""]
    if scores is not None and outcome.best is not None:
        low, high = scores.interval
        first = f"Mean recall **{scores.mean_recall:.2%}**. " if run.task.headline == "mean_recall" else ""
        lines += [
            (
                f"{first}Validation accuracy **{scores.accuracy:.2%}** ({scores.hits} of {scores.total}; 95 % interval"
                f" {low:.2%} to {high:.2%}), macro-F1 **{scores.macro_f1:.4f}**, at epoch {outcome.best.epoch} of"
                f" {length} ({outcome.stop_cause})."
            ),
            "",
            "| class | precision | recall | 95 % interval | F1 | n |",
            "|---|---:|---:|---:|---:|---:|",
            *map(_class_row, scores.per_class if len(scores.classes) <= MANY_CLASSES else worst_classes(scores)),
        ]
    else:
        lines.append(
            f"Trained on everything, without validation; {len(outcome.history)} epochs ({outcome.stop_cause})."
        )
    if test is not None:
        low, high = test.interval
        lines += [
            "",
            (
                f"On the untouched test folder: **{test.accuracy:.2%}** ({test.hits} of {test.total}; {low:.2%} to"
                f" {high:.2%})."
            ),
        ]
    if fitted is not None and settings.max_minutes:
        lines += ["", f"{fitted.total} steps fitted the time limit; to repeat the run: {repeat_flags(fitted)}."]
    lines += [
        "",
        (
            f"Configuration `{run.shared_config_id[:8]}`, seed {settings.seed}, split `{run.shared_split_digest[:8]}`"
            f"{fold_in_words(run)}, weights {escape_markdown(describe_weights(run))}."
        ),
        f"Folder {escape_markdown(str(run.folder))}.",
    ]
    return "\n".join(lines)


def repeat_flags(fitted: RunLength) -> str:
    """The flags with which a run whose length was fitted to a time limit is repeated, the rest as it was."""
    return f"--max-minutes 0 --fitted-steps {fitted.as_text()}"


def fold_in_words(run: Prepared) -> str:
    """Which fold the run holds out, as a part of a sentence; empty without cross-validation."""
    return f", fold {run.settings.fold} of {run.settings.folds}" if run.settings.folds else ""


def _names(classes: Sequence[str]) -> str:
    shown = ", ".join(map(escape_markdown, classes[:MANY_CLASSES]))
    return shown if len(classes) <= MANY_CLASSES else f"{len(classes)} classes ({shown}, …)"


def _class_row(row: Mapping[str, Any]) -> str:
    interval = row["recall_interval_95"]
    shown = "–" if interval is None else f"{interval[0]:.3f} to {interval[1]:.3f}"
    return (
        f"| {escape_markdown(row['class'])} | {row['precision']:.3f} | {row['recall']:.3f} | {shown} |"
        f" {row['f1']:.3f} | {row['support']} |"
    )


def describe_weights(run: Prepared) -> str:
    """The initial weights in words."""
    words = {"hub": run.digests.weights, "none": "none (random start)"}
    return words.get(run.settings.weights, f"{Path(run.settings.weights).name} (sha256 {run.digests.weights[:8]})")


def _git_tags() -> dict[str, str]:
    """Git commit of the code and whether the tree was dirty; empty where it is no git checkout."""
    root = Path(__file__).resolve().parents[3]

    def git(*words: str) -> str | None:
        try:
            done = subprocess.run(
                ["git", "-C", str(root), *words], capture_output=True, text=True, timeout=10, check=False
            )
        except (OSError, subprocess.TimeoutExpired):
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    commit, changes = git("rev-parse", "HEAD"), git("status", "--porcelain", "--untracked-files=no")
    if commit is None:
        return {}
    return {"flowerml.git_commit": commit, "flowerml.git_dirty": "true" if changes else "false"}
