"""The arithmetic of Experiment 2: its weights to the second digit, and its other figures beside those of its rules."""

import pytest

from flowerml.data.balance import compute_balance
from flowerml.data.relations.checks import (
    EXPERIMENT_2,
    class_weights,
    epochs_at_lower_rate,
    experiment_checks,
    settings_checks,
)
from flowerml.data.relations.records import RELATIONS
from flowerml.settings import resolve
from flowerml.training.schedule import Plateau


def labels_of(counts):
    return [label for label, count in enumerate(counts) for _ in range(count)]


def settings_of(**changed):
    return resolve({"model": "convnextv2_atto", "weights": "none", **changed})[0]


def run_lines(counts=EXPERIMENT_2.counts, **changed):
    settings = settings_of(**changed)
    made = compute_balance(RELATIONS[: len(counts)], labels_of(counts), settings.class_weights, settings.oversample)
    return settings_checks(made, settings, {"visual projection": 4_326_528, "spatial encoder": 25_408})


def test_the_published_weights_are_those_of_the_published_total():
    assert [round(weight, 2) for weight in class_weights(EXPERIMENT_2.counts, EXPERIMENT_2.total)] == list(
        EXPERIMENT_2.weights
    )
    assert list(EXPERIMENT_2.weights) == [0.24, 1.06, 0.62, 1.77, 3.92, 4.72, 1.28, 0.75, 22.53, 81.21]


def test_the_counts_sum_to_another_total_and_other_weights():
    assert (EXPERIMENT_2.total, sum(EXPERIMENT_2.counts)) == (30_860, 30_876)
    own = class_weights(EXPERIMENT_2.counts)
    assert (round(own[8], 2), round(own[9], 2)) == (22.54, 81.25)
    assert own == pytest.approx(compute_balance(RELATIONS, labels_of(EXPERIMENT_2.counts), "balanced").weights)


def test_every_line_on_experiment_2_has_both_figures():
    lines = experiment_checks()
    found = {
        "N": ("30,860", "30,876"),
        "weights": ("on 0.24", "inside 22.53", "outside 81.21"),
        "oversampling": ("inside 274", "411", "outside 114", "31,073", "40,000"),
        "weights from before": ("1,034",),
        "'81x'": ("81.21", "345:1"),
        "plateau": ("patience 3", "patience 5", "1 epoch"),
        "trainable": ("4,770,000", "4,326,528"),
        "accuracy": ("73-79 %", "52-58 %"),
    }
    assert len(lines) == len(found)
    for (start, figures), line in zip(found.items(), lines, strict=True):
        assert line.startswith(start)
        assert [figure for figure in figures if figure not in line] == []


def test_a_run_with_the_settings_of_experiment_2_prints_their_effect():
    lines = run_lines(
        class_weights="balanced",
        oversample="100:3,500:2",
        scheduler="plateau",
        plateau_patience=3,
        patience=5,
        min_epochs=15,
    )
    weights, repeats, both, plateau, parameters = lines
    assert "0.24 (on) to 81.25 (outside)" in weights
    assert "345 times" in weights
    assert "inside 137 -> 274 (x2), outside 38 -> 114 (x3); 30,876 -> 31,089 pairs" in repeats
    assert "1,034 times one of on" in both
    assert "1 epoch(s) run at the lower rate" in plateau
    assert "never before epoch 15" in plateau
    assert parameters == "trainable parameters: 4,351,936 (visual projection 4,326,528, spatial encoder 25,408)"


def test_what_is_not_used_is_not_mentioned():
    assert len(run_lines(scheduler="cosine")) == 1
    only_weights = run_lines(scheduler="cosine", class_weights="balanced", oversample="10:3")
    assert len(only_weights) == 2
    assert len(run_lines(scheduler="plateau", patience=0)) == 1


@pytest.mark.parametrize(("plateau_patience", "patience"), [(3, 5), (3, 4), (3, 3), (0, 5), (2, 10), (5, 3)])
def test_epochs_at_the_lower_rate_are_those_of_the_engine(plateau_patience, patience):
    """A run whose loss never falls again after its first epoch, counted with the engine's own plateau and stopping
    rule.
    """
    plateau, at_lower = Plateau(0.5, plateau_patience), 0
    for epoch in range(1, 2 + patience):  # the best one, then as many without a better one as stopping waits for
        at_lower += bool(plateau.cuts)
        plateau.observe(epoch, 1.0 if epoch == 1 else 2.0)
    assert epochs_at_lower_rate(plateau_patience, patience) == at_lower
