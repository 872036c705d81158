"""`--by val_mean_recall`: ranking, words and table."""

import csv
import io
import json

import pytest

from flowerml.cli.commands.experiments import select


class TestByMeanRecall:
    def test_it_ranks_and_what_lacks_it_says_so(self, made, capsys):
        made.seeds("frequent", 95, 95, 95, recall=0.6)
        made.seeds("rare", 80, 80, 80, recall=0.7)
        made.seeds("earlier", 99, 99, 99)
        select.run(["--family", "cnn", "--by", "val_mean_recall", "--no-record", "--json"])
        found = json.loads(capsys.readouterr().out)
        assert found["rule"] == "val_mean_recall"
        assert [(one["config_id"], one["mean_recall"]["mean"]) for one in found["ranking"]] == [
            ("rare", pytest.approx(0.7)),
            ("frequent", pytest.approx(0.6)),
        ]
        assert found["comparison"]["decided_by"] == "mean recall"
        assert "the mean recall decided (0.7000 against 0.6000)" in found["words"]
        (left_out,) = found["not_eligible"]
        assert (left_out["config_id"], "has no best_val_mean_recall" in left_out["reasons"][0]) == ("earlier", True)

    def test_its_table_has_it(self, made, capsys, tmp_path):
        made.seeds("rare", 80, 80, 80, recall=0.7)
        select.run(["--family", "cnn", "--by", "val_mean_recall"])
        shown = capsys.readouterr().out
        assert "recall" in next(line for line in shown.splitlines() if "macro-F1" in line)
        (selected,) = made.client.search_runs([made.experiment("flowers")], "tags.`flowerml.kind` = 'select'")
        table = list(csv.DictReader(io.StringIO(mlflow_text(made, selected, "table.csv", tmp_path))))
        assert float(table[0]["mean_val_mean_recall"]) == pytest.approx(0.7)


def mlflow_text(made, run, name, folder):
    return (folder / made.client.download_artifacts(run.info.run_id, name, str(folder))).read_text()
