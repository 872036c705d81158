"""A combination of runs as an MLflow run of its own."""

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from flowerml.evaluation.metrics import Scores
from flowerml.events import Artifact, Metrics, Recorder, Tags
from flowerml.runs.lifecycle.run_owner import run_id_of
from flowerml.runs.lifecycle.termination import finalize_status
from flowerml.runs.outputs.kept_epochs import run_folder_of
from flowerml.runs.soup.evaluator import FILES
from flowerml.runs.soup.ingredients import Ingredient
from flowerml.tasks import task_for


class Combination(Protocol):
    """What is recorded: a soup, or a point between two runs."""

    @property
    def folder(self) -> Path:
        """Where its files are."""

    @property
    def scores(self) -> Scores:
        """Of all validation pictures."""

    @property
    def first(self) -> Ingredient:
        """The ingredient whose settings and split it has."""

    @property
    def combined(self) -> tuple[Path, ...]:
        """The files of the weights in it."""

    def as_metrics(self) -> dict[str, float]:
        """What it brought."""


def record_combination(made: Combination, open_run: Callable[[str, str], Recorder]) -> str:
    """Record a combination with its files in an MLflow run; returns its id. `open_run` takes an experiment and a name.

    Raises:
        UserError: the tracking server can't be reached.
    """
    spec, settings = made.first.checkpoint.spec, made.first.settings
    recorder = open_run(settings.experiment or task_for(spec).name, f"combine runs of {spec.name}")
    with finalize_status(recorder):
        folders = list(dict.fromkeys(run_folder_of(path) for path in made.combined))
        tags = {
            "flowerml.family": str(spec.family),
            "flowerml.model": spec.name,
            "flowerml.split_digest": str((made.first.checkpoint.split or {}).get("digest", "")),
            "flowerml.combined_runs": ",".join(run_id_of(folder) or str(folder) for folder in folders),
        }
        recorder.record(Tags({name: text for name, text in tags.items() if text}))
        recorder.record(Metrics({**made.as_metrics(), **validation_metrics(made.scores)}))
        for name in FILES:
            if (made.folder / name).is_file():
                recorder.record(Artifact(made.folder / name))
    return recorder.run_id


def validation_metrics(scores: Scores) -> dict[str, float]:
    """Scores under the names that a training run has them under."""
    return {
        "best_val_accuracy": scores.accuracy,
        "best_val_macro_f1": scores.macro_f1,
        "best_val_mean_recall": scores.mean_recall,
    }
