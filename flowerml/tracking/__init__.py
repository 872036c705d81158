"""All MLflow access; only this package imports mlflow."""

from importlib import import_module
from typing import TYPE_CHECKING

from flowerml.tracking.client.pages import where_to_look
from flowerml.tracking.client.runs import KIND, NOTE
from flowerml.tracking.delivery.reap import ClosedRun, close_stale_runs
from flowerml.tracking.delivery.start_run import note_failure, start_child_run, start_run
from flowerml.tracking.delivery.sync import (
    SyncResult,
    belongs_to_current_store,
    delivered_run_ids,
    has_pending,
    sync_folder,
)
from flowerml.tracking.environment.env_run import ignore_foreign_env_run
from flowerml.tracking.environment.experiment import default_experiment
from flowerml.tracking.recorder import JournalRecorder, MlflowRecorder
from flowerml.tracking.search.candidates import TrackedRuns
from flowerml.tracking.search.runs import RunRecord, create_experiment, runs_of_kind
from flowerml.tracking.search.training_run import TrainingRun, find_training_run

if TYPE_CHECKING:
    from flowerml.tracking.registry.fetch import FetchedVersion, fetch_registered
    from flowerml.tracking.registry.register import REGISTERED, Registration, register

__all__ = [
    "KIND",
    "NOTE",
    "REGISTERED",
    "ClosedRun",
    "FetchedVersion",
    "JournalRecorder",
    "MlflowRecorder",
    "Registration",
    "RunRecord",
    "SyncResult",
    "TrackedRuns",
    "TrainingRun",
    "belongs_to_current_store",
    "close_stale_runs",
    "create_experiment",
    "default_experiment",
    "delivered_run_ids",
    "fetch_registered",
    "find_training_run",
    "has_pending",
    "ignore_foreign_env_run",
    "note_failure",
    "register",
    "runs_of_kind",
    "start_child_run",
    "start_run",
    "sync_folder",
    "where_to_look",
]

_LAZY = {
    **dict.fromkeys(("FetchedVersion", "fetch_registered"), "registry.fetch"),
    **dict.fromkeys(("REGISTERED", "Registration", "register"), "registry.register"),
}


def __getattr__(name: str) -> object:
    """Import the registry on first use: it needs torch and MLflow's models, 5 s that most commands don't need."""
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_LAZY[name]}"), name)
