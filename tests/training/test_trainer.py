"""The trainer on a toy: reproducibility, metrics, accumulation, schedules, and the stop at NaN."""

import math
import multiprocessing
import os
import signal
import tempfile
import time
from functools import partial
from pathlib import Path

import pytest
import torch

from flowerml.data.decode import BadImage
from flowerml.data.loader import Example
from flowerml.errors import RunFailed, Stopped
from flowerml.runs.lifecycle.stop_request import StopRequest, graceful, handle_signals
from flowerml.training.checkpoints.progress import Progress
from flowerml.training.train_step import NotFinite, TrainStep
from flowerml.training.trainer import Trainer
from tests.tracking.faulty_server import wait_for
from tests.training.conftest import same_weights

COLUMNS = [
    "epoch",
    "train_loss",
    "lr_head",
    "lr_backbone",
    "grad_norm",
    "images_per_second",
    "val_loss",
    "val_accuracy",
    "val_macro_f1",
    "val_mean_recall",
]
EVERYTHING = {
    "dropout": 0.3,
    "mixup": 0.2,
    "cutmix": 1.0,
    "label_smoothing": 0.1,
    "freeze_backbone_epochs": 1,
    "amp": True,
}


def test_metrics_have_the_documented_columns_and_on_epoch_gets_them(toy):
    trained = toy.run()
    assert [list(row) for row in trained.rows] == [COLUMNS] * 3
    assert trained.outcome.history == trained.rows
    assert [row["epoch"] for row in trained.rows] == [1, 2, 3]
    assert trained.outcome.stop_cause == "all epochs done"


def test_it_learns(toy):
    trained = toy.run(epochs=10, lr_backbone=0.02)
    assert trained.rows[-1]["train_loss"] < 0.8 * trained.rows[0]["train_loss"]
    assert trained.outcome.best.result.accuracy > 0.6


@pytest.mark.parametrize("seed", [0, 11])
def test_the_same_seed_gives_the_same_history_and_weights_whatever_the_generator_state(toy, seed):
    runs = []
    for before in (1, 2):
        torch.manual_seed(before)
        runs.append(toy.run(seed=seed, **EVERYTHING))
    assert runs[0].metrics() == runs[1].metrics()
    assert same_weights(runs[0].weights(), runs[1].weights())
    assert same_weights(runs[0].bests[-1].state_dict, runs[1].bests[-1].state_dict)


@pytest.mark.slow
def test_worker_processes_change_nothing(toy):
    here, there = toy.run(epochs=2, **EVERYTHING), toy.run(epochs=2, workers=2, **EVERYTHING)
    assert here.metrics() == there.metrics()
    assert same_weights(here.weights(), there.weights())


@pytest.mark.slow
@pytest.mark.parametrize("seeds", [(11, 12), (0, 1), (0, 11)])
def test_another_seed_gives_another_run_also_for_seed_0(toy, seeds):
    one, other = (toy.run(seed=seed) for seed in seeds)
    assert one.metrics() != other.metrics()
    assert not same_weights(one.weights(), other.weights())


def test_dropout_depends_on_the_seed(toy):
    """One batch an epoch, so that the order of the pictures plays no part."""
    losses = [toy.run(seed=seed, epochs=1, batch_size=27, dropout=0.5).rows[0]["train_loss"] for seed in (1, 1, 2)]
    assert losses[0] == losses[1]
    assert losses[0] != pytest.approx(losses[2], rel=1e-5)


def test_a_run_with_stop_epoch_equals_the_start_of_the_longer_one(toy):
    whole, cut = toy.run(epochs=5, **EVERYTHING), toy.run(epochs=5, stop_epoch=2, **EVERYTHING)
    assert cut.metrics() == whole.metrics()[:2]
    assert same_weights(cut.weights(), whole.after[1])


def test_train_loss_is_a_mean_over_pictures_not_over_batches(toy, make_built, make_examples):
    """27 pictures in batches of 8 leave a last batch of 3; rates of nearly 0 keep the weights where they are."""
    built = make_built()
    pictures = make_examples(27)
    inputs = torch.stack([example.read() for example in pictures])
    labels = torch.tensor([example.label for example in pictures])
    losses = torch.nn.functional.cross_entropy(built.model(inputs), labels).item()
    row = toy.run(built=built, epochs=1, lr_head=1e-12, lr_backbone=1e-12, weight_decay=0.0).rows[0]
    assert row["train_loss"] == pytest.approx(losses, rel=1e-5)


