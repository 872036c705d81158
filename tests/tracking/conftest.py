"""Runs with a journal, as a training starts them."""

import pytest

from flowerml.tracking import start_run


@pytest.fixture
def start(tmp_path):
    """Starts a run, each in the next attempt's folder of `run`; what was not ended stops with the test."""
    begun = []

    def start(settings, experiment, run_name, previous=None):
        attempt = tmp_path / "run" / "attempts" / f"{len(begun) + 1:04d}"
        begun.append(start_run(settings, experiment, run_name, attempt, previous))
        return begun[-1]

    yield start
    for recorder in begun:
        recorder.abandon()
