"""A campaign in a storm ends as one that was left alone: same table, choices, registered versions and weights."""

import json
import os
import subprocess
import time
from importlib.util import find_spec

import pytest
from mlflow.tracking import MlflowClient

from tests.campaign.campaigns import TINY
from tests.campaign.engine.test_kills import Command, assert_counted_once, outcome, table
from tests.chaos.storm import LEASE_S, SmallDisk, Storm, clock_of, weights_digest
from tests.faults.support.servers import ServerProcess
from tests.tracking.compose_server import PASSWORD, postgres
from tests.tracking.postgres_databases import new_database

__all__ = ["postgres"]

SEEDS = [int(text) for text in os.environ.get("CHAOS_SEEDS", "1").split(",")]
RAY_SEEDS = [int(text) for text in os.environ.get("CHAOS_RAY_SEEDS", "1").split(",")]
POSTGRES_SEEDS = [int(text) for text in os.environ.get("CHAOS_POSTGRES_SEEDS", "1").split(",")]
NODE_AWAY_S = 3.0
EVENTS = int(os.environ.get("CHAOS_EVENTS", "12"))
PLAN = (
    TINY.replace("device: cpu,", f"device: cpu, lease_seconds: {LEASE_S}, checkpoint_every_steps: 1,")
    + "budget: {tries: 9}\n"
)


class StormyCommand(Command):
    """The command, at a server of its own, with a folder that may be on a small disk."""

    def __init__(self, folder, flowers, server):
        super().__init__(folder, flowers)
        (folder / "plan.yaml").write_text(PLAN)
        self.clock = folder / "clock.txt"
        self.environment = {**os.environ, **clock_of(self.clock), "MLFLOW_TRACKING_URI": server.address}

    def start(self, *more):
        with (self.folder / "out.json").open("w") as out, (self.folder / "err.txt").open("a") as err:
            words = [*self.words, *more]
            return subprocess.Popen(words, cwd=self.folder, env=self.environment, stdout=out, stderr=err)

    def said(self):
        return (self.folder / "err.txt").read_text()[-3000:]


@pytest.fixture
def server(tmp_path):
    """Makes servers, and ends them."""
    made = []

    def make(name, store=None):
        folder = tmp_path / name
        folder.mkdir()
        made.append(ServerProcess(folder, store))
        return made[-1]

    yield make
    for one in made:
        one.down()


@pytest.fixture
def disk(tmp_path):
    small = SmallDisk(tmp_path / "disk")
    yield small.path
    small.close()


class Nodes:
    """A Ray cluster of two nodes on this machine; a lost one is replaced after a moment."""

    def __init__(self):
        from ray.cluster_utils import Cluster

        self._cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
        self.address = self._cluster.address
        self._nodes = [self._cluster.add_node(num_cpus=1) for _ in range(2)]

    def lose_one(self, draw):
        self._cluster.remove_node(self._nodes.pop(draw.randrange(2)), allow_graceful=False)
        time.sleep(NODE_AWAY_S)
        self._nodes.append(self._cluster.add_node(num_cpus=1))

    def close(self):
        self._cluster.shutdown()


@pytest.fixture
def nodes(monkeypatch):
    if find_spec("ray") is None:
        pytest.skip("ray is not installed")
    monkeypatch.setenv("RAY_DISABLE_IMPORT_WARNING", "1")
    made = Nodes()
    yield made
    made.close()


def weights_digests(command, result):
    """sha256 of the tensors of each run's best.pth, and of each delivered file."""
    digests = {}
    for path in sorted([*command.folder.glob("runs/*/best.pth"), *command.folder.glob("out/*.pth")]):
        digests[path.relative_to(command.folder).as_posix()] = weights_digest(path)
    return digests


def registered(address):
    """Model, version, aliases and configuration of everything in the registry."""
    client = MlflowClient(tracking_uri=address, registry_uri=address)
    found = []
    for model in client.search_registered_models():
        for version in client.search_model_versions(f"name = '{model.name}'"):
            config = client.get_run(version.run_id).data.tags["flowerml.config_id"]
            found.append((model.name, config, sorted(client.get_model_version(model.name, version.version).aliases)))
    return sorted(found)


@pytest.mark.slow
@pytest.mark.parametrize("seed", SEEDS)
def test_a_storm_changes_nothing(flowers, tmp_path, server, disk, seed, capsys):
    survive(flowers, tmp_path, server, disk, seed, capsys)


@pytest.mark.slow
@pytest.mark.repeats  # the storm of SQLite has all events but one
@pytest.mark.parametrize("seed", POSTGRES_SEEDS)
def test_a_storm_over_a_server_on_postgres_changes_nothing(
    flowers, tmp_path, server, disk, seed, capsys, postgres, monkeypatch
):
    monkeypatch.setenv("PGPASSWORD", PASSWORD)
    survive(flowers, tmp_path, server, disk, seed, capsys, database=new_database(postgres, f"storm_{seed}"))


@pytest.mark.slow
@pytest.mark.repeats  # the storm of this machine has all events but one; test_ray_executor.py has that one
@pytest.mark.parametrize("seed", RAY_SEEDS)
def test_a_storm_over_two_nodes_changes_nothing(flowers, tmp_path, server, disk, seed, capsys, nodes):
    survive(flowers, tmp_path, server, disk, seed, capsys, nodes=nodes)


def survive(flowers, tmp_path, server, disk, seed, capsys, *, database=None, nodes=None):
    """Run a campaign alone and one in a storm, with the `database` or on the `nodes`; compare what comes of them."""
    calm_server, stormy_server = server("calm"), server("stormy", database)
    calm = StormyCommand(tmp_path / "alone", flowers, calm_server)
    begun = time.monotonic()
    undisturbed = calm.to_the_end()
    calm_s = time.monotonic() - begun

    root = (disk or tmp_path) / "storm"
    stormy = StormyCommand(root, flowers, stormy_server)
    if nodes is not None:
        stormy.words += ["--executor", "ray", "--ray-address", nodes.address, "--parallel", "2"]
    storm = Storm(seed, EVENTS, stormy_server, root, stormy.clock, disk, database=database, nodes=nodes)
    starts, stormy_s = storm.last_until_the_end(stormy, ["--retry"])
    survived = json.loads((stormy.folder / "out.json").read_text())

    assert outcome(survived) == outcome(undisturbed)
    assert table(stormy, survived) == table(calm, undisturbed)
    assert weights_digests(stormy, survived) == weights_digests(calm, undisturbed)
    assert registered(stormy_server.address) == registered(calm_server.address)
    assert_counted_once(stormy, survived)
    where = "Postgres, " if database else "Ray, " if nodes else ""
    with capsys.disabled():
        print(
            f"\n{where}seed {seed}: {storm.summary()}, {starts} starts;"
            f" {calm_s:.0f} s calm, {stormy_s:.0f} s in the storm; all equal"
        )
