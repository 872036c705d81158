"""Queries for candidate runs on a real MLflow store (sqlite); the slow tests run them on Postgres and over HTTP."""

import math

import pytest
from mlflow.tracking import MlflowClient

from flowerml.errors import UserError
from flowerml.selection.records import Scope
from flowerml.tracking import TrackedRuns
from flowerml.tracking.search import candidates, run_search
from flowerml.tracking.search.run_search import ClientSearch
from tests.tracking.made_runs import DATA, SPLIT, TOTAL

CNN = Scope(family="cnn")


@pytest.fixture(autouse=True, params=["tables", "client"])
def searched(request, monkeypatch):
    """How the store is searched: in its tables, or over MLflow's client, as a server is."""
    if request.param == "client":
        monkeypatch.setattr(candidates, "make_search", ClientSearch)
    return request.param


def found(scope=CNN):
    return TrackedRuns().find(scope)


class TestARecord:
    def test_has_what_the_run_says(self, made):
        run_id = made.put(
            "c" * 64,
            23,
            93,
            f1=0.875,
            model="convnextv2_large",
            parameters="196000000",
            multiply_adds="34000000000",
            campaign="spring",
            phase="B",
            plan_order="4",
        )
        (run,) = found()
        assert (run.run_id, run.run_name, run.config_id, run.seed) == (run_id, f"{'c' * 64}-s23", "c" * 64, 23)
        assert (run.status, run.kind, run.family, run.classes) == ("FINISHED", "train", "cnn", 5)
        assert (run.data_digest, run.split_digest) == (DATA, SPLIT)
        assert (run.accuracy, run.macro_f1, run.hits, run.total, run.best_epoch) == (0.93, 0.875, 93, TOTAL, 7)
        assert (run.model, run.parameters, run.cost) == ("convnextv2_large", 196000000, 34000000000)
        assert (run.campaign, run.phase, run.plan_order) == ("spring", "B", 4)
        assert run.started == made.client.get_run(run_id).info.start_time

    def test_has_none_for_what_it_does_not(self, made):
        made.put(status="RUNNING", hits=None, f1=None, val_total=None)
        (run,) = found()
        assert (run.status, run.accuracy, run.macro_f1, run.hits, run.total, run.campaign, run.parameters) == (
            "RUNNING",
            *[None] * 6,
        )

    def test_has_nan_where_that_was_logged(self, made):
        made.put(hits=math.nan)
        (run,) = found()
        assert math.isnan(run.accuracy)
        assert run.hits is None

    def test_counts_no_hits_that_its_accuracy_is_not_of(self, made):
        made.put(hits=0.915)
        assert found()[0].hits is None

    @pytest.mark.parametrize(
        ("change", "reason"),
        [
            ({"seed": None}, "has no tag flowerml.seed"),
            ({"seed": "eleven"}, "has flowerml.seed 'eleven'"),
            ({"config_id": None}, "has no tag flowerml.config_id"),
            ({"classes": ""}, "has no tag flowerml.classes"),
        ],
    )
    def test_is_not_made_of_a_run_that_lacks_a_required_tag_and_a_remark_says_so(self, made, change, reason):
        made.put("a")
        incomplete = made.client.create_run("0", tags={}, run_name="strange").info.run_id
        tags = {**made.client.get_run(found()[0].run_id).data.tags, "mlflow.runName": "strange"}
        tags |= {f"flowerml.{name}": text for name, text in change.items()}
        for name, text in tags.items():
            if text is not None:
                made.client.set_tag(incomplete, name, text)
        tracked = TrackedRuns()
        assert [run.run_name for run in tracked.find(CNN)] == ["a-s11"]
        assert tracked.remarks == [f"run strange ({incomplete[:8]}) {reason}: it is not looked at"]


class TestFind:
    def test_searches_all_experiments(self, made):
        for place, experiment in enumerate(("Default", "flowers", "somebody's own")):
            made.put(seed=place, experiment=experiment)
        assert [run.seed for run in found()] == [0, 1, 2]

    def test_filters_kind_and_family_and_deleted_runs(self, made):
        made.put("mine")
        for kind in ("smoke", "final", "trial", "eval", "select", "campaign", "launcher", None):
            made.put(f"kind {kind}", kind=kind)
        made.put("other family", family="vit")
        made.client.delete_run(made.put("deleted"))
        made.put("in a deleted experiment", experiment="gone")
        made.client.delete_experiment(made.experiment("gone"))
        made.client.create_run("0", run_name="without a single tag")
        assert [run.config_id for run in found()] == ["mine"]
        assert [run.config_id for run in found(Scope(family="cnn", kinds=("train", "trial")))] == ["mine", "kind trial"]
        assert [run.config_id for run in found(Scope())] == ["mine", "other family"]

    @pytest.mark.slow
    @pytest.mark.parametrize(
        "name", ["spring", "to be or not", "x = 1 AND y", "50% -- off", "a;b(c)", "ünïcode 花", "it's", '"q"', "`tick`"]
    )
    def test_a_campaign_sees_its_own_runs_only_whatever_its_name(self, made, name):
        made.put("mine", campaign=name)
        made.put("other", campaign=f"{name} 2")
        made.put("none")
        assert [run.config_id for run in found(Scope(family="cnn", campaign=name))] == ["mine"]

    def test_phases(self, made):
        for phase in "BCD":
            made.put(phase, campaign="x", phase=phase)
        assert [run.config_id for run in found(Scope(family="cnn", campaign="x", phases=("D", "B")))] == ["B", "D"]

    def test_returns_nothing_if_there_is_nothing(self, made):
        assert found() == []
        made.put(family="vit")
        assert found() == []

    def test_fetches_all_pages(self, made, monkeypatch):
        """Each run once, in the order of their start times."""
        monkeypatch.setattr(run_search, "PAGE", 2)
        ids = [made.put(seed=seed) for seed in range(5)]
        assert [run.run_id for run in found()] == ids


