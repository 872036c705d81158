"""A campaign whose processes are killed with SIGKILL at random moments, again and again, ends as one that was left
alone.
"""

import json
import os
import random
import shutil
import subprocess
import sys
import time

import psutil
import pytest
from mlflow.tracking import MlflowClient

from tests.campaign.campaigns import TINY

SEED = int(os.environ.get("FLOWERML_TEST_SEED", "6"))


class Command:
    """`flowerml campaign` in a folder of its own, with a store of its own."""

    def __init__(self, folder, flowers):
        folder.mkdir()
        (folder / "plan.yaml").write_text(TINY)
        self.folder = folder
        self.words = [
            sys.executable,
            "-m",
            "flowerml.cli.main",
            "campaign",
            "--plan",
            "plan.yaml",
            "--train-dir",
            str(flowers),
        ]
        self.words += ["--output-dir", "out", "--json"]
        self.environment = {**os.environ, "MLFLOW_TRACKING_URI": f"sqlite:///{folder / 'mlflow.db'}"}

    def start(self):
        with (self.folder / "out.json").open("w") as out, (self.folder / "err.txt").open("a") as err:
            return subprocess.Popen(self.words, cwd=self.folder, env=self.environment, stdout=out, stderr=err)

    def to_the_end(self):
        assert self.start().wait(1800) == 0, (self.folder / "err.txt").read_text()[-3000:]
        return json.loads((self.folder / "out.json").read_text())


def kill(process, *, everything):
    """The runner alone, whose runs then notice it; or with them, as when a machine goes down."""
    family = psutil.Process(process.pid).children(recursive=True) if everything else []
    process.kill()
    for one in family:
        try:
            one.kill()
        except psutil.NoSuchProcess:
            continue
    process.wait()


def table(command, result):
    return (command.folder / result["folder"] / "table.md").read_text()


def outcome(result):
    """What must not depend on what happened on the way."""
    runs = {
        name: {key: run[key] for key in ("status", "config_id", "seed", "accuracy", "macro_f1", "best_epoch")}
        for name, run in result["runs"].items()
    }
    return result["campaign"], result["chosen"], runs


@pytest.mark.slow
@pytest.mark.repeats  # tests/chaos has kills among other faults
@pytest.mark.parametrize("count", [3, 10])
def test_kills_change_nothing(flowers, tmp_path, count):
    alone, killed = Command(tmp_path / "alone", flowers), Command(tmp_path / "killed", flowers)
    begun = time.monotonic()
    undisturbed = alone.to_the_end()
    took = time.monotonic() - begun
    draw, kills = random.Random(SEED), 0
    while kills < count:
        process = killed.start()
        try:
            # Far enough, on the average, that something is done between two kills, however fast the machine is.
            code = process.wait(draw.uniform(0.1 * took, 0.5 * took))
        except subprocess.TimeoutExpired:
            kill(process, everything=draw.random() < 0.5)
            kills += 1
        else:
            assert code == 0, (killed.folder / "err.txt").read_text()[-3000:]
            shutil.rmtree(killed.folder)  # it came to its end: another one takes the kills that are left
            killed = Command(tmp_path / "killed", flowers)
    survived = killed.to_the_end()
    assert outcome(survived) == outcome(undisturbed)
    assert table(killed, survived) == table(alone, undisturbed)
    assert_counted_once(killed, survived)


def assert_counted_once(command, result):
    """One MLflow run for each run of the plan, in its final state, and no point of a curve twice."""
    client = MlflowClient(tracking_uri=command.environment["MLFLOW_TRACKING_URI"])
    found = client.search_runs([one.experiment_id for one in client.search_experiments()])
    names = sorted(run.data.tags["flowerml.plan_run"] for run in found if "flowerml.plan_run" in run.data.tags)
    assert names == sorted(result["runs"])
    kinds = [run.data.tags["flowerml.kind"] for run in found]
    assert (kinds.count("campaign"), kinds.count("select"), len(found)) == (1, 3, len(names) + 4)
    assert {run.info.status for run in found} == {"FINISHED"}
    for run in found:
        if run.data.tags["flowerml.kind"] in ("train", "smoke", "final"):
            history = client.get_metric_history(run.info.run_id, "train_loss")
            points = sorted(point.step for point in history)  # by time there, and a storm sets the clock back
            assert points == sorted(set(points)), run.info.run_name
