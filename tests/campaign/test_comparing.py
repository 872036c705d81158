"""Two campaigns compared: figures, intervals, verdicts on predictions, and the page, the tables and the words they come
to.
"""

import csv
import io
import re
from dataclasses import replace

import numpy as np
import pytest

from flowerml.campaign.comparison import summary as words
from flowerml.campaign.comparison.data import ComparisonData, SeedRun, Side
from flowerml.campaign.comparison.html import comparison_html
from flowerml.campaign.comparison.predictions import (
    PredictedRange,
    RangeVerdict,
    judge,
    predictions_for,
    read_predicted_ranges,
)
from flowerml.campaign.comparison.statistics import compare_campaigns
from flowerml.campaign.comparison.text_formats import as_csv, as_markdown
from flowerml.campaign.status import Epoch
from flowerml.cli.main import main
from flowerml.errors import UserError
from flowerml.evaluation.metrics import wilson
from tests.campaign.test_report import Structure

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


def material(first, second, pictures=None, labels=LABELS):
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


def answers(wrong, labels=LABELS):
    """Right but for the examples at the places `wrong`, which are taken for the next class."""
    found = labels.copy()
    found[wrong] = (found[wrong] + 1) % len(CLASSES)
    return found


ONE = [answers(range(0, 84, 2)), answers(range(0, 84, 3))]
TWO = [answers(range(0, 84, 7)), answers(range(0, 84, 9))]


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        (0.74, 0.78, (RangeVerdict.MET, "")),
        (0.73, 0.79, (RangeVerdict.MET, "")),
        (0.70, 0.729, (RangeVerdict.MISSED, "below")),
        (0.80, 0.9, (RangeVerdict.MISSED, "above")),
        (0.72, 0.74, (RangeVerdict.OPEN, "")),
        (0.5, 0.9, (RangeVerdict.OPEN, "")),
        (0.78, 0.81, (RangeVerdict.OPEN, "")),
    ],
)
def test_a_prediction_is_met_or_missed_only_where_the_whole_interval_says_so(low, high, verdict):
    assert judge(PredictedRange(0.73, 0.79), low, high) == verdict


def test_the_shipped_predictions_are_those_of_the_users_page():
    found = predictions_for("relations_exp1", "relations_exp2")
    ranges = {(figure, of): (one.low, one.high) for (figure, of), one in found.items()}
    percents = {
        **{
            "on": (88, 90),
            "above": (72, 75),
            "under": (65, 70),
            "next to": (50, 55),
            "below": (30, 40),
            "near": (15, 25),
        },
        **{"left of": (20, 30), "right of": (15, 25), "inside": (10, 20), "outside": (5, 15)},
    }
    wanted = {("recall", name): (low / 100, high / 100) for name, (low, high) in percents.items()}
    wanted |= {
        ("accuracy", ""): (0.73, 0.79),
        ("final_val_accuracy", ""): (0.52, 0.58),
        ("final_val_loss", ""): (1.1, 1.2),
    }
    assert ranges == {**wanted, ("best_epoch", ""): (18, 25), ("minutes_per_epoch", ""): (12, 15)}
    assert "at odds with 73 to 79 %" in found["final_val_accuracy", ""].note
    assert predictions_for("relations_exp2", "relations_exp1") == {}


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("low: 1", "low: 3", "line 4: predicted.accuracy goes from 3 to 2"),
        ("low: 1", "low: one", "line 4: predicted.accuracy.low is 'one'. Allowed: a number"),
        ("accuracy", "acuracy", "'acuracy' is unknown in predicted. Did you mean accuracy?"),
        (", high: 2", "", "predicted.accuracy has no 'high': add it"),
    ],
)
def test_a_file_of_predictions_is_refused_with_its_line(old, new, says, tmp_path):
    text = "plan: two\nagainst: one\npredicted:\n  accuracy: {low: 1, high: 2}\n"
    assert read_predicted_ranges(_written(tmp_path, text)) == {("accuracy", ""): PredictedRange(0.01, 0.02)}
    with pytest.raises(UserError, match=re.escape(says)):
        read_predicted_ranges(_written(tmp_path, text.replace(old, new)))


def _written(folder, text):
    path = folder / "predicted.yaml"
    path.write_text(text)
    return path


