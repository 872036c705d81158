"""A sweep in a storm ends as one that was left alone: the same trials, values and weights, and one run for each."""

import json
import os
import subprocess
import sys
import time

import optuna
import pytest
from mlflow.tracking import MlflowClient
from optuna.trial import TrialState

from flowerml.sweep.trials import requested_trials
from tests.chaos.storm import LEASE_S, LONGEST_S, Storm, clock_of, weights_digest
from tests.chaos.test_campaign import disk, server
from tests.sweep.commands import sweep_args

__all__ = ["disk", "server"]

SEEDS = [int(text) for text in os.environ.get("CHAOS_SWEEP_SEEDS", "1").split(",")]
TRIALS = 8
EVENTS = 6  # a trial whose process has died three times is given up


class StormySweep:
    """The command with two workers, at a server of its own, with a study of its own in the same folder."""

    def __init__(self, folder, flowers, server):
        folder.mkdir()
        self.folder, self.clock, self.address = folder, folder / "clock.txt", server.address
        self.storage = f"sqlite:///{folder / 'sweeps.db'}"
        more = [*("--study", "s", "--storage", self.storage, "--heartbeat-seconds", "2", "--pruner", "none")]
        more += [*("--space", "grid", "--trials", str(TRIALS), "--workers", "2", "--epochs", "3")]
        more += [*("--lease-seconds", str(LEASE_S), "--checkpoint-every-steps", "1")]
        self.words = [sys.executable, "-m", "flowerml.cli.main", *sweep_args(flowers, folder / "runs", *more)]
        self.environment = {**os.environ, **clock_of(self.clock), "MLFLOW_TRACKING_URI": server.address}

    def start(self):
        with (self.folder / "err.txt").open("a") as err:
            return subprocess.Popen(
                self.words, cwd=self.folder, env=self.environment, stdout=subprocess.DEVNULL, stderr=err
            )

    def said(self):
        return (self.folder / "err.txt").read_text()[-3000:]

    def result(self):
        """Of each trial, by its settings: the value, the value of each epoch, and the sha256 of its weights."""
        trials = requested_trials(optuna.load_study(study_name="s", storage=self.storage).trials)
        assert {trial.state for trial in trials.values()} == {TrialState.COMPLETE}, self.said()
        found = {}
        for number, trial in trials.items():
            (path,) = self.folder.glob(f"runs/s-trial-{number:04d}/best.pth")
            settings = json.dumps(trial.params, sort_keys=True)
            found[settings] = (trial.value, trial.intermediate_values, weights_digest(path))
        assert len(found) == TRIALS
        return found

    def assert_counted_once(self):
        """One MLflow run for each trial and one for the sweep, all FINISHED, and no point of a curve twice."""
        client = MlflowClient(tracking_uri=self.address)
        runs = client.search_runs([one.experiment_id for one in client.search_experiments()])
        assert {run.info.status for run in runs} == {"FINISHED"}
        kinds = [run.data.tags["flowerml.kind"] for run in runs]
        assert (kinds.count("trial"), kinds.count("sweep"), len(runs)) == (TRIALS, 1, TRIALS + 1)
        for run in runs:
            if run.data.tags["flowerml.kind"] == "trial":
                history = client.get_metric_history(run.info.run_id, "train_loss")
                points = sorted(point.step for point in history)  # by time there, and a storm sets the clock back
                assert points == [1, 2, 3], run.info.run_name


@pytest.mark.slow
@pytest.mark.repeats  # the campaign's storm has the same events
@pytest.mark.parametrize("seed", SEEDS)
def test_a_storm_changes_nothing(flowers, tmp_path, server, disk, seed, capsys):
    calm_server, stormy_server = server("calm"), server("stormy")
    calm = StormySweep(tmp_path / "alone", flowers, calm_server)
    begun = time.monotonic()
    assert calm.start().wait(LONGEST_S) == 0, calm.said()
    calm_s = time.monotonic() - begun

    root = (disk or tmp_path) / "storm"
    stormy = StormySweep(root, flowers, stormy_server)
    storm = Storm(seed, EVENTS, stormy_server, root, stormy.clock, disk)
    starts, stormy_s = storm.last_until_the_end(stormy)

    assert stormy.result() == calm.result()
    stormy.assert_counted_once()
    with capsys.disabled():
        print(
            f"\nsweep, seed {seed}: {storm.summary()}, {starts} starts;"
            f" {calm_s:.0f} s calm, {stormy_s:.0f} s in the storm; all equal"
        )
