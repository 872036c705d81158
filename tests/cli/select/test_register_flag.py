"""`--register` and `--no-register`: what the registry is called with, and what its failure leaves."""

import pytest
from mlflow.tracking import MlflowClient

from flowerml.cli.commands.experiments import select
from flowerml.errors import RunFailed, UserError
from tests.cli.select.select_command import select_json


class TestRegistering:
    @pytest.fixture
    def registered(self, monkeypatch):
        """The registry's own tests are tests/tracking/registry/: here, what it is called with."""
        calls = []

        class Answer:
            summary = "registered as flowers-cnn, version 1."

        def register(decision, family, **how):
            calls.append((decision.winner.configuration.config_id, family, how))
            if how.get("force"):
                raise UserError("the disk is full")
            return Answer

        monkeypatch.setattr("flowerml.tracking.registry.register.register", register)
        return calls

    @pytest.mark.parametrize("words", [["--register"], ["--register", "true"], ["--no-register", "--register"]])
    def test_is_told_of_the_decision_and_its_run(self, made, capsys, registered, words):
        made.seeds("a", 90, 91, 92)
        found = select_json(capsys, "--family", "cnn", *words)
        assert registered == [("a", "cnn", {"selection_id": found["run_id"], "retrained_id": None, "force": False})]
        assert found["registered"] == "registered as flowers-cnn, version 1."
        run = MlflowClient().get_run(found["run_id"])
        assert run.data.tags["mlflow.note.content"].startswith("**Registered as flowers-cnn, version 1.**")

    @pytest.mark.slow
    @pytest.mark.parametrize(
        "words", [[], ["--no-register"], ["--register", "--register", "false"], ["--register", "--no-register"]]
    )
    def test_is_not_done_unasked(self, made, capsys, registered, words):
        made.seeds("a", 90, 91, 92)
        assert select_json(capsys, "--family", "cnn", *words)["registered"] is None
        assert registered == []

    def test_that_fails_fails_the_run(self, made, registered):
        made.seeds("a", 90, 91, 92)
        with pytest.raises(RunFailed, match="the disk is full"):
            select.run(["--family", "cnn", "--register", "--force"])
        (run,) = made.client.search_runs([made.experiment("flowers")], "tags.`flowerml.kind` = 'select'")
        assert (run.info.status, run.data.tags["flowerml.reason"]) == ("FAILED", "the disk is full")

    def test_a_family_of_another_task_is_ranked_as_any_other(self, made):
        made.seeds("a", 90, 91, 92, family="relation")
        assert select.run(["--family", "relation", "--no-record"]) == 0
