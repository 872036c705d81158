"""`flowerml sweep` as a person types it: trials as nested runs, a table and figures; the same command goes on; bad
input is a line.
"""

import json
import shutil

import pytest
import torch
from mlflow.tracking import MlflowClient

from flowerml.cli.main import main
from flowerml.events import MemoryRecorder
from flowerml.runs.train import run_training
from flowerml.training.checkpoints.checkpoint import load_checkpoint
from flowerml.training.checkpoints.weights_digest import weights_digest
from tests.sweep.commands import runs_of, sweep_args


@pytest.mark.slow
def test_a_sweep_leaves_nested_runs_a_table_and_figures_and_goes_on(flowers, tmp_path, capsys):
    root = tmp_path / "runs"
    line = sweep_args(flowers, root, "--space", "grid", "--pruner", "none", "--study", "s", "--confirm", "1", "--json")
    assert main([*line, "--trials", "2"]) == 0
    out = json.loads(capsys.readouterr().out)
    trials, (parent,) = runs_of("trial"), runs_of("sweep")
    assert len(trials) == 4, "two trials, and the better one on two more seeds"
    assert parent.info.run_id == out["run_id"]
    assert {run.data.tags["mlflow.parentRunId"] for run in trials} == {out["run_id"]}
    assert {run.info.status for run in (*trials, parent)} == {"FINISHED"}
    assert sorted(run.data.tags["flowerml.seed"] for run in trials) == ["11", "11", "23", "47"]
    names = {file.path for file in MlflowClient().list_artifacts(out["run_id"])}
    assert {"trials.csv", "trials.md", "history.png", "parallel.png"} <= names
    assert out["decision"]["winner"] == next(
        run.data.tags["flowerml.config_id"] for run in trials if run.info.run_id == out["best"]["run_id"]
    )
    assert (
        max(run.data.metrics["best_val_accuracy"] for run in trials if run.data.tags["flowerml.phase"] == "trials")
        == out["best"]["value"]
    )

    assert main([*line, "--trials", "3"]) == 0
    told = capsys.readouterr()
    assert "2 of 3 trials are done, 1 newly queued" in told.err
    assert [run.info.run_id for run in runs_of("sweep")] == [out["run_id"]] == [json.loads(told.out)["run_id"]]
    assert runs_of("sweep")[0].info.status == "FINISHED"
    assert runs_of("sweep")[0].data.metrics["trials_complete"] == 3
    trial_runs = [run for run in runs_of("trial") if run.data.tags["flowerml.phase"] == "trials"]
    assert len(trial_runs) == 3
    assert len({run.data.tags["flowerml.config_id"] for run in trial_runs}) == 3, "each point once"


@pytest.mark.slow
def test_trials_of_linear_probes_share_one_backbone_file(flowers, tmp_path, capsys):
    """Each is the run that `flowerml train --probe` makes, and one that is chosen is registered as a whole model."""
    root = tmp_path / "runs"
    line = sweep_args(flowers, root, "--space", "grid", "--probe", "--study", "p", "--trials", "2", "--json")
    without = line.index("--freeze-backbone-epochs")
    del line[without : without + 2]
    assert main(line) == 0
    out = json.loads(capsys.readouterr().out)
    (backbone,) = (root / "p").glob("backbone-*.pth")
    assert backbone.name in {file.path for file in MlflowClient().list_artifacts(out["run_id"])}
    heads = sorted(root.glob("p-trial-*/best.pth"))
    assert [set(torch.load(head, weights_only=True)["state_dict"]) for head in heads] == 2 * [
        {"head.weight", "head.bias"}
    ]

    trial = load_checkpoint(heads[1])
    alone = trial.parse_settings().replace(output_dir=str(tmp_path / "alone"), run_name="alone")
    run_training(alone, lambda *_: MemoryRecorder())
    whole = load_checkpoint(tmp_path / "alone" / "best.pth")
    assert weights_digest(trial.state_dict) == weights_digest(whole.state_dict)
    assert trial.metrics == whole.metrics

    assert main(["select", "--family", "cnn", "--include", "trial", "--seeds", "11", "--register"]) == 0
    shutil.rmtree(root)
    assert main(["export", "--family", "cnn", "--output-dir", str(tmp_path / "delivery")]) == 0
    delivered = torch.load(tmp_path / "delivery" / "cnn_flowers.pth", weights_only=True)["state_dict"]
    assert set(delivered) == set(whole.state_dict)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--trials", "0"], "--trials is '0'. Allowed: whole number, 1 to 100000"),
        (["--trials", "65", "--space", "grid"], "the grid has 16 points with what is given"),
        (["--space", "random"], "choose from"),
        (["--pruner", "hyperbant"], "Did you mean hyperband"),
        (["--study", "a b"], "--study is 'a b'. Allowed"),
        (["--storage", "mongo://x"], "--storage mongo://x"),
        (["--val-split", "0"], "nothing to compare trials by"),
        (["--lr-head", "-1"], "--lr-head"),
        (["--freeze-backbone-epochs", "9"], "--freeze-backbone-epochs 9 is longer than the run (--epochs 2)"),
        (["--runs-root", "/dev/null/x"], "/dev/null/x"),
        (["--workers", "many"], "--workers is 'many'. Allowed"),
        (["--train-dir", "nowhere"], "--train-dir nowhere: no such folder"),
        (["--model", "relation_resnet18"], "models of family relation have no grid to search"),
    ],
)
def test_bad_input_is_one_line(flowers, tmp_path, capsys, more, said):
    assert main(sweep_args(flowers, tmp_path / "runs", *more)) == 2
    told = capsys.readouterr().err.strip().splitlines()
    assert said in told[-1]
    assert sum(line.startswith("error: ") for line in told) == 1


@pytest.mark.slow
def test_settings_that_no_trial_can_run_stop_the_sweep(tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    assert main(sweep_args(tmp_path / "empty", tmp_path / "runs", "--trials", "2")) in (1, 2)
    assert "error: " in capsys.readouterr().err
