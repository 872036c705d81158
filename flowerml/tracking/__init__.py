"""The one door to MLflow."""

from flowerml.tracking.recorder import MlflowRecorder
from flowerml.tracking.start import KIND, NOTE, start_child, start_run

__all__ = ["KIND", "NOTE", "MlflowRecorder", "start_child", "start_run"]
