"""A campaign on a real Ray cluster of two nodes on this machine, one of which goes down in the middle of a phase."""

from importlib.util import find_spec

import pytest

from flowerml.campaign.service import run_campaign
from flowerml.campaign.status import CampaignStatus, RunStatus
from flowerml.errors import UserError
from tests.campaign.campaigns import TINY, options, runs_at_mlflow
from tests.campaign.plans import changed, plan_of

# Not importorskip: both test processes would import it (seconds) while they collect.
pytestmark = pytest.mark.skipif(find_spec("ray") is None, reason="ray is not installed")

# Runs that last longer than a second place takes to come up (its imports), so that a node can go down under one of two.
LONG = changed(
    "defaults: {weights: none, epochs: 2,",
    "defaults: {weights: none, epochs: 120, patience: 0,",
    TINY[: TINY.index("  C:\n")],
)


@pytest.fixture
def cluster(monkeypatch):
    import ray
    from ray.cluster_utils import Cluster

    monkeypatch.setenv("RAY_DISABLE_IMPORT_WARNING", "1")
    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    nodes = [made.add_node(num_cpus=1) for _ in range(2)]
    yield made, nodes
    ray.shutdown()
    made.shutdown()


class TakesDown:
    """Watches the campaign, and takes a node down once both runs of phase B have made some epochs."""

    def __init__(self, cluster, node):
        self.cluster, self.node, self.done = cluster, node, False
        self.together = False

    def show(self, campaign):
        runs = [run for run in campaign.runs if run.phase == "B"]
        if self.done or not all(run.status is RunStatus.RUNNING and run.epoch >= 2 for run in runs):
            return
        self.together = True
        self.cluster.remove_node(self.node, allow_graceful=False)
        self.done = True


@pytest.mark.slow
def test_runs_of_a_node_that_goes_down_go_on_at_the_other(cluster, flowers, tmp_path, capfd):
    from flowerml.campaign.execution.ray_executor import RayExecutor

    made, nodes = cluster
    watching = TakesDown(made, nodes[1])
    workers = RayExecutor(2, made.address)
    snapshot = run_campaign(plan_of(LONG), options(flowers, tmp_path), parallel=2, executor=workers, progress=watching)
    assert watching.together, "both runs of the phase ran at the same time"
    assert snapshot.status is CampaignStatus.FINISHED
    assert [run.status for run in snapshot.runs] == [RunStatus.FINISHED] * 3
    assert {name: len(runs) for name, runs in runs_at_mlflow("train").items()} == {"B1": 1, "B2": 1}
    logs = [(tmp_path / "runs" / snapshot.id / "logs" / f"{name}.log").read_text() for name in ("B1", "B2")]
    assert sum("it goes on after" in log for log in logs) == 1, "exactly one was lost, and went on from its checkpoint"
    assert [run.epoch for run in snapshot.runs] == [1, 120, 120]
    assert capfd.readouterr().out == "", "stdout is for the result: --json prints one object there"


def test_an_address_without_a_cluster_is_one_line():
    from flowerml.campaign.execution.ray_executor import RayExecutor

    with pytest.raises(UserError, match=r"--ray-address 127\.0\.0\.1:1: no Ray cluster there"):
        RayExecutor(2, "127.0.0.1:1")
