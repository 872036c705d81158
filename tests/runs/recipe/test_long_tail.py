"""Rare classes from the settings to the files: what the loss is told, and what an evaluation takes out again
afterwards.
"""

import json

import numpy as np
import pandas as pd
import pytest

from flowerml.errors import UserError
from flowerml.events import MemoryRecorder
from flowerml.runs.evaluate import Request, run_evaluation
from flowerml.training.checkpoints.checkpoint import load_checkpoint, save_checkpoint

pytestmark = pytest.mark.slow

CLASSES = ("daisy", "dandelion", "rose", "sunflower", "tulip")


@pytest.fixture(scope="module")
def tail_run(train_small):
    """All tools at once, with uneven repeats so that the prior is not flat."""
    return train_small(
        class_weights="effective", effective_beta=0.9, focal_gamma=2, logit_adjustment=0.5, val_split=0.3
    )


def evaluate(path, tau):
    request = Request(path, "val", workers=0, device="cpu", logit_adjustment=tau)
    return run_evaluation(request, lambda *_: MemoryRecorder())


def test_the_tools_change_the_training(train_small, small_run):
    """Each of them, alone, gives another history: none is parsed and forgotten."""
    plain = small_run[0].folder.joinpath("history.csv").read_text().splitlines()[1].split(",")[1]
    for changes in ({"focal_gamma": 2}, {"logit_adjustment": 1}):
        other = (
            train_small(dropout=0.2, **changes)[0]
            .folder.joinpath("history.csv")
            .read_text()
            .splitlines()[1]
            .split(",")[1]
        )
        # Five classes of equal size: adjustment moves every logit by the same, which the softmax does not see.
        same = np.isclose(float(plain), float(other), rtol=1e-4)
        assert same == ("logit_adjustment" in changes)


def test_the_balance_file_and_the_checkpoint_have_the_prior(tail_run):
    folder = tail_run[0].folder
    written = json.loads((folder / "balance.json").read_text())
    assert written["logit_adjustment"] == 0.5
    assert load_checkpoint(folder / "best.pth").prior == pytest.approx(written["prior"])
    assert sum(written["prior"]) == pytest.approx(1)


def test_a_post_hoc_adjustment_is_that_of_the_written_prior(tail_run, tmp_path):
    """log p' = log p - tau log prior, renormalised, for every picture; in a folder of its own beside the plain
    evaluation.
    """
    folder = tail_run[0].folder
    checkpoint = load_checkpoint(folder / "best.pth")
    prior = np.array([0.1, 0.3, 0.2, 0.35, 0.05])
    uneven = tmp_path / "best.pth"
    save_checkpoint(uneven, type(checkpoint)(**{**vars(checkpoint), "prior": tuple(prior)}))
    evaluate(uneven, 0.0)
    evaluate(uneven, 1.5)
    plain, adjusted = (pd.read_csv(tmp_path / name / "predictions.csv") for name in ("eval_val", "eval_val_adjusted"))
    columns = [f"p_{name}" for name in CLASSES]
    expected = plain[columns].to_numpy() / prior**1.5
    assert adjusted[columns].to_numpy() == pytest.approx(expected / expected.sum(axis=1, keepdims=True), rel=1e-4)
    assert list(adjusted.image) == list(plain.image)


def test_a_checkpoint_without_a_prior_says_so(tail_run, tmp_path):
    checkpoint = load_checkpoint(tail_run[0].folder / "best.pth")
    old = tmp_path / "old.pth"
    save_checkpoint(old, type(checkpoint)(**{**vars(checkpoint), "prior": None}))
    with pytest.raises(UserError, match="does not say how frequent its classes were"):
        evaluate(old, 1.0)
