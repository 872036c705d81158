"""The tracking table and the report: every run once, nothing from outside, nothing a name could break."""

import csv
import io
import itertools
import re
from dataclasses import replace

import pytest

from flowerml.campaign.report.html import report_html
from flowerml.campaign.report.svg_figures import epoch_ticks
from flowerml.campaign.report.table import COLUMNS, tracking_table_csv, tracking_table_markdown
from flowerml.evaluation.prediction_table import read_predictions
from tests.campaign.report.snapshots import NAMES, campaign
from tests.reporting.parsed_page import ParsedPage


@pytest.fixture
def page(flowers, tmp_path):
    pictures = sorted(str(path.relative_to(flowers)) for path in flowers.rglob("*.jpg"))[:30]
    return report_html(campaign(tmp_path, pictures, str(flowers)))


def test_the_table_has_the_plans_columns_and_every_run_once(tmp_path):
    story = campaign(tmp_path)
    rows = list(csv.DictReader(io.StringIO(tracking_table_csv(story))))
    assert (
        tuple(list(rows[0])[:7])
        == COLUMNS
        == ("Run ID", "Model", "Seed", "Status", "Val Acc", "Macro-F1", "Checkpoint")
    )
    assert [row["Run ID"] for row in rows] == [run.name for run in story.runs]
    assert [row["Status"] for row in rows] == ["DONE"] * 3 + ["RUNNING", "FAILED", "INTERRUPTED", "TODO"]
    assert rows[0]["Val Acc"] == f"{story.runs[0].accuracy:.4f}"
    assert rows[3]["Val Acc"] == ""
    lines = [line for line in tracking_table_markdown(story).splitlines() if line.startswith("|")]
    assert len(lines) == 2 + len(story.runs)
    assert all(len(re.findall(r"(?<!\\)\|", line)) == 8 for line in lines)


def test_the_page_is_whole_and_loads_nothing(page):
    parsed = ParsedPage(page)
    ids, sources = parsed.values("id"), parsed.values("src")
    assert len(ids) == len(set(ids))
    assert all(link[0] == "#" and link[1:] in ids for link in parsed.values("href"))
    assert sources
    assert all(source.startswith("data:image/jpeg;base64,") for source in sources)
    assert not parsed.all("script")
    assert not re.search(r"https?://|url\(|@import", page)
    assert "C02 &lt;script&gt;" in page


def test_the_page_tells_the_story(page, tmp_path):
    story = campaign(tmp_path)
    chosen = story.phases[0].decision.chosen
    assert f"{chosen[0]} and {chosen[1]} go on." in page
    assert all(page.count(f"<td>{name}</td>") == 1 for name in NAMES)
    assert page.count('class="lead"') == 2, "the chosen runs stand out among the dots"
    assert page.count('<polyline class="line lead"') == 2
    for words in (
        "Confusion matrix",
        "Calibration",
        "wrong picture",
        "the loss is nan at epoch 2",
        "Version 3 is champion",
        "12" * 32,
    ):
        assert words in page
    assert "flowerml campaign --plan tp3 --set epochs=12" in page


def test_a_campaign_that_has_only_begun_is_a_page_too(tmp_path):
    """No figures, no decision, no files."""
    story = campaign(tmp_path)
    begun = replace(
        story,
        phases=tuple(replace(phase, decision=None, runs=story.phases[1].runs) for phase in story.phases),
        delivered=(),
    )
    page = report_html(begun)
    assert "<svg" not in page
    assert "Confusion matrix" not in page


@pytest.mark.parametrize(
    "spoil",
    [
        "",
        "image,label\n",
        "image,label,predicted,p_rose\nx,tulip,rose,0.5\n",
        "image,label,predicted,p_rose\nx,rose,rose,much\n",
    ],
)
def test_predictions_that_can_not_be_read_cost_no_report(tmp_path, spoil):
    (tmp_path / "predictions.csv").write_text(spoil)
    assert read_predictions(tmp_path / "predictions.csv") is None
    assert read_predictions(tmp_path / "none.csv") is None
    assert "Confusion matrix" not in report_html(campaign(tmp_path))


def test_the_page_says_what_a_final_model_is(tmp_path):
    story = campaign(tmp_path)
    first = replace(story.phases[0].runs[0], name="F01", config="B03", accuracy=None, macro_f1=None)
    page = report_html(replace(story, phases=(replace(story.phases[0], kind="final", decision=None, runs=(first,)),)))
    assert (
        "F01 is ConvNeXtV2-Large, the configuration of B03: 12 epochs with seed 11; all pictures, so none is left to"
        " measure it on." in page
    )


@pytest.mark.parametrize("last", [1, 2, 6, 12, 13, 45, 100, 333])
def test_below_curves_stand_the_first_and_the_last_epoch_and_even_steps_between(last):
    shown = epoch_ticks(last)
    assert (shown[0], shown[-1]) == (1, last)
    assert len(shown) <= 13
    between = [1 if last <= 12 else 0, *shown[1:-1]]
    assert len({after - before for before, after in itertools.pairwise(between)}) <= 1
