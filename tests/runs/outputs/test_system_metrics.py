"""The machine's usage while a run works: recorded in the background, with MLflow's names, and never in its way."""

import time

import pytest
import torch

from flowerml.errors import UserError
from flowerml.events import MemoryRecorder, Metrics
from flowerml.process.system_usage import SystemUsage
from flowerml.runs.outputs.system_metrics import _interval_s, system_metrics

CPU = torch.device("cpu")


@pytest.fixture
def often(monkeypatch):
    monkeypatch.setattr("flowerml.runs.outputs.system_metrics._interval_s", lambda: 0.01)


def record(recorder, attempt=1):
    with system_metrics(recorder, CPU, attempt):
        until = time.monotonic() + 30
        while len(recorder.events) < 2 and time.monotonic() < until:
            time.sleep(0.01)


def test_samples_have_the_names_of_mlflows_page(often):
    recorder = MemoryRecorder()
    record(recorder)
    first = recorder.events[0]
    assert isinstance(first, Metrics)
    assert first.values.keys() == {
        "system/cpu_utilization_percentage",
        "system/system_memory_usage_megabytes",
        "system/system_memory_usage_percentage",
        "system/run_memory_usage_megabytes",
    }
    assert (
        10
        < first.values["system/run_memory_usage_megabytes"]
        < first.values["system/system_memory_usage_megabytes"] * 2
    )


def test_a_later_attempt_goes_on_after_an_earlier_one(often):
    """MLflow keeps one value of a step: an attempt that began at 0 again would lose its samples."""
    recorder = MemoryRecorder()
    record(recorder, attempt=3)
    assert all(2_000_000 <= event.step < 2_000_100 for event in recorder.events)


def test_nothing_is_recorded_after_the_run(often):
    recorder = MemoryRecorder()
    record(recorder)
    count = len(recorder.events)
    time.sleep(0.05)
    assert len(recorder.events) == count


def test_a_recorder_that_fails_ends_the_samples_and_not_the_run(often):
    class Full(MemoryRecorder):
        def record(self, event):
            self.events.append(event)
            raise UserError("the disk is full")

    recorder = Full()
    with system_metrics(recorder, CPU, 1):
        time.sleep(0.2)
    assert len(recorder.events) == 1


def test_a_gpu_that_the_driver_does_not_know_is_left_out():
    assert not any("gpu" in name for name in SystemUsage("GPU-no-such-device").read())


@pytest.mark.parametrize(
    ("enabled", "interval", "seconds"),
    [("", "", 10), ("true", "30", 30), ("true", "0.1", 1), ("", "soon", 10), ("false", "", None), ("0", "30", None)],
)
def test_mlflows_own_variables_count(monkeypatch, enabled, interval, seconds):
    monkeypatch.setenv("MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING", enabled)
    monkeypatch.setenv("MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL", interval)
    assert _interval_s() == seconds