def test_shares_are_means_over_the_seeds_with_wilsons_interval_at_the_number_of_examples():
    found = compare_campaigns(material(ONE, TWO), {})
    accuracy = found.line("accuracy").first
    by_seed = tuple(float((one == LABELS).mean()) for one in ONE)
    assert accuracy.by_seed == by_seed
    assert accuracy.value == pytest.approx(np.mean(by_seed))
    assert (accuracy.low, accuracy.high) == wilson(accuracy.value * 84, 84)
    left = next(line for line in found.recalls if line.of == "left of")
    assert left.first.value == pytest.approx(np.mean([(one == LABELS)[60:80].mean() for one in ONE]))
    assert left.n == 20


def test_the_rarest_class_comes_first_and_too_few_examples_tell_nothing_apart():
    wanted = {("recall", name): PredictedRange(0.1, 0.2) for name in ("inside", "outside")}
    found = compare_campaigns(material(ONE, TWO), wanted)
    assert [(line.of, line.n) for line in found.recalls] == [("inside", 4), ("left of", 20), ("on", 60)]
    assert found.recalls[0].difference.low is None
    assert found.recalls[1].difference.low is not None
    assert [name for name, _ in found.absent] == ["outside"]
    assert found.count(RangeVerdict.OPEN) == 1 + (found.recalls[0].verdict is RangeVerdict.OPEN)


def test_mean_recall_has_an_interval_over_the_classes_that_have_examples_enough():
    found = compare_campaigns(material(ONE, TWO), {})
    every, often = found.line("mean_recall"), found.line("mean_recall_often")
    assert (every.n, every.first.low, every.difference.low) == (84, None, None)
    recalls = [line.first.value for line in found.recalls]
    assert every.first.value == pytest.approx(np.mean(recalls))
    assert often.first.value == pytest.approx(np.mean(recalls[1:]))
    assert often.n == 80
    assert often.difference.low < often.difference.value < often.difference.high
    enough = compare_campaigns(material([ONE[0][:80]], [TWO[0][:80]], labels=LABELS[:80]), {})
    assert enough.line("mean_recall").difference.low is not None
    assert all(line.figure != "mean_recall_often" for line in enough.others)


def test_a_difference_is_paired_and_turns_round_with_the_sides():
    there, back = (
        compare_campaigns(material(*sides), {}).line("accuracy").difference for sides in ((ONE, TWO), (TWO, ONE))
    )
    assert there.value == pytest.approx(-back.value)
    assert (there.low, there.high) == pytest.approx((-back.high, -back.low), abs=0.02)
    assert (there.sign, back.sign) == (1, -1)


def test_equal_sides_are_not_shown_to_differ_nor_proven_equal():
    found = compare_campaigns(material(ONE, ONE), {})
    for line in (found.line("accuracy"), *found.recalls[1:]):
        assert line.difference.value == 0
        assert line.difference.low < 0 < line.difference.high
        assert line.difference.sign == 0


def test_examples_of_one_picture_are_one_piece_of_evidence():
    """Each example four times over: as four of one picture no surer than one, as four pictures twice as sure."""
    labels = np.repeat(LABELS, 4)
    sides = [[np.repeat(one, 4) for one in each] for each in (ONE, TWO)]
    place = np.repeat(np.arange(len(LABELS)), 4)

    def width(found):
        difference = found.line("accuracy").difference
        return difference.high - difference.low

    once = width(compare_campaigns(material(ONE, TWO), {}))
    together = width(compare_campaigns(material(*sides, pictures=[f"{one}.jpg" for one in place], labels=labels), {}))
    apart = width(compare_campaigns(material(*sides, labels=labels), {}))
    assert together == pytest.approx(once, rel=0.1)
    assert apart == pytest.approx(once / 2, rel=0.15)


def test_figures_of_the_training_have_the_seeds_range_and_their_own_verdict():
    wanted = {
        ("best_epoch", ""): PredictedRange(18, 25, 12),
        ("final_val_loss", ""): PredictedRange(0.1, 0.2),
        ("minutes_per_epoch", ""): PredictedRange(0, 1),
    }
    found = compare_campaigns(material(ONE, TWO), wanted)
    assert (found.line("best_epoch").second.low, found.line("best_epoch").second.high) == (4, 4)
    assert (found.line("best_epoch").verdict, found.line("best_epoch").side) == (RangeVerdict.MISSED, "below")
    assert found.line("final_val_loss").verdict is RangeVerdict.MET
    assert found.line("minutes_per_epoch").second.value == pytest.approx(120 / 60 / 6)
    assert found.line("final_val_accuracy").first.value == pytest.approx(0.56)
    assert found.line("gap_accuracy").n is None
    assert all(line.figure != "gap_loss" for line in found.others), "no run has it"


