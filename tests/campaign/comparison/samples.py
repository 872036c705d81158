"""Two campaigns on 84 examples of three classes, for the tests of their comparison."""

import numpy as np

from flowerml.campaign.comparison.data import ComparisonData, SeedRun, Side
from flowerml.campaign.report.snapshot import Epoch

CLASSES = ("on", "left of", "inside", "outside")
COUNTS = (60, 20, 4, 0)
LABELS = np.repeat(np.arange(4), COUNTS)
SEEDS = (11, 23)


def seed_run(seed, predicted, name="A", cuts=()):
    history = tuple(Epoch(n, {"val_loss": 1 / n, "val_accuracy": 0.5 + n / 100}) for n in range(1, 7))
    metrics = {"gap_accuracy": 0.1, "best_epoch": 4.0}
    return SeedRun(
        f"{name}_seed{seed}",
        f"id-{name}-{seed}",
        seed,
        4,
        history,
        cuts,
        120.0,
        "ended",
        np.asarray(predicted),
        metrics,
    )


def side(name, *predicted, **settings):
    runs = tuple(
        seed_run(seed, one, name, cuts=(4,) if name == "two" else ())
        for seed, one in zip(SEEDS, predicted, strict=False)
    )
    return Side(
        name,
        f"{name}-1234",
        name * 16,
        "none",
        "majority: accuracy 0.7",
        {"lr_head": 1e-4, "epochs": 15, **settings},
        runs,
    )


def comparison_data(first, second, pictures=None, labels=LABELS):
    """`first` and `second` are (S, N) class numbers."""
    ids = tuple(f"pair {place}" for place in range(len(labels)))
    pictures = tuple(pictures) if pictures is not None else ids
    return ComparisonData(
        CLASSES,
        ids,
        labels,
        pictures,
        "ab" * 32,
        "cd" * 32,
        side("one", *first),
        side("two", *second, scheduler="plateau"),
    )


def predicted_classes(wrong, labels=LABELS):
    """Right but for the examples at the places `wrong`, which are taken for the next class."""
    found = labels.copy()
    found[wrong] = (found[wrong] + 1) % len(CLASSES)
    return found


ONE = [predicted_classes(range(0, 84, 2)), predicted_classes(range(0, 84, 3))]
TWO = [predicted_classes(range(0, 84, 7)), predicted_classes(range(0, 84, 9))]
