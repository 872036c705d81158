"""Runs with settings of the recipe that are off by default: interrupted and resumed they are as uninterrupted ones."""

import csv
import shutil

import pytest

from tests.runs.interrupted_runs import assert_whole, epoch

pytestmark = pytest.mark.slow

CHANGES = {
    "unmixed epochs": {"unmixed_epochs": 2},
    "SAM": {"sam_rho": 0.05, "accumulate": 2},
    "LoRA": {"lora_rank": 2, "lr_backbone": 1e-2, "accumulate": 2},
}


def rows_of(folder):
    with (folder / "history.csv").open() as handle:
        return [
            {name: float(row[name]) for name in ("train_loss", "grad_norm", "val_loss")}
            for row in csv.DictReader(handle)
        ]


@pytest.fixture(scope="module", params=CHANGES)
def changes(request):
    return CHANGES[request.param]


@pytest.fixture(scope="module")
def whole(train_small, changes):
    """A run that nothing interrupts, with mixing, augmentation, dropout and stochastic depth on."""
    return train_small(dropout=0.2, **changes)[0]


@pytest.mark.parametrize("place", ["epochs-0001-steps-000002", "epochs-0002-steps-000002"])
def test_interrupted_and_resumed_is_as_if_nothing_had_happened(begin, whole, changes, tmp_path, capsys, place):
    """It goes on from inside the second epoch, or the third and last."""
    begin(epoch(3), checkpoint_every_steps=2, keep_checkpoints=100, **changes)
    for path in (tmp_path / "out" / "state").iterdir():
        if path.name > place:
            shutil.rmtree(path)
    capsys.readouterr()
    begin(**changes)
    assert f"it goes on after step 2 of epoch {int(place[10]) + 1}" in capsys.readouterr().err
    assert_whole(tmp_path / "out", whole)


def test_two_processes_take_the_steps_of_one_with_sam(train_small):
    """The weights are moved along the gradient of the whole batch, on each of them."""
    changes = {"sam_rho": 0.2, "amp": False, "epochs": 2, "patience": 0}
    one, two, plain = (
        rows_of(train_small(**{**changes, **given})[0].folder) for given in ({}, {"gpus": 2}, {"sam_rho": 0})
    )
    for alone, together in zip(one, two, strict=True):
        assert together == pytest.approx(alone, rel=1e-4)
    assert plain[-1] != pytest.approx(one[-1], rel=1e-3)
