"""A comparison as page, Markdown, CSV and sentences; the command's errors."""

import csv
import io
import re
from dataclasses import replace

import pytest

from flowerml.campaign.comparison.data import Side
from flowerml.campaign.comparison.html import comparison_html
from flowerml.campaign.comparison.predictions import PredictedRange, RangeVerdict
from flowerml.campaign.comparison.statistics import compare_campaigns
from flowerml.campaign.comparison.summary import summary_sentences
from flowerml.campaign.comparison.text_formats import comparison_csv, comparison_markdown
from flowerml.cli.main import main
from tests.campaign.comparison.samples import ONE, TWO, comparison_data
from tests.reporting.parsed_page import ODD_NAMES, ParsedPage

PREDICTED = {
    ("accuracy", ""): PredictedRange(0.73, 0.79, 0.6167),
    ("recall", "on"): PredictedRange(0.0, 0.2),
    ("recall", "left of"): PredictedRange(0.2, 0.9),
    ("recall", "inside"): PredictedRange(0.8, 0.9, 0.0),
    ("recall", "outside"): PredictedRange(0.05, 0.15),
    ("final_val_accuracy", ""): PredictedRange(0.52, 0.58, note="at odds with <accuracy>"),
}


@pytest.fixture
def comparison():
    found = comparison_data(ONE, TWO)
    return compare_campaigns(
        replace(found, second=replace(found.second, plan="two <b>", overrides="epochs=2 weights=/a/b.pth")), PREDICTED
    )


def test_page_is_self_contained(comparison):
    page = comparison_html(comparison, ("flowerml", "compare", "--plan", "one"))
    parsed = ParsedPage(page)
    ids = parsed.values("id")
    assert len(ids) == len(set(ids))
    assert parsed.values("src") == parsed.values("href") == []
    assert not parsed.all("script")
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


@pytest.mark.parametrize("name", ODD_NAMES)
def test_every_value_is_escaped(name):
    def page(name):
        data = comparison_data(ONE, TWO)
        runs = tuple(replace(run, name=name, end_reason=name) for run in data.first.runs)
        first = Side(name, name, name, name, name, {"lr_head": name, "epochs": 15}, runs)
        classes = tuple(f"{number} {name}" for number in range(4))
        predicted = {
            ("accuracy", ""): PredictedRange(0.73, 0.79, note=name),
            **{("recall", one): PredictedRange(0.1, 0.2) for one in classes},
        }
        renamed = replace(data, classes=classes, first=first, data_digest=name, split_digest=name)
        return comparison_html(compare_campaigns(renamed, predicted), ("flowerml", name))

    text = page(name)
    text.encode("utf-8")
    parsed, expected = ParsedPage(text), ParsedPage(page("plain"))
    assert "\u202e" not in text
    assert "\0" not in text
    assert [tag for tag, _ in parsed.tags if tag in ("script", "b")] == []
    for tag in ("li", "td", "polyline", "rect"):
        assert len(parsed.all(tag)) == len(expected.all(tag)), tag
    assert {attribute for _, attributes in parsed.tags for attribute in attributes} == {
        attribute for _, attributes in expected.tags for attribute in attributes
    }


def test_page_without_predictions_has_no_columns_for_them():
    page = comparison_html(compare_campaigns(comparison_data(ONE, TWO), {}), ())
    assert "verdict</th>" not in page
    assert "predicted for the second" not in page


def test_sentences_name_differences_and_open_predictions(comparison):
    sentences = summary_sentences(comparison)
    assert sentences[0].startswith("Mean recall over classes of at least 10 examples goes from")
    assert sentences[1].endswith(
        "points over 84 examples of 84 pictures, mean of seeds 11, 23: higher, with these seeds."
    )
    assert "Recall is shown to be higher of left of, on, lower of none." in sentences[2]
    assert any("6 predictions" in line and "cannot be told at this n" in line for line in sentences)
    assert "Validation accuracy after the last epoch: at odds with <accuracy>." in sentences


def test_csv_has_every_metric_as_plain_numbers(comparison):
    rows = list(csv.DictReader(io.StringIO(comparison_csv(comparison))))
    assert [row["class"] for row in rows if row["figure"] == "recall"] == ["inside", "left of", "on", "outside"]
    accuracy = rows[0]
    assert float(accuracy["second"]) - float(accuracy["first"]) == pytest.approx(float(accuracy["difference"]))
    assert (float(accuracy["predicted_low"]), float(accuracy["predicted_high"])) == (0.73, 0.79)
    assert {row["verdict"] for row in rows} <= {"", *map(str, RangeVerdict)}


def test_markdown_tables_have_rows_of_equal_width(comparison):
    text = comparison_markdown(comparison)
    blocks = [block for block in text.split("\n\n") if block.startswith("|")]
    assert len(blocks) == 4
    for block in blocks:
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in block.strip().splitlines()}) == 1
    assert "| scheduler | none | plateau |" in text


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ([], "--plan is given 0 times: name two"),
        (["--plan", "tp3"], "--plan is given once: name two"),
        (["--baseline", "tp3"], "--plan is given 0 times beside --baseline tp3: name one"),
        (["--plan", "tp3", "--plan", "demo"], "no finished campaign of tp3 is at the tracking server: run it first"),
        (["--plan", "tp3", "--plan", "demo", "--predicted", "none.yaml"], "none.yaml can't be read"),
    ],
)
def test_bad_arguments_are_one_line_and_exit_2(flags, message, made, monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["compare", *flags]) == 2
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert message in errors[0]
    assert not (tmp_path / "comparison.html").exists()
