"""The run of a campaign or sweep that two commands make at the same time: the older one is it, for both."""

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
from mlflow.tracking import MlflowClient

import flowerml.tracking.search.campaigns as campaigns
import flowerml.tracking.search.sweeps as sweeps


@pytest.mark.parametrize(
    ("module", "open_run", "kind"),
    [(campaigns, campaigns.open_campaign, "campaign"), (sweeps, sweeps.open_sweep, "sweep")],
)
def test_commands_that_start_at_once_share_one_run(made, monkeypatch, module, open_run, kind):
    barrier = Barrier(2, timeout=60)  # both have looked, and found none, before either creates its run
    find_experiment = module.get_or_create_experiment

    def find_together(*args):
        barrier.wait()
        return find_experiment(*args)

    monkeypatch.setattr(module, "get_or_create_experiment", find_together)
    with ThreadPoolExecutor(2) as threads:
        opened = [threads.submit(open_run, "c-1", "name", "flowers", {}) for _ in range(2)]
        ids = {one.result().recorder.run_id for one in opened}
    client = MlflowClient()
    (experiment,) = [found for found in client.search_experiments() if found.name == "flowers"]
    (left,) = client.search_runs([experiment.experiment_id], f"tags.`flowerml.kind` = '{kind}'")
    assert left.info.run_id in ids
    assert open_run("c-1", "name", "flowers", {}).recorder.run_id == left.info.run_id
