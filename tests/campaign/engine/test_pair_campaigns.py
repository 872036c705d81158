"""Campaigns of the second task: several seeds in a phase, what is delivered of a family no grader asks for, two of them
compared.
"""

import csv
import json
import os
from pathlib import Path

import numpy as np
import pytest
from mlflow.tracking import MlflowClient

from flowerml import load_relation_model, predict_relation
from flowerml.campaign.plan.parser import read_plan
from flowerml.campaign.service import run_campaign
from flowerml.campaign.status import CampaignStatus
from flowerml.cli.main import main
from flowerml.data.relations.folder import parse_pair_id, read_pair_folder
from flowerml.errors import UserError
from tests.campaign.campaigns import InProcessExecutor, options, run_here

SMALL = (
    "model=relation:timm:test_resnet",
    "weights=none",
    "img_size=32",
    "min_epochs=0",
    "lr_head=1e-3",
    "workers=0",
    "device=cpu",
)
SEEDS = (11, 23, 47)


@pytest.fixture(scope="module")
def both(scenes, tmp_path_factory):
    """The plans of Experiments 1 and 2, made small, one after the other on one store: their stories and the folder
    of all.
    """
    folder = tmp_path_factory.mktemp("both")
    before = os.environ.get("MLFLOW_TRACKING_URI")
    os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{folder / 'mlflow.db'}"
    stories = []
    for name, epochs in (("relations_exp1", 1), ("relations_exp2", 2)):
        plan = read_plan(name, (*SMALL, f"epochs={epochs}"))
        stories.append(run_campaign(plan, options(scenes, folder / name), executor=InProcessExecutor()))
    os.environ["MLFLOW_TRACKING_URI"] = before or ""
    return stories, folder


