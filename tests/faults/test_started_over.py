"""Fault 18: a run is started over while the server is away. MLflow then has it as it is now, and nothing else of it."""

import csv
import hashlib
import signal
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient

from flowerml.journal import find_journals, read_delivered
from tests.faults.support.servers import OF_THE_MOMENT, ServerProcess, all_runs, assert_delivered, sync

pytestmark = pytest.mark.slow
SHORT = {"epochs": 2, "freeze_backbone_epochs": 0}


def digest(path):
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def served_files(client, run_id, into):
    """The sha256 of a run's files at the server, by path."""
    root = Path(client.download_artifacts(run_id, "", str(into)))
    return {str(path.relative_to(root)): digest(path) for path in sorted(root.rglob("*")) if path.is_file()}


def lasting_metrics(run):
    """Names of a run's metrics, without those of the moment, and of the system, which only a run of seconds has."""
    return {name for name in run.data.metrics if name not in OF_THE_MOMENT and not name.startswith("system/")}


def assert_as_it_is_now(tally, client, folder, whole, into):
    """The run in MLflow has the epochs and the files of its folder, and as many of everything as the run `whole`."""
    run_id = assert_delivered(tally, client, folder)
    with (folder / "history.csv").open() as handle:
        rows = list(csv.DictReader(handle))
    for name in ("train_loss", "val_loss", "val_accuracy", "images_per_second"):
        points = [(point.step, point.value) for point in client.get_metric_history(run_id, name)]
        assert points == [(int(row["epoch"]), float(row[name])) for row in rows]
    files, others = served_files(client, run_id, into), served_files(client, whole, into.with_name("whole"))
    assert files == {name: digest(folder / name) for name in files}
    assert files.keys() == others.keys()
    run, other = client.get_run(run_id), client.get_run(whole)
    assert len(run.inputs.dataset_inputs) == len(other.inputs.dataset_inputs)
    assert len(run.outputs.model_outputs) == len(other.outputs.model_outputs) == 1
    assert lasting_metrics(run) == lasting_metrics(other)
    assert run.data.tags.keys() == other.data.tags.keys()


@pytest.mark.fault("18 started over while the server is away")
def test_the_server_gets_the_run_as_it_is_now(tally, nursery, pictures, tmp_path):
    """Cut off before its first checkpoint, with --resume never, with --overwrite: also of a run that the server has."""
    server = ServerProcess(tmp_path)
    client = MlflowClient(tracking_uri=server.address)
    runs = tmp_path / "runs"

    def start(name, fault=None, **changes):
        return nursery.start(pictures, runs / name, fault, store=server.address, **{**SHORT, **changes})

    def assert_end(child, code):
        assert child.wait(200) == code, child.log()

    longer = {"epochs": 3, "seed": 12}
    again = {"cut off": {}, "never": {"resume": "never"}, "over": {"overwrite": True}, "met": {"overwrite": True}}
    try:
        with tally.trial():
            for child in (start("whole"), start("met", **longer)):
                assert_end(child, 0)
            first = {name: read_delivered(find_journals(runs / name)[-1]).run_id for name in ("whole", "met")}
            weights = digest(runs / "met" / "best.pth")
            server.down()
            cut = start("cut off", {"kill_after_step": 2})
            never, over = start("never", {"kill_after_step": 15}), start("over", **longer)
            for child, code in ((cut, -signal.SIGKILL), (never, -signal.SIGKILL), (over, 0)):
                assert_end(child, code)
            for child in [start(name, **changes) for name, changes in again.items()]:
                assert_end(child, 0)
            server.up()
            assert sync(server.address, "--all", "--runs-root", str(runs)).returncode == 0
            for name in again:
                assert_as_it_is_now(tally, client, runs / name, first["whole"], tmp_path / name)
            earlier = [run for run in all_runs(client) if run.info.run_name in again]
            by_status = sorted((run.info.run_name, run.info.status) for run in earlier)
            finished = [(name, "FINISHED") for name in again]
            before = [("never", "KILLED"), ("over", "FINISHED"), ("met", "FINISHED")]
            assert by_status == sorted(finished + before)
            assert served_files(client, first["met"], tmp_path / "first")["best.pth"] == weights
    finally:
        server.down()
