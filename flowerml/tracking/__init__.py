"""The one door to MLflow."""

from flowerml.tracking.queries import RunRecord, create_experiment, runs_of_kind
from flowerml.tracking.recorder import MlflowRecorder
from flowerml.tracking.start import KIND, NOTE, note_failure, start_child, start_run

__all__ = [
    "KIND",
    "NOTE",
    "MlflowRecorder",
    "RunRecord",
    "create_experiment",
    "note_failure",
    "runs_of_kind",
    "start_child",
    "start_run",
]
