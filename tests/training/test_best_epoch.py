"""Which epoch is the best, which weights `on_best` gets, and when training stops early."""

import pytest
import torch

from flowerml.models.classifier import Classifier
from tests.training.conftest import same_weights


def run_without_progress(toy, **changes):
    """Rates near 0: no epoch is better than the first."""
    return toy.run(**{"lr_head": 1e-12, "lr_backbone": 1e-12, "weight_decay": 0.0, "epochs": 8, **changes})


@pytest.mark.parametrize("seed", [1, 2, 3, 4])
def test_best_epoch_is_by_hits_then_macro_f1_then_earliest(toy, make_examples, seed):
    """Random labels make the accuracy jump; the selection below is written independently of the trainer."""
    val = make_examples(15, first=2000, random_labels=True)
    trained = toy.run(
        epochs=8, seed=seed, lr_head=0.2, lr_backbone=0.1, ema=False, val=val, grad_clip=0.0, scheduler="constant"
    )
    merits = [(round(row["val_accuracy"] * 15), round(row["val_macro_f1"], 9), -row["epoch"]) for row in trained.rows]
    leaders = [epoch for epoch in range(1, 9) if max(merits[:epoch])[2] == -epoch]
    assert [best.epoch for best in trained.bests] == leaders
    best = trained.outcome.best
    assert best.epoch == leaders[-1] == -max(merits)[2]
    assert (
        best.result.accuracy
        == trained.rows[best.epoch - 1]["val_accuracy"]
        == max(row["val_accuracy"] for row in trained.rows)
    )
    assert best.predictions.ids == tuple(example.id for example in val)


def test_on_ties_the_earliest_epoch_is_best(toy):
    trained = run_without_progress(toy)
    assert [best.epoch for best in trained.bests] == [1]
    assert trained.outcome.best.epoch == 1


@pytest.mark.parametrize(
    ("patience", "min_epochs", "last"), [(1, 0, 2), (3, 0, 4), (2, 6, 6), (2, 2, 3), (0, 0, 8), (8, 0, 8)]
)
def test_early_stopping_waits_for_patience_and_for_min_epochs(toy, patience, min_epochs, last):
    trained = run_without_progress(toy, patience=patience, min_epochs=min_epochs)
    assert len(trained.rows) == last
    assert trained.outcome.best.epoch == 1
    assert ("stopped after" in trained.outcome.stop_cause) == (last < 8)
    if last < 8:
        assert f"epoch {last}" in trained.outcome.stop_cause
        assert "val_accuracy" in trained.outcome.stop_cause


def test_a_run_that_would_stop_at_its_last_epoch_has_done_all_epochs(toy):
    trained = run_without_progress(toy, epochs=4, patience=3)
    assert len(trained.rows) == 4
    assert trained.outcome.stop_cause == "all epochs done"


def test_early_stopping_uses_the_monitored_metric(toy):
    """The loss keeps falling while the accuracy stands: only the accuracy's watcher stops."""
    slow = {
        "lr_head": 1e-5,
        "lr_backbone": 1e-12,
        "weight_decay": 0.0,
        "scheduler": "constant",
        "ema": False,
        "epochs": 5,
        "patience": 2,
    }
    assert len(toy.run(**slow).rows) == 3
    by_loss = toy.run(monitor="val_loss", **slow)
    assert len(by_loss.rows) == 5
    assert by_loss.outcome.best.epoch == 5


def test_patience_restarts_with_every_better_epoch(toy):
    trained = toy.run(epochs=12, patience=3, lr_head=0.05, lr_backbone=0.05, scheduler="constant", ema=False)
    reached = [row["val_accuracy"] for row in trained.rows]
    assert max(reached) > reached[0]  # there really was a better epoch in between
    since_best = [epoch - reached[: epoch + 1].index(max(reached[: epoch + 1])) for epoch in range(len(reached))]
    assert all(waited < 3 for waited in since_best[:-1])
    assert len(reached) == 12 or since_best[-1] == 3


@pytest.mark.parametrize("ema", [True, False])
def test_without_validation_the_last_epoch_is_the_best_and_nothing_stops_early(toy, ema):
    trained = run_without_progress(toy, val=[], patience=1, epochs=4, ema=ema)
    assert len(trained.rows) == 4
    assert [best.epoch for best in trained.bests] == [4]
    assert trained.outcome.best.epoch == 4
    assert trained.outcome.best.result is None
    assert trained.outcome.best.predictions is None
    assert not any(name.startswith("val_") for row in trained.rows for name in row)
    assert trained.outcome.stop_cause == "all epochs done"


def test_without_validation_stop_epoch_is_the_last_epoch(toy):
    trained = run_without_progress(toy, val=[], epochs=5, stop_epoch=2)
    assert [best.epoch for best in trained.bests] == [2]


@pytest.mark.parametrize("ema", [True, False])
def test_the_saved_weights_are_the_evaluated_weights_exactly(toy, make_built, make_examples, ema):
    trained = toy.run(epochs=4, ema=ema, dropout=0.3)
    assert trained.bests
    inputs = torch.stack([example.read() for example in make_examples(12, first=1000)])
    labels = torch.tensor([example.label for example in make_examples(12, first=1000)])
    for best in trained.bests:
        model: Classifier = make_built().model
        model.load_state_dict(best.state_dict, strict=True)
        with torch.no_grad():
            logits = torch.cat([model.eval()(chunk) for chunk in inputs.split(5)])
        row = trained.rows[best.epoch - 1]
        assert torch.equal(logits, torch.from_numpy(best.predictions.logits))
        assert row["val_accuracy"] == (logits.argmax(1) == labels).double().mean().item()
        assert row["val_loss"] == pytest.approx(
            torch.nn.functional.cross_entropy(logits.double(), labels).item(), rel=1e-9
        )


def test_without_ema_the_raw_weights_are_saved_and_with_it_the_average(toy):
    raw, averaged = (toy.run(epochs=3, ema=ema, val=[]) for ema in (False, True))
    assert same_weights(raw.weights(), averaged.weights())  # averaging watches, it does not steer
    assert same_weights(raw.bests[-1].state_dict, raw.weights())
    assert not same_weights(averaged.bests[-1].state_dict, averaged.weights())
