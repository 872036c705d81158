"""`--unmixed-epochs`: the last epochs without mixup and cutmix."""

import pytest

from flowerml.training.train_step import TrainStep
from tests.training.conftest import same_weights

MIXED = {"mixup": 0.2, "cutmix": 1.0, "label_smoothing": 0.1, "dropout": 0.3}


@pytest.fixture
def target_dims(monkeypatch):
    """Dimensions of the targets of each step: 1 for labels, 2 for mixed ones."""
    dims = []
    queue = TrainStep.queue

    def watched(self, inputs, targets, *rest):
        dims.append(targets.ndim)
        return queue(self, inputs, targets, *rest)

    monkeypatch.setattr(TrainStep, "queue", watched)
    return dims


def test_only_the_last_epochs_are_unmixed(toy, target_dims):
    """27 pictures are four batches of 8."""
    with_it = toy.run(**MIXED, unmixed_epochs=1)
    assert target_dims == [2] * 8 + [1] * 4
    without = toy.run(**MIXED)
    assert with_it.metrics()[:2] == without.metrics()[:2]
    assert with_it.metrics()[2] != without.metrics()[2]


def test_all_of_them_are_a_run_without_mixing_label_smoothing_stays(toy):
    unmixed = toy.run(**MIXED, unmixed_epochs=3)
    plain = toy.run(**{**MIXED, "mixup": 0.0, "cutmix": 0.0})
    assert unmixed.metrics() == plain.metrics()
    assert same_weights(unmixed.weights(), plain.weights())
    sharp = toy.run(**{**MIXED, "mixup": 0.0, "cutmix": 0.0, "label_smoothing": 0.0})
    assert sharp.metrics() != plain.metrics()


def test_they_are_the_last_of_the_schedule_not_of_a_run_that_ends_before(toy, target_dims):
    toy.run(**MIXED, unmixed_epochs=1, stop_epoch=2)
    assert target_dims == [2] * 8
