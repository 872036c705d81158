"""System metrics of a run: CPU, memory and GPU, recorded in the background while it works."""

import logging
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import torch

from flowerml.errors import UserError
from flowerml.events import Metrics, Recorder
from flowerml.process.background_thread import background_thread
from flowerml.process.system_usage import SystemUsage

logger = logging.getLogger(__name__)

# MLflow's own variables; there they are off unless asked for.
_ENABLED, _INTERVAL = "MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING", "MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL"
_DEFAULT_INTERVAL_S = 10.0
_ATTEMPT_STEPS = 1_000_000  # seconds: steps of an attempt begin where no earlier attempt has got to


@contextmanager
def system_metrics(recorder: Recorder, device: torch.device, attempt: int) -> Iterator[None]:
    """Context in which the machine's usage is recorded every 10 s; the step is the number of seconds in this attempt.

    MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL sets the seconds, MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING=false leaves it out.
    A sample takes milliseconds, whatever the interval.
    """
    interval = _interval_s()
    if interval is None:
        yield
        return
    with background_thread(partial(_record, recorder, device, attempt, interval), "system metrics", wait_s=5):
        yield


def _interval_s() -> float | None:
    """Seconds between two samples; None for no samples."""
    if os.environ.get(_ENABLED, "").strip().lower() in ("false", "0"):
        return None
    try:
        return max(1.0, float(os.environ.get(_INTERVAL, "")))
    except ValueError:
        return _DEFAULT_INTERVAL_S


def _record(recorder: Recorder, device: torch.device, attempt: int, interval: float, ended: threading.Event) -> None:
    usage = SystemUsage(f"GPU-{torch.cuda.get_device_properties(device).uuid}" if device.type == "cuda" else None)
    started = time.monotonic()
    while not ended.wait(interval):
        step = (attempt - 1) * _ATTEMPT_STEPS + round(time.monotonic() - started)
        try:
            recorder.record(Metrics(usage.read(), step=step))
        except (UserError, OSError) as error:  # a full disk or a lost lease: the training itself tells of it
            logger.debug(f"no more system metrics: {error}")
            return
