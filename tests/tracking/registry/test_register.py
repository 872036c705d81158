"""Registered versions in a real MLflow store: who has the alias, no second version of a decision, tags and metrics."""

from dataclasses import replace

import pytest
from mlflow.tracking import MlflowClient

from flowerml.errors import UserError
from flowerml.selection.rank import rank_configurations
from flowerml.selection.records import Rule
from flowerml.selection.registration import AliasAction
from flowerml.tracking import register
from tests.tracking.finished_runs import TOTAL

pytestmark = pytest.mark.slow


def aliases(name="flowers-cnn"):
    return {alias: str(version) for alias, version in MlflowClient().get_registered_model(name).aliases.items()}


def versions(name="flowers-cnn"):
    return [one.version for one in MlflowClient().search_model_versions(f"name = '{name}'")]


def by_recall(decision, recall):
    """The same decision by mean recall."""
    standing = decision.standings[0]
    runs = tuple(replace(run, mean_recall=recall) for run in standing.configuration.runs)
    (ranked,) = rank_configurations([replace(standing.configuration, runs=runs)], Rule.MEAN_RECALL)
    return replace(decision, scope=replace(decision.scope, rule=Rule.MEAN_RECALL), standings=(ranked,))


def test_a_version_chosen_by_mean_recall_is_compared_by_it(store):
    """Its tags have the rule and the figure, read back for the next decision."""
    register(by_recall(store.decide(hits=20), 0.6), "cnn")
    tags = MlflowClient().get_model_version("flowers-cnn", "1").tags
    assert (tags["flowerml.ranked_by"], tags["flowerml.mean_val_mean_recall"]) == ("val_mean_recall", "0.6")
    assert tags["flowerml.rule"].startswith("mean recall over the seeds; where it is equal: mean macro-F1")
    worse = register(by_recall(store.decide(hits=TOTAL, config="e" * 64), 0.5), "cnn")
    assert worse.verdict.action is AliasAction.KEEP
    better = register(by_recall(store.decide(hits=10, config="f" * 64), 0.7), "cnn")
    assert better.verdict.action is AliasAction.BETTER
    assert aliases() == {"champion": "3", "previous": "1"}


class TestTheAlias:
    def test_the_first_decision_takes_it_and_is_registered_once(self, store):
        decision = store.decide()
        first, again = register(decision, "cnn"), register(decision, "cnn", force=True)
        assert (first.version, first.created, first.verdict.action) == ("1", True, AliasAction.FIRST)
        assert (again.version, again.created, again.verdict.action) == ("1", False, AliasAction.SAME)
        assert aliases() == {"champion": "1"}
        assert len(versions()) == 1

    def test_a_better_one_takes_it_and_the_old_one_is_previous(self, store):
        register(store.decide(hits=20), "cnn")
        better = register(store.decide(hits=21, config="e" * 64), "cnn")
        assert better.verdict.action is AliasAction.BETTER
        assert aliases() == {"champion": "2", "previous": "1"}

    def test_a_worse_one_is_registered_without_it_unless_forced(self, store):
        register(store.decide(hits=20), "cnn")
        worse = store.decide(hits=19, config="e" * 64)
        kept = register(worse, "cnn")
        assert (kept.verdict.action, kept.version, kept.created) == (AliasAction.KEEP, "2", True)
        assert aliases() == {"champion": "1"}
        forced = register(worse, "cnn", force=True)
        assert (forced.verdict.action, forced.version, forced.created) == (AliasAction.FORCED, "2", False)
        assert aliases() == {"champion": "2", "previous": "1"}

    def test_a_demo_with_accuracy_1_does_not_block_a_real_decision(self, store):
        """Synthetic flowers have another split digest: the real one takes the alias, as the two can't be compared."""
        register(store.decide(hits=TOTAL, split="1" * 64, data="2" * 64), "cnn")
        real = register(store.decide(hits=28, config="e" * 64), "cnn")
        assert real.verdict.action is AliasAction.OTHER_SPLIT
        assert "can't be compared" in real.summary
        assert aliases() == {"champion": "2", "previous": "1"}

    def test_an_earlier_decision_gets_the_alias_back_with_its_version(self, store):
        first = store.decide(hits=20)
        register(first, "cnn")
        register(store.decide(hits=30, split="1" * 64), "cnn")
        back = register(first, "cnn")
        assert (back.version, back.created) == ("1", False)
        assert aliases() == {"champion": "1", "previous": "2"}

    def test_a_retrained_model_replaces_the_best_seed_of_its_decision_once(self, store):
        decision = store.decide(hits=20)
        register(decision, "cnn")
        final = store.put(hits=0, kind="final", config="f" * 64)
        retrained = register(decision, "cnn", retrained_id=final.run_id)
        assert retrained.verdict.action is AliasAction.RETRAINED
        assert aliases() == {"champion": "2", "previous": "1"}
        assert MlflowClient().get_model_version("flowers-cnn", "2").run_id == final.run_id
        for again in ({}, {"retrained_id": final.run_id}):
            assert register(decision, "cnn", **again).verdict.action is AliasAction.SAME
        assert len(versions()) == 2

    def test_the_two_families_are_independent(self, store):
        register(store.decide(hits=20), "cnn")
        assert register(store.decide("vit", hits=10), "vit").verdict.action is AliasAction.FIRST
        assert (aliases("flowers-cnn"), aliases("flowers-vit")) == ({"champion": "1"}, {"champion": "1"})