PREDICTED = {
    ("accuracy", ""): PredictedRange(0.73, 0.79, 0.6167),
    ("recall", "on"): PredictedRange(0.0, 0.2),
    ("recall", "left of"): PredictedRange(0.2, 0.9),
    ("recall", "inside"): PredictedRange(0.8, 0.9, 0.0),
    ("recall", "outside"): PredictedRange(0.05, 0.15),
    ("final_val_accuracy", ""): PredictedRange(0.52, 0.58, note="at odds with <accuracy>"),
}


@pytest.fixture
def compared():
    found = material(ONE, TWO)
    return compare_campaigns(
        replace(found, second=replace(found.second, plan="two <b>", overrides="epochs=2 weights=/a/b.pth")), PREDICTED
    )


def test_the_page_is_whole_and_loads_nothing(compared):
    page = comparison_html(compared, ("flowerml", "compare", "--plan", "one"))
    structure = Structure()
    structure.feed(page)
    assert structure.open == []
    assert len(structure.ids) == len(set(structure.ids))
    assert structure.sources == structure.links == []
    assert "script" not in structure.seen
    assert not re.search(r"https?://|url\(|@import|<b>|&lt;b&gt;.*<accuracy>", page)
    for text in (
        "missed: above it",
        "cannot be told at n = 4",
        "from 61.67 %",
        "one_seed11",
        "epochs=2 weights=/a/b.pth",
    ):
        assert text in page, text
    assert page.count('<g class="first"><line') == page.count('<g class="second"><line') == 3
    assert page.count('class="range" x=') == 3
    assert page.count('class="cut"') == 2 * 2, "two runs were cut once, in two figures"


def test_without_predictions_there_are_no_columns_for_them():
    page = comparison_html(compare_campaigns(material(ONE, TWO), {}), ())
    assert "verdict</th>" not in page
    assert "predicted for the second" not in page


def test_the_words_say_what_is_shown_and_what_can_not_be(compared):
    said = words.sentences(compared)
    assert said[0].startswith("Mean recall over classes of at least 10 examples goes from")
    assert said[1].endswith("points over 84 examples of 84 pictures, mean of seeds 11, 23: higher, with these seeds.")
    assert "Recall is shown to be higher of left of, on, lower of none." in said[2]
    assert any("6 predictions" in line and "cannot be told at this n" in line for line in said)
    assert "Validation accuracy after the last epoch: at odds with <accuracy>." in said


def test_the_csv_has_every_figure_as_plain_numbers(compared):
    rows = list(csv.DictReader(io.StringIO(as_csv(compared))))
    assert [row["class"] for row in rows if row["figure"] == "recall"] == ["inside", "left of", "on", "outside"]
    accuracy = rows[0]
    assert float(accuracy["second"]) - float(accuracy["first"]) == pytest.approx(float(accuracy["difference"]))
    assert (float(accuracy["predicted_low"]), float(accuracy["predicted_high"])) == (0.73, 0.79)
    assert {row["verdict"] for row in rows} <= {"", *map(str, RangeVerdict)}


def test_the_markdown_has_tables_of_one_width(compared):
    text = as_markdown(compared)
    blocks = [block for block in text.split("\n\n") if block.startswith("|")]
    assert len(blocks) == 4
    for block in blocks:
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in block.strip().splitlines()}) == 1
    assert "| scheduler | none | plateau |" in text


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        ([], "--plan is given 0 times: name two"),
        (["--plan", "tp3"], "--plan is given once: name two"),
        (["--plan", "tp3", "--plan", "demo"], "no finished campaign of tp3 is at the tracking server: run it first"),
        (["--plan", "tp3", "--plan", "demo", "--predicted", "none.yaml"], "none.yaml can't be read"),
    ],
)
def test_bad_words_are_one_line_and_exit_2(flags, says, made, monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["compare", *flags]) == 2
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert says in errors[0]
    assert not (tmp_path / "comparison.html").exists()
