"""Runs with `--max-minutes`: fewer epochs than asked for, recorded, repeated by `--fitted-steps`, resumed."""

import csv
import json

import pytest
import torch

from flowerml.errors import RunFailed
from flowerml.events import Ended, Status
from flowerml.prediction import load_cnn_model
from flowerml.runs.prepare import prepare
from flowerml.runs.resume import checkpoints_of, find_start_point
from flowerml.settings import resolve
from flowerml.training.checkpoints.checkpoint import load_checkpoint
from tests.runs.conftest import SMALL
from tests.runs.interrupted_runs import epoch

pytestmark = pytest.mark.slow

LONG = {"epochs": 5000, "warmup_epochs": 500, "freeze_backbone_epochs": 500, "patience": 0}
MINUTES = 0.1


@pytest.fixture(scope="module")
def limited(train_small):
    """A run that is to end after six seconds, and its recorder."""
    return train_small(**LONG, max_minutes=MINUTES)


def history(folder):
    with (folder / "history.csv").open() as file:
        return [{**row, "images_per_second": ""} for row in csv.DictReader(file)]


def test_it_ends_with_its_schedule_before_the_epochs_it_was_given(limited):
    finished, recorder = limited
    rows = history(finished.folder)
    tags = recorder.tags()
    assert recorder.events[-1] == Ended(Status.FINISHED)
    assert 1 <= len(rows) < 5000
    assert tags["flowerml.ended"] == "all fitted steps done"
    assert len(rows) - 1 < float(tags["flowerml.fitted_epochs"]) <= len(rows)
    assert float(rows[-1]["lr_head"]) == pytest.approx(SMALL["lr_head"] / 100)
    note = tags["mlflow.note.content"]
    assert f"at epoch {finished.best_epoch} of {tags['flowerml.fitted_epochs']} (all fitted steps done)" in note
    assert f"to repeat the run: --max-minutes 0 --fitted-steps {tags['flowerml.fitted_steps']}." in note
    load_cnn_model(finished.folder / "best.pth")


def test_repeated_by_the_recorded_steps_it_is_the_same_run(limited, train_small):
    finished, recorder = limited
    again, _ = train_small(**LONG, fitted_steps=recorder.tags()["flowerml.fitted_steps"])
    assert history(again.folder) == history(finished.folder)
    one, two = (load_checkpoint(run.folder / "best.pth").state_dict for run in (finished, again))
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_the_limit_is_a_part_of_the_configuration(limited):
    finished, _ = limited
    identity = json.loads((finished.folder / "settings.json").read_text())["identity"]
    assert identity["max_minutes"] == MINUTES
    assert "fitted_steps" not in identity


def test_a_stopped_run_goes_on_with_its_length_and_the_time_that_is_left(begin, flowers, tmp_path):
    """Its checkpoint has the length and the time spent; trial steps are not taken again."""
    changes = {**LONG, "epochs": 300, "warmup_epochs": 30, "freeze_backbone_epochs": 0, "max_minutes": MINUTES}
    begin(epoch(3), **changes)
    given = {**SMALL, "dropout": 0.2, "train_dir": str(flowers), "output_dir": str(tmp_path / "out"), **changes}
    run = prepare(resolve(given)[0])
    state = find_start_point(run).checkpoint.load()["length"]
    assert checkpoints_of(run).positions()
    assert state["fits"][0][0] == 0
    assert 0 < state["spent"] < 60
    recorder = begin(**changes)
    rows = history(tmp_path / "out")
    assert [row["epoch"] for row in rows] == [str(number) for number in range(1, len(rows) + 1)]
    assert recorder.events[-1] == Ended(Status.FINISHED)


def test_a_limit_that_nothing_fits_into_is_one_line(train_small):
    with pytest.raises(RunFailed, match="is too short for a single step") as caught:
        train_small(max_minutes=0.0001)
    assert "\n" not in str(caught.value)
