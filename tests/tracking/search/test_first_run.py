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


@pytest.mark.parametrize(
    ("module", "open_run", "kind"),
    [(campaigns, campaigns.open_campaign, "campaign"), (sweeps, sweeps.open_sweep, "sweep")],
)
def test_a_run_that_was_there_alone_stays_although_the_other_began_earlier(made, monkeypatch, module, open_run, kind):
    """A slow command: its run has an earlier start, and comes to the server once the other has looked."""
    find_experiment, create, first = module.get_or_create_experiment, MlflowClient.create_run, []

    def begun_early(client, experiment_id, start_time=None, *more, **named):
        return create(client, experiment_id, 1, *more, **named)

    def be_overtaken(*args):
        monkeypatch.setattr(module, "get_or_create_experiment", find_experiment)
        first.append(open_run("c-1", "name", "flowers", {}).recorder.run_id)
        monkeypatch.setattr(MlflowClient, "create_run", begun_early)
        return find_experiment(*args)

    monkeypatch.setattr(module, "get_or_create_experiment", be_overtaken)
    monkeypatch.setattr(campaigns, "_RACE_S", 0.3)
    assert open_run("c-1", "name", "flowers", {}).recorder.run_id == first[0]
    client = MlflowClient()
    (experiment,) = [found for found in client.search_experiments() if found.name == "flowers"]
    (left,) = client.search_runs([experiment.experiment_id], f"tags.`flowerml.kind` = '{kind}'")
    assert left.info.run_id == first[0]