def test_class_weights_reach_the_loss(toy):
    slow = {"epochs": 1, "lr_head": 1e-12, "lr_backbone": 1e-12}
    plain, doubled = toy.run(**slow), toy.run(class_weights=(2.0, 2.0, 2.0), **slow)
    assert doubled.rows[0]["train_loss"] == pytest.approx(2 * plain.rows[0]["train_loss"], rel=1e-5)
    assert doubled.rows[0]["val_loss"] == pytest.approx(plain.rows[0]["val_loss"], rel=1e-5)


def test_label_smoothing_and_mixing_apply_to_training_only(toy):
    slow = {"epochs": 1, "lr_head": 1e-12, "lr_backbone": 1e-12}
    plain, changed = toy.run(**slow), toy.run(label_smoothing=0.5, mixup=1.0, cutmix=1.0, dropout=0.5, **slow)
    assert changed.rows[0]["train_loss"] != pytest.approx(plain.rows[0]["train_loss"], rel=1e-6)
    assert changed.rows[0]["val_loss"] == pytest.approx(plain.rows[0]["val_loss"], rel=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("mixing", [{}, {"mixup": 1.0, "cutmix": 1.0}])
@pytest.mark.parametrize("parts", [2, 4])
def test_accumulation_changes_nothing_also_with_mixed_batches(toy, mixing, parts):
    whole, split = (toy.run(epochs=2, accumulate=accumulate, **mixing) for accumulate in (1, parts))
    for one, other in zip(whole.metrics(), split.metrics(), strict=True):
        assert other == pytest.approx(one, rel=1e-3)
    assert all(torch.allclose(tensor, split.weights()[name], atol=1e-4) for name, tensor in whole.weights().items())


def test_the_cosine_ends_at_a_hundredth_of_every_rate(toy):
    last = toy.run(epochs=4, warmup_epochs=1).rows[-1]
    assert last["lr_head"] == pytest.approx(0.02e-2)
    assert last["lr_backbone"] == pytest.approx(0.01e-2)


def test_the_warm_up_ends_with_its_epoch(toy):
    rows = toy.run(epochs=4, warmup_epochs=2, scheduler="constant").rows
    assert [row["lr_head"] for row in rows] == pytest.approx([0.01, 0.02, 0.02, 0.02])


def test_plateau_cuts_are_listed_and_take_effect_in_the_next_epoch(toy):
    """Rates of nearly 0: the validation loss stands still, so every second epoch after the first cuts (patience 1)."""
    trained = toy.run(
        epochs=6,
        scheduler="plateau",
        plateau_patience=1,
        plateau_factor=0.1,
        lr_head=1e-9,
        lr_backbone=1e-9,
        min_lr=0.0,
    )
    assert trained.outcome.cuts == [3, 5]
    assert [row["lr_head"] for row in trained.rows] == pytest.approx([1e-9, 1e-9, 1e-9, 1e-10, 1e-10, 1e-11])


def test_other_schedules_have_no_cuts(toy):
    assert toy.run(epochs=4, lr_head=1e-9, lr_backbone=1e-9, plateau_patience=0).outcome.cuts == []


def test_evaluation_draws_no_random_number_and_restores_training_mode(toy):
    assert same_weights(
        toy.run(epochs=2, dropout=0.3, ema=False).weights(), toy.run(epochs=2, dropout=0.3, ema=False, val=[]).weights()
    )


class _Failing:
    """Reads noise until it is told to go bad."""

    def __init__(self) -> None:
        self.bad: str = ""

    def read(self) -> torch.Tensor:
        if self.bad == "gone":
            raise BadImage("No such file or directory")
        return torch.full((3, 8, 8), math.nan if self.bad else 0.5)


def test_a_non_finite_loss_stops_at_once_and_keeps_the_best_weights(toy, make_examples):
    failing, seen = _Failing(), []
    pictures = [*make_examples(7), Example("rose/bad 1.jpg", 1, failing.read)]

    def go_bad(_row) -> None:
        failing.bad = "nan"

    with pytest.raises(NotFinite) as caught:
        toy.run(pictures=pictures, batch_size=8, epochs=3, on_epoch=go_bad, into=seen)
    message = str(caught.value)
    assert all(what in message for what in ("epoch 2", "step 1", "lr_head", "lr_backbone", "rose/bad 1.jpg"))
    assert "\n" not in message
    (trained,) = seen
    assert [best.epoch for best in trained.bests] == [1]
    assert same_weights(trained.weights(), trained.after[0])
    assert all(tensor.isfinite().all() for tensor in trained.bests[0].state_dict.values())


@pytest.mark.parametrize("workers", [0, 1])
def test_a_missing_image_fails_with_its_name(toy, make_examples, workers):
    failing = _Failing()
    failing.bad = "gone"
    pictures = [*make_examples(7), Example("rose/gone.jpg", 1, failing.read)]
    with pytest.raises(RunFailed, match=r"rose/gone\.jpg: No such file or directory") as caught:
        toy.run(pictures=pictures, workers=workers)
    assert "\n" not in str(caught.value)


def test_a_run_of_one_step_works(toy, make_examples):
    trained = toy.run(pictures=make_examples(6), epochs=1, batch_size=8)
    assert len(trained.rows) == 1
    assert same_weights(trained.bests[0].state_dict, trained.weights())


def test_every_epoch_has_every_image_once_in_a_new_order(toy):
    drawn: list[float] = []

    def read(number: int) -> torch.Tensor:
        drawn.append(float(number))
        return torch.zeros(3, 8, 8)

    toy.run(pictures=[Example(str(number), number % 3, partial(read, number)) for number in range(9)], epochs=2, val=[])
    first, second = drawn[:9], drawn[9:]
    assert sorted(first) == sorted(second) == [float(number) for number in range(9)]
    assert first != second


def test_ctrl_c_ends_the_wait_for_a_picture(toy, make_examples):
    """It may never come. No step is half done then, so the state is saved, and no step is taken any more."""

    def interrupt() -> torch.Tensor:
        os.kill(os.getppid(), signal.SIGINT)
        time.sleep(1)
        return torch.zeros(3, 8, 8)

    stop, saved = StopRequest(), []
    with pytest.raises(Stopped, match="stopped by Ctrl-C"), handle_signals(stop), graceful(stop):
        toy.run(
            pictures=[Example("slow", 1, interrupt), *make_examples(3)],
            batch_size=4,
            workers=1,
            stop=stop,
            on_state=lambda progress, _state: saved.append(progress),
        )
    assert saved == [Progress(0, 0)]


@pytest.mark.parametrize("workers", [0, 1])
def test_all_processes_that_load_pictures_start_before_the_first_step(toy, monkeypatch, workers):
    """Forked later, one would hold a copy of the training's activations, and the next step would copy each page."""
    running, queue = [], TrainStep.queue
    before = set(multiprocessing.active_children())

    def counted(step, *arguments):
        running.append(len(set(multiprocessing.active_children()) - before))
        return queue(step, *arguments)

    monkeypatch.setattr(TrainStep, "queue", counted)
    toy.run(workers=workers, epochs=2)
    assert set(running) == {2 * workers}


def read_counted(folder: Path, number: int) -> torch.Tensor:
    """A picture of which each reading leaves a file."""
    tempfile.mkstemp(prefix=f"{number}-", dir=folder)
    return torch.zeros(3, 8, 8)


def test_worker_processes_load_for_what_comes_next(toy, monkeypatch, tmp_path):
    """Each epoch and each evaluation began with a wait for its first batch, while the worker processes had no work."""

    def counted(name: str, count: int) -> list[Example]:
        (tmp_path / name).mkdir()
        return [Example(f"{name}-{at}", at % 3, partial(read_counted, tmp_path / name, at)) for at in range(count)]

    def reads(name: str) -> int:
        return len(list((tmp_path / name).iterdir()))

    steps, queue, evaluate = [], TrainStep.queue, Trainer.evaluate

    def queued(step, *arguments):
        steps.append(reads("val"))
        if len(steps) % 4 == 0:  # the last of an epoch: the evaluation's first pictures, two batches ahead
            wait_for(lambda: reads("val") == 12 * (len(steps) // 4 - 1) + 10)
        return queue(step, *arguments)

    def evaluated(trainer, epoch, *arguments):
        if epoch < 3:  # two batches of the next epoch
            wait_for(lambda: reads("train") == 27 * epoch + 16)
        return evaluate(trainer, epoch, *arguments)

    monkeypatch.setattr(TrainStep, "queue", queued)
    monkeypatch.setattr(Trainer, "evaluate", evaluated)
    toy.run(pictures=counted("train", 27), val=counted("val", 12), workers=1)
    assert len(steps) == 12
    assert (reads("train"), reads("val")) == (3 * 27, 3 * 12), "nothing is loaded that is not needed"


def test_what_was_loaded_for_an_epoch_that_never_comes_is_dropped(toy):
    """An early stop after epoch 1."""
    here, there = (toy.run(workers=workers, patience=1, lr_head=1e-9, lr_backbone=1e-9, epochs=9) for workers in (0, 1))
    assert len(here.rows) == len(there.rows) < 9
    assert same_weights(here.weights(), there.weights())