class TestErrors:
    def test_a_run_without_weights(self, store):
        with pytest.raises(UserError, match=r"has no best\.pth among its artifacts"):
            register(store.decide(files=False), "cnn")
        assert versions() == []

    def test_weights_that_are_not_those_of_the_run(self, store):
        decision = store.decide(hits=20)
        other = replace(decision, chosen=replace(decision.chosen, accuracy=0.9))
        with pytest.raises(UserError, match="these are not the run's weights"):
            register(other, "cnn")
        assert versions() == []

    def test_a_retrained_run_that_is_not_a_final_run(self, store):
        decision = store.decide()
        other = store.put("vit", kind="final")
        for run, what in ((decision.chosen, "of kind train and family cnn"), (other, "of kind final and family vit")):
            with pytest.raises(UserError, match=f"{what}: a FINISHED final run of a cnn is wanted"):
                register(decision, "cnn", retrained_id=run.run_id)
        with pytest.raises(UserError, match="refuses"):
            register(decision, "cnn", retrained_id="0" * 32)
        assert versions() == []

    def test_a_family_that_has_no_registered_model(self, store):
        with pytest.raises(UserError, match="Allowed: cnn, vit"):
            register(store.decide(), "other")


class TestVersionTags:
    def test_rule_runs_seeds_figures_and_digests(self, registered):
        _, decision, registration = registered
        version = MlflowClient().get_model_version("flowers-cnn", registration.version)
        runs = decision.winner.configuration.runs
        assert version.run_id == version.tags["flowerml.source_run"] == decision.chosen.run_id
        assert version.tags["flowerml.runs"].split(",") == [run.run_id for run in runs]
        assert version.tags["flowerml.seeds"] == "11,23"
        assert version.tags["flowerml.mean_val_accuracy"] == "0.75"
        assert (version.tags["flowerml.hits"], version.tags["flowerml.total"]) == ("60", "80")
        assert version.tags["flowerml.split_digest"] == decision.split_digest
        assert version.tags["flowerml.rule"].startswith(
            "mean accuracy over the seeds; where it is equal: mean macro-F1, then variance"
        )
        assert decision.words in version.description
        assert all(run.run_id in version.description for run in runs)
        page = f"#/experiments/{MlflowClient().get_run(version.run_id).info.experiment_id}/runs/{version.run_id}"
        assert f"({page}/artifacts/errors.html?workflowType=machine_learning)" in version.description

    def test_its_data_and_metrics_are_linked(self, registered):
        """The logged model is that of the training run, READY, and its metrics name their dataset."""
        _, decision, registration = registered
        version = MlflowClient().get_model_version("flowers-cnn", registration.version)
        model = MlflowClient().get_logged_model(version.source.removeprefix("models:/"))
        assert model.source_run_id == decision.chosen.run_id
        assert str(model.status).endswith("READY")
        assert {(one.key, one.value) for one in model.metrics} >= {
            ("mean_val_accuracy", 0.75),
            ("chosen_val_accuracy", 0.75),
        }
        assert {one.dataset_digest for one in model.metrics} == {decision.data_digest[:36]}
        assert MlflowClient().get_run(decision.chosen.run_id).info.status == "FINISHED"
