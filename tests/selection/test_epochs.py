"""The order of epochs and early stopping, as rules on plain records."""

import itertools
import random

import pytest

from flowerml.selection.epochs import EarlyStopping, EpochResult, is_better, is_improvement

MONITORS = ["val_accuracy", "val_macro_f1", "val_mean_recall", "val_loss"]


def result(epoch: int, hits: int, macro_f1: float = 0.5, loss: float = 1.0, mean_recall: float = 0.5) -> EpochResult:
    return EpochResult(epoch, hits, 100, macro_f1, loss, mean_recall)


def test_accuracy_is_hits_over_total():
    assert EpochResult(1, 3, 4, 0.5, 1.0).accuracy == 0.75


@pytest.mark.parametrize("monitor", MONITORS)
def test_the_first_epoch_is_always_the_best_so_far(monitor):
    assert is_better(result(1, 0, 0.0, 99.0), None, monitor)
    assert is_improvement(result(1, 0, 0.0, 99.0), None, monitor)


@pytest.mark.parametrize(
    ("new", "wins"),
    [
        (result(2, 91, 0.1, 9.0), True),  # more hits, whatever the rest says
        (result(2, 89, 0.9, 0.1), False),
        (result(2, 90, 0.6, 9.0), True),  # equal hits: macro-F1
        (result(2, 90, 0.4, 0.1), False),
        (result(2, 90, 0.5, 0.1), False),  # equal in both: the earlier epoch, even at a lower loss
    ],
)
def test_val_accuracy_then_macro_f1_then_the_earlier_epoch(new, wins):
    assert is_better(new, result(1, 90), "val_accuracy") is wins


@pytest.mark.parametrize(
    ("new", "wins"),
    [
        (result(2, 10, 0.6), True),
        (result(2, 99, 0.4), False),
        (result(2, 91, 0.5), True),  # equal macro-F1: hits
        (result(2, 89, 0.5), False),
        (result(2, 90, 0.5), False),
    ],
)
def test_val_macro_f1_then_accuracy_then_the_earlier_epoch(new, wins):
    assert is_better(new, result(1, 90), "val_macro_f1") is wins


@pytest.mark.parametrize(
    ("new", "wins"),
    [
        (result(2, 10, 0.1, 0.9), True),
        (result(2, 99, 0.9, 1.1), False),
        (result(2, 91, 0.5, 1.0), True),
        (result(2, 90, 0.6, 1.0), True),
        (result(2, 90, 0.5, 1.0), False),
    ],
)
def test_the_lower_val_loss_then_accuracy_then_macro_f1_then_the_earlier_epoch(new, wins):
    assert is_better(new, result(1, 90), "val_loss") is wins


@pytest.mark.parametrize(
    ("new", "wins"),
    [
        (result(2, 10, 0.1, mean_recall=0.6), True),
        (result(2, 99, 0.9, mean_recall=0.4), False),
        (result(2, 91), True),  # equal mean recall: hits
        (result(2, 90), False),
    ],
)
def test_val_mean_recall_then_accuracy_then_macro_f1_then_the_earlier_epoch(new, wins):
    assert is_better(new, result(1, 90), "val_mean_recall") is wins


def test_macro_f1_that_differs_by_rounding_alone_is_a_tie():
    summed, written = 0.1 + 0.2, 0.3
    assert summed > written
    for monitor in ("val_accuracy", "val_macro_f1"):
        assert not is_better(result(2, 90, summed), result(1, 90, written), monitor)
    assert not is_improvement(result(2, 90, summed), result(1, 90, written), "val_macro_f1")
    assert is_better(result(2, 90, 0.3001), result(1, 90, 0.3), "val_accuracy")


@pytest.mark.parametrize("monitor", MONITORS)
def test_the_winner_of_a_run_is_independent_of_how_it_is_looked_for(monitor):
    """Epoch by epoch as the loop does it, and by sorting all at once."""
    draw = random.Random(5)
    for _ in range(200):
        epochs = [
            result(n, draw.randint(88, 91), *(draw.choice(pair) for pair in ([0.4, 0.5], [0.9, 1.0], [0.3, 0.6])))
            for n in range(1, 8)
        ]
        leader = None
        for epoch in epochs:
            if is_better(epoch, leader, monitor):
                leader = epoch
        keys = {"val_accuracy": lambda e: (), "val_macro_f1": lambda e: (e.macro_f1,), "val_loss": lambda e: (-e.loss,)}
        keys["val_mean_recall"] = lambda e: (e.mean_recall,)
        assert leader == max(epochs, key=lambda e: (*keys[monitor](e), e.hits, e.macro_f1, -e.epoch))


@pytest.mark.parametrize("monitor", MONITORS)
def test_better_contradicts_itself_for_no_pair(monitor):
    kinds = [result(1, hits, f1, loss) for hits, f1, loss in itertools.product((90, 91), (0.4, 0.5), (0.9, 1.0))]
    for one, other in itertools.product(kinds, kinds):
        assert not (is_better(one, other, monitor) and is_better(other, one, monitor))
        if (one.hits, one.macro_f1) != (other.hits, other.macro_f1):
            assert is_better(one, other, monitor) or is_better(other, one, monitor)


def stopped_after(stopping: EarlyStopping, epochs: list[EpochResult]) -> int | None:
    return next((epoch.epoch for epoch in epochs if stopping.stop_after(epoch)), None)


def run_of(*hits: int) -> list[EpochResult]:
    return [result(number, count) for number, count in enumerate(hits, start=1)]


@pytest.mark.parametrize(
    ("patience", "hits", "last"),
    [
        (2, (50, 50, 50, 50), 3),
        (2, (50, 49, 51, 51, 51, 60), 5),
        (1, (50, 51, 52, 52), 4),
        (3, (50, 40, 40), None),
        (2, (50, 60, 55, 59, 58), 4),  # better than the last one is not better than the best one
        (0, (50, 40, 30, 20, 10), None),
    ],
)
def test_patience_counts_epochs_since_the_best(patience, hits, last):
    assert stopped_after(EarlyStopping(patience, 0, "val_accuracy"), run_of(*hits)) == last


@pytest.mark.parametrize(("min_epochs", "last"), [(0, 3), (3, 3), (4, 4), (6, 6), (9, None)])
def test_nothing_stops_before_min_epochs_and_the_count_goes_on_meanwhile(min_epochs, last):
    assert stopped_after(EarlyStopping(2, min_epochs, "val_accuracy"), run_of(*[50] * 8)) == last


def test_stopping_looks_at_the_monitor_alone_ties_aside():
    rising = [EpochResult(n, 50, 100, 0.5 + n / 100, 1 - n / 100) for n in range(1, 7)]
    assert stopped_after(EarlyStopping(2, 0, "val_accuracy"), rising) == 3
    assert stopped_after(EarlyStopping(2, 0, "val_macro_f1"), rising) is None
    rising_recall = [result(n, 50, mean_recall=0.3 + n / 100) for n in range(1, 7)]
    assert stopped_after(EarlyStopping(2, 0, "val_mean_recall"), rising_recall) is None
    assert stopped_after(EarlyStopping(2, 0, "val_loss"), rising) is None


def test_without_says_how_long_nothing_got_better():
    stopping = EarlyStopping(5, 0, "val_accuracy")
    counts = []
    for epoch in run_of(50, 50, 49, 51, 50):
        stopping.stop_after(epoch)
        counts.append(stopping.without)
    assert counts == [0, 1, 2, 0, 1]
    assert stopping.leader == result(4, 51)
