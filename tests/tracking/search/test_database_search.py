"""A database store's tables give the same answers as MLflow's client, for every filter that a selection makes."""

import math
import random
import shutil

import pytest
from mlflow.tracking import MlflowClient, get_tracking_uri

from flowerml.errors import UserError
from flowerml.selection.records import Scope
from flowerml.tracking import TrackedRuns
from flowerml.tracking.search import candidates, database_search
from flowerml.tracking.search.database_search import DatabaseSearch
from flowerml.tracking.search.filters import digest_prefix_filter, digests_filter, scope_filters
from flowerml.tracking.search.run_search import ClientSearch
from tests.tracking.made_runs import RunFactory

SCOPES = [
    Scope(),
    Scope(family="cnn"),
    Scope(family="CNN"),
    Scope(family="vit", kinds=("train", "trial")),
    Scope(family="cnn", split_digest="6"),
    Scope(family="cnn", data_digest="E", split_digest="5"),
    Scope(family="cnn", campaign="it's 50%"),
    Scope(family="cnn", campaign="spring", phases=("B", "D")),
    Scope(family="cnn", split_digest="nothing"),
    Scope(family="relation"),
]


@pytest.fixture(scope="module")
def filled(empty_store, tmp_path_factory):
    """60 runs of two families, several kinds, data and split digests, with any status, some with odd or no values."""
    folder = tmp_path_factory.mktemp("filled")
    shutil.copy(empty_store, folder / "mlflow.db")
    made, draw = RunFactory(folder), random.Random(7)
    for number in range(60):
        made.put(
            f"c{number % 9}",
            draw.choice([11, 23, 47]),
            draw.choice([90, 91, 0.915, math.nan, math.inf, None]),
            status=draw.choice(["FINISHED", "FINISHED", "FAILED", "KILLED", "RUNNING"]),
            f1=draw.choice([0.5, None]),
            recall=draw.choice([0.25, None]),
            experiment=draw.choice(["flowers", "Default", "another", "gone"]),
            kind=draw.choice(["train", "train", "trial", "smoke", None]),
            family=draw.choice(["cnn", "cnn", "vit"]),
            data_digest=draw.choice(["d" * 64, "e" * 64]),
            split_digest=draw.choice(["5" * 64, "6" * 64, "", None]),
            campaign=draw.choice(["spring", "it's 50%", None]),
            phase=draw.choice(["B", "C", "D", None]),
            classes=draw.choice(["daisy,rose", "daisy,rose", ""]),
            model=draw.choice(["net", None]),
        )
    everything = made.client.search_runs([one.experiment_id for one in made.client.search_experiments()])
    for run in everything[::7]:
        made.client.log_param(run.info.run_id, "model", "from the params")
    for run in everything[3::11]:
        made.client.delete_run(run.info.run_id)
    made.client.delete_experiment(made.experiment("gone"))
    return f"sqlite:///{folder / 'mlflow.db'}"


@pytest.fixture
def store(filled, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", filled)


@pytest.fixture
def searches(store):
    client = MlflowClient()
    experiments = [one.experiment_id for one in client.search_experiments()]
    tables = DatabaseSearch(get_tracking_uri(), experiments)
    yield tables, ClientSearch(client, experiments)
    tables.close()


def conditions():
    for scope in SCOPES:
        for condition in scope_filters(scope):
            yield condition
            yield f"{condition} AND attributes.status = 'FINISHED'"
            yield f"{condition} AND {digests_filter(('d' * 64, '5' * 64))}"
            if prefix := digest_prefix_filter(scope):
                yield f"{condition} AND {prefix}"


@pytest.mark.slow
def test_the_digests_are_the_same_in_the_same_order(searches):
    tables, client = searches
    found = {condition: list(client.digests(condition)) for condition in conditions()}
    assert {condition: list(tables.digests(condition)) for condition in found} == found
    assert max(map(len, found.values())) > 2


@pytest.mark.slow
@pytest.mark.parametrize("at_once", [500, 3])
def test_the_runs_are_the_same_with_all_they_have(searches, monkeypatch, at_once):
    monkeypatch.setattr(database_search, "_AT_ONCE", at_once)
    tables, client = searches
    most = 0
    for condition in conditions():
        for limit in (None, 1, 4):
            expected = client.runs(condition, limit, params=True)
            found = tables.runs(condition, limit, params=True)
            most = max(most, len(found))
            assert [run.run_id for run in found] == [run.run_id for run in expected]
            for one, other in zip(found, expected, strict=True):
                assert repr(with_sorted(one)) == repr(with_sorted(other)), condition  # nan is not equal to itself
    assert most > 10


def with_sorted(run):
    """The run with its values in the order in which a table has them."""
    return type(run)(
        *(run.run_id, run.run_name, run.status, run.started, run.artifact_uri),
        *(dict(sorted(values.items())) for values in (run.tags, run.metrics, run.params)),
    )


@pytest.mark.parametrize("scope", SCOPES)
def test_a_selection_finds_the_same_or_refuses_in_the_same_words(store, monkeypatch, scope):
    """Also what it remarks on."""

    def answer():
        tracked = TrackedRuns()
        try:
            return repr(tracked.find(scope)), tracked.remarks
        except UserError as error:
            return str(error), tracked.remarks

    tables = answer()
    monkeypatch.setattr(candidates, "make_search", ClientSearch)
    assert answer() == tables