class TestDigests:
    def test_one_is_found_without_a_name_and_a_failed_try_on_another_folder_is_ignored(self, made):
        made.put("a")
        made.put("a", 23, split_digest="6" * 64, status="FAILED")
        made.put("a", 23, data_digest="e" * 64, status="RUNNING")
        assert [run.seed for run in found()] == [11]

    def test_without_anything_finished_the_one_there_is_is_taken(self, made):
        made.put(status="RUNNING")
        assert len(found()) == 1

    def test_several_are_listed_with_counts(self, made):
        made.seeds("a", 90, 91, 92)
        made.put("a", 23, split_digest="6" * 64)
        made.put("a", 47, split_digest="6" * 64, status="FAILED")
        made.put("a", 11, data_digest="e" * 64)
        with pytest.raises(UserError) as caught:
            found()
        assert str(caught.value).splitlines() == [
            "the runs are of 3 data and split digests, and only runs of one can be compared: "
            "name one with --split-digest (or --data-digest)",
            "  data dddddddd split 55555555: 3 runs, 3 FINISHED",
            "  data dddddddd split 66666666: 2 runs, 1 FINISHED",
            "  data eeeeeeee split 55555555: 1 run, 1 FINISHED",
        ]

    def test_one_is_named_by_its_first_characters(self, made):
        made.put("five")
        made.put("six", split_digest="6" * 64)
        made.put("seven", data_digest="e" * 64, split_digest="7" * 64)
        assert [run.config_id for run in found(Scope(family="cnn", split_digest="66"))] == ["six"]
        assert [run.config_id for run in found(Scope(family="cnn", data_digest="e", split_digest="7"))] == ["seven"]

    def test_an_unknown_one_is_an_error_that_lists_the_known(self, made):
        made.put()
        with pytest.raises(UserError) as caught:
            found(Scope(family="cnn", split_digest="abc"))
        assert str(caught.value).splitlines()[1:] == ["  data dddddddd split 55555555: 1 run, 1 FINISHED"]

    def test_many_digests_and_runs_are_counted_only_to_a_limit(self, made, monkeypatch):
        """The list should be quick too: it says where it stopped."""
        monkeypatch.setattr(candidates, "_MAX_DIGESTS", 2)
        monkeypatch.setattr(candidates, "_MAX_COUNTED", 6)
        for split in "6789":
            for seed in range(3 if split == "8" else 1):
                made.put(seed=seed, split_digest=split * 64)
        with pytest.raises(UserError) as caught:
            found()
        first, *entries = str(caught.value).splitlines()
        assert "are of more than 2 data and split digests" in first
        assert entries == [
            "  data dddddddd split 88888888: more than 2 runs",
            "  data dddddddd split 77777777: 1 run, 1 FINISHED",
            "  and others",
        ]


@pytest.mark.parametrize("address", ["http://127.0.0.1:9", "postgresql+psycopg2://x:secret@127.0.0.1:9/y"])
def test_a_server_that_is_down_is_a_one_line_error(address, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(UserError, match="does not answer") as caught:
        found()
    assert len(str(caught.value).splitlines()) == 1
    assert "secret" not in str(caught.value)


@pytest.mark.slow
def test_few_runs_are_returned_by_the_server(made, monkeypatch, searched):
    """Of 43 runs, 20 of another family and 20 of another kind, one per query and the digest's runs are returned.

    In the tables of a database none are.
    """
    for number in range(20):
        made.put(f"other {number}", family="vit", split_digest="6" * 64)
        made.put(f"eval {number}", kind="eval")
    made.seeds("mine", 90, 91, 92)
    returned = []
    search_runs = MlflowClient.search_runs

    def counted(self, *args, **kwargs):
        page = search_runs(self, *args, **kwargs)
        returned.append(len(page))
        return page

    monkeypatch.setattr(MlflowClient, "search_runs", counted)
    assert len(found()) == 3
    assert returned == ([1, 1, 0, 0, 3] if searched == "client" else [])