@pytest.fixture
def of_both(both, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{both[1] / 'mlflow.db'}")
    return both


@pytest.mark.slow
class TestBothExperiments:
    def test_one_configuration_on_three_seeds_and_its_best_kept(self, of_both):
        (first, second), _ = of_both
        assert first.status is second.status is CampaignStatus.FINISHED
        assert [run.name for run in first.runs] == ["EXP1_seed11", "EXP1_seed23", "EXP1_seed47", "EXP1_FINAL"]
        assert first.phases[0].decision.chosen == ("EXP1",)
        assert {run.config for run in first.phases[0].runs} == {"EXP1"}
        assert len({run.config_id for run in first.phases[0].runs}) == 1
        best = max(first.phases[0].runs, key=lambda run: (run.accuracy, run.macro_f1))
        assert first.runs[-1].accuracy == best.accuracy

    def test_runs_are_in_the_tasks_own_experiment(self, of_both):
        client = MlflowClient()
        found = client.search_runs([client.get_experiment_by_name("relations").experiment_id])
        assert len(found) == 2 * (1 + 1 + 4), "campaign, decision, runs"

    def test_the_better_one_is_champion_and_its_weights_are_delivered(self, of_both, scenes):
        stories, folder = of_both
        delivered = [snapshot.delivered[0] for snapshot in stories]
        assert [(one.family, one.registered_model, one.version) for one in delivered] == [
            ("relation", "relations", v) for v in ("1", "2")
        ]
        means = [np.mean([run.hits for run in snapshot.phases[0].runs]) for snapshot in stories]
        champion = MlflowClient().get_model_version_by_alias("relations", "champion").version
        assert int(champion) == (2 if means[1] > means[0] else 1)
        assert delivered[0].path == folder / "relations_exp1" / "out" / "relations.pth"
        annotated = read_pair_folder(scenes, None, "exact", None)
        pair = annotated.pairs[0]
        edges = [(box.x0, box.y0, box.x1, box.y1) for box in (pair.subject, pair.object)]
        model = load_relation_model(delivered[0].path)
        assert predict_relation(model, str(scenes / pair.image), *edges) in annotated.classes

    def test_the_report_shows_pairs_with_their_boxes(self, of_both):
        stories, folder = of_both
        page = (folder / "relations_exp1" / "runs" / stories[0].id / "report.html").read_text()
        assert "no picture" not in page
        assert page.count("data:image/jpeg;base64,") > 0

    def test_compare_says_what_the_runs_files_say(self, of_both, tmp_path, capsys):
        words = [
            "--plan",
            "relations_exp1",
            "--plan",
            "relations_exp2",
            "--output-dir",
            str(tmp_path / "out"),
            "--json",
        ]
        assert main(["compare", *words]) == 0
        out, err = capsys.readouterr()
        found = json.loads(out)
        assert found["seeds"] == list(SEEDS)
        right = {}
        for name, folder in (("EXP1", "relations_exp1"), ("EXP2", "relations_exp2")):
            for seed in SEEDS:
                with (of_both[1] / folder / "runs" / f"{name}_seed{seed}" / "predictions.csv").open() as handle:
                    rows = sorted((row["image"], row["label"], row["predicted"]) for row in csv.DictReader(handle))
                right[name, seed] = np.array([label == said for _, label, said in rows])
        labels = np.array([label for _, label, _ in rows])
        accuracy = found["figures"][0]
        means = [np.mean([right[name, seed].mean() for seed in SEEDS]) for name in ("EXP1", "EXP2")]
        assert (accuracy["first"], accuracy["second"]) == pytest.approx(means)
        assert accuracy["predicted"] == [0.73, 0.79]
        recalls = {row["class"]: row for row in found["figures"] if row["figure"] == "recall"}
        for name, row in recalls.items():
            assert row["n"] == (labels == name).sum()
            assert row["second"] == pytest.approx(
                np.mean([right["EXP2", seed][labels == name].mean() for seed in SEEDS])
            )
            assert row["verdict"] in ("met", "missed", "cannot be told")
        assert "Of 15 predictions" in err
        page = (tmp_path / "out" / "comparison.html").read_text()
        assert "relations_exp2 against relations_exp1" in page
        assert "<td>class_weights</td><td>none</td><td>balanced</td>" in page

    def test_campaigns_are_also_named_themselves_and_a_campaign_is_not_compared_with_itself(
        self, of_both, tmp_path, capsys
    ):
        (first, second), _ = of_both
        words = ["--baseline", second.id, "--plan", first.id, "--output-dir", str(tmp_path), "--json"]
        assert main(["compare", *words]) == 0
        found = json.loads(capsys.readouterr().out)
        assert found["campaigns"] == [second.id, first.id]
        assert {row["predicted"] is None for row in found["figures"]} == {True}
        assert main(["compare", "--plan", first.id, "--plan", first.id]) == 2
        assert "no finished campaigns of" in capsys.readouterr().err


def test_a_plan_of_two_tasks_is_refused(scenes, tmp_path):
    text = """\
        plan: two_tasks
        defaults: {weights: none}
        phases:
          A: {family: relation, runs: {A1: {model: relation_resnet18}}}
          B: {family: cnn, runs: {B1: {}}}
        """
    with pytest.raises(UserError, match="the plan has runs of flowers and relations"):
        run_here(scenes, tmp_path, text)


def test_a_pairs_name_says_where_its_boxes_are(scenes):
    folder = read_pair_folder(scenes, None, "exact", None)
    for name, pair in zip(folder.ids, folder.pairs, strict=True):
        assert parse_pair_id(name) == (pair.image, pair.subject, pair.object)
    odd = "a [1 2 3 4] on [5 6 7 8].jpg [0.5 1 20 30] next to [1e+06 2 3e+06 4] (2)"
    image, subject, other = parse_pair_id(odd)
    assert (image, subject.x0, other.x1) == ("a [1 2 3 4] on [5 6 7 8].jpg", 0.5, 3e6)
    assert parse_pair_id("rose/photo.jpg") is None
    assert parse_pair_id(str(Path("a.jpg [1 2 3] on [1 2 3 4]"))) is None
