"""The one door to MLflow."""

from flowerml.tracking.candidates import TrackedRuns
from flowerml.tracking.queries import RunRecord, create_experiment, runs_of_kind
from flowerml.tracking.recorder import MlflowRecorder
from flowerml.tracking.registered import Fetched, fetch_registered
from flowerml.tracking.registry import REGISTERED, Registration, register
from flowerml.tracking.start import KIND, NOTE, note_failure, start_child, start_run

__all__ = [
    "KIND",
    "NOTE",
    "REGISTERED",
    "Fetched",
    "MlflowRecorder",
    "Registration",
    "RunRecord",
    "TrackedRuns",
    "create_experiment",
    "fetch_registered",
    "note_failure",
    "register",
    "runs_of_kind",
    "start_child",
    "start_run",
]
