"""The run that a selection leaves: status, tags, params, files, its experiment; or none."""

import csv
import io
import json

import pytest
from mlflow.tracking import MlflowClient

from flowerml.cli.commands.experiments import select
from flowerml.errors import RunFailed
from tests.cli.select.candidates import ELIGIBLE, NAMED
from tests.cli.select.select_command import select_json
from tests.tracking.opened_runs import open_run


class TestTheRun:
    def test_holds_table_figure_and_words(self, everything, capsys, tmp_path):
        found = select_json(capsys, *NAMED, "--experiment", "flowers")
        client = MlflowClient()
        run = client.get_run(found["run_id"])
        assert (run.info.status, client.get_experiment(run.info.experiment_id).name) == ("FINISHED", "flowers")
        assert run.info.run_name == "select cnn, split 55555555"
        tags = {
            name.removeprefix("flowerml."): text for name, text in run.data.tags.items() if name.startswith("flowerml.")
        }
        assert (tags["kind"], tags["family"], tags["winner"], tags["decision"]) == (
            "select",
            "cnn",
            "i-accuracy",
            found["key"],
        )
        assert (tags["data_digest"], tags["split_digest"]) == ("d" * 64, "5" * 64)
        assert (run.data.params["seeds"], run.data.params["kinds"]) == ("11,23,47", "train")
        assert run.data.metrics["mean_val_accuracy"] == pytest.approx(2.75 / 3)
        assert (run.data.metrics["eligible"], run.data.metrics["not_eligible"]) == (8, 8)
        assert found["words"] in run.data.tags["mlflow.note.content"]
        assert [file.path for file in client.list_artifacts(found["run_id"])] == [
            "decision.json",
            "decision.md",
            "seeds.png",
            "table.csv",
        ]

        def text(name: str) -> str:
            path = client.download_artifacts(found["run_id"], name, str(tmp_path))
            with open(path, encoding="utf-8", newline="") as handle:  # noqa: PTH123
                return handle.read()

        assert json.loads(text("decision.json")) == {
            name: value for name, value in found.items() if name not in ("run_id", "registered")
        }
        rows = list(csv.DictReader(io.StringIO(text("table.csv"))))
        assert [row["config_id"] for row in rows] == [config for config, *_ in ELIGIBLE]
        assert (rows[0]["accuracy_s11"], rows[0]["hits"], rows[0]["ahead_by"]) == ("0.95", "275", "mean accuracy")
        assert rows[0]["run_s11"] == found["chosen_run"]["run_id"]
        page = text("decision.md")
        assert found["words"] in page
        assert "| 1 | i-accura | net | 3 | 0.9167 | 0.0289 |" in page
        assert "- net lacks on: lacks seed 47" in page

    def test_is_the_one_that_mlflow_run_has_opened(self, made, capsys, monkeypatch):
        """MLflow has logged `family` there already, and put it into Default."""
        made.seeds("a", 90, 91, 92)
        opened = open_run(made.client, monkeypatch, {"family": "cnn"})
        assert select_json(capsys, "--family", "cnn")["run_id"] == opened
        run = made.client.get_run(opened)
        assert (run.info.status, run.data.tags["flowerml.kind"], run.data.params["family"]) == (
            "FINISHED",
            "select",
            "cnn",
        )

    def test_is_not_there_with_no_record(self, made, capsys):
        made.seeds("a", 90, 91, 92)
        assert select_json(capsys, "--family", "cnn", "--no-record")["run_id"] is None
        assert made.client.search_runs([made.experiment("flowers")], "tags.`flowerml.kind` = 'select'") == []

    def test_without_anything_eligible_fails_and_says_why(self, made, capsys):
        made.put("a", 11)
        with pytest.raises(RunFailed, match="No configuration is eligible"):
            select.run(["--family", "cnn", "--json"])
        found = json.loads(capsys.readouterr().out)
        assert found["not_eligible"][0]["reasons"] == ["lacks seed 23, 47"]
        (run,) = made.client.search_runs([made.experiment("flowers")], "tags.`flowerml.kind` = 'select'")
        assert run.info.status == "FAILED"
        assert "No configuration is eligible" in run.data.tags["flowerml.reason"]
        assert [file.path for file in made.client.list_artifacts(run.info.run_id)] == ["decision.json", "decision.md"]


def test_the_experiment_is_that_of_the_environment_and_a_flag_wins(made, capsys, monkeypatch):
    made.seeds("a", 90, 91, 92)
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "of the team")
    for words, expected in (((), "of the team"), (("--experiment", "mine"), "mine")):
        run_id = select_json(capsys, "--family", "cnn", *words)["run_id"]
        experiment = made.client.get_run(run_id).info.experiment_id
        assert made.client.get_experiment(experiment).name == expected
