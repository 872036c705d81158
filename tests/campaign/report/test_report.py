"""The tracking table and the report: every run once, self-contained, and no name breaks the page."""

import csv
import io
import itertools
import re
from dataclasses import replace
from pathlib import Path

import pytest

from flowerml.campaign.report.html import report_html
from flowerml.campaign.report.svg_figures import epoch_ticks
from flowerml.campaign.report.table import COLUMNS, tracking_table_csv, tracking_table_markdown
from flowerml.campaign.report.zero_shot import LABEL, zero_shot_rows
from flowerml.evaluation.metrics import wilson_interval
from flowerml.evaluation.prediction_table import read_predictions
from flowerml.translation import LANGUAGES
from tests.campaign.report.snapshots import NAMES, sample_campaign, write_predictions
from tests.reporting.parsed_page import ODD_NAMES, ParsedPage


@pytest.fixture
def page(flowers, tmp_path):
    pictures = sorted(str(path.relative_to(flowers)) for path in flowers.rglob("*.jpg"))[:30]
    return report_html(sample_campaign(tmp_path, pictures, str(flowers)))


def test_table_has_the_plans_columns_and_every_run_once(tmp_path):
    snapshot = sample_campaign(tmp_path)
    rows = list(csv.DictReader(io.StringIO(tracking_table_csv(snapshot))))
    assert (
        tuple(list(rows[0])[:7])
        == COLUMNS
        == ("Run ID", "Model", "Seed", "Status", "Val Acc", "Macro-F1", "Checkpoint")
    )
    assert [row["Run ID"] for row in rows] == [run.name for run in snapshot.runs]
    assert [row["Status"] for row in rows] == ["DONE"] * 3 + ["RUNNING", "FAILED", "INTERRUPTED", "TODO"]
    assert rows[0]["Val Acc"] == f"{snapshot.runs[0].accuracy:.4f}"
    assert rows[3]["Val Acc"] == ""
    lines = [line for line in tracking_table_markdown(snapshot).splitlines() if line.startswith("|")]
    assert len(lines) == 2 + len(snapshot.runs)
    assert all(len(re.findall(r"(?<!\\)\|", line)) == 8 for line in lines)


def test_page_is_self_contained(page):
    parsed = ParsedPage(page)
    ids, sources = parsed.values("id"), parsed.values("src")
    assert len(ids) == len(set(ids))
    assert all(link[0] == "#" and link[1:] in ids for link in parsed.values("href"))
    assert sources
    assert all(source.startswith("data:image/jpeg;base64,") for source in sources)
    assert not parsed.all("script")
    assert not re.search(r"https?://|url\(|@import", page)
    assert "C02 &lt;script&gt;" in page


def test_the_page_shows_decision_runs_and_delivery(page, tmp_path):
    snapshot = sample_campaign(tmp_path)
    chosen = snapshot.phases[0].decision.chosen
    assert f"{chosen[0]} and {chosen[1]} go on." in page
    assert all(page.count(f"<td>{name}</td>") == 1 for name in NAMES)
    assert page.count('class="lead"') == 2, "the chosen runs stand out among the dots"
    assert page.count('<polyline class="line lead"') == 2
    for text in (
        "Confusion matrix",
        "Calibration",
        "wrong picture",
        "the loss is nan at epoch 2",
        "Version 3 is champion",
        "12" * 32,
    ):
        assert text in page
    assert "flowerml campaign --plan tp3 --set epochs=12" in page


def test_gains_over_the_base_of_an_ablation_stand_in_a_table(tmp_path):
    snapshot = sample_campaign(tmp_path)
    first, *others = snapshot.phases
    assert "Gains over" not in report_html(snapshot)
    gains = (("SAM <b>", "0.9100", "+0.0100", "+0.0010 to +0.0190", "yes"),)
    ablation = replace(first, decision=replace(first.decision, base="BASE", gains=gains))
    page = report_html(replace(snapshot, phases=(ablation, *others)))
    assert "<h3>Gains over BASE</h3>" in page
    assert "<td>SAM &lt;b&gt;</td><td>0.9100</td><td>+0.0100</td><td>+0.0010 to +0.0190</td><td>yes</td>" in page


def with_zero_shot(snapshot, *shares, **changes):
    """The campaign with these accuracies before training, in the order of its finished runs."""
    first, *others = snapshot.phases
    runs = tuple(replace(run, zero_shot=share, **changes) for run, share in zip(first.runs, shares, strict=True))
    return replace(snapshot, phases=(replace(first, runs=runs), *others))


def test_accuracy_without_training_is_a_row_of_its_family(flowers, tmp_path):
    pictures = sorted(str(path.relative_to(flowers)) for path in flowers.rglob("*.jpg"))[:30]
    snapshot = sample_campaign(tmp_path, pictures, str(flowers))
    assert "zero-shot" not in report_html(snapshot)
    page = report_html(with_zero_shot(snapshot, None, 0.6, 0.6))
    low, high = wilson_interval(60, 100)
    cells = f'<td class="number">0.6000</td><td class="number">{low:.4f} to {high:.4f}</td>'
    assert f"<td>zero-shot (no training)</td>{cells}" in page
    assert page.count(">zero-shot (no training)<") == 2, "in the figure and in the section of the champion"
    champion = next(run for run in snapshot.runs if run.name == snapshot.phases[0].decision.chosen[0])
    assert f'<td>{champion.name}</td><td class="number">{champion.accuracy:.4f}</td>' in page


def test_rows_without_training_by_model_and_pooled_over_folds(tmp_path):
    runs = with_zero_shot(sample_campaign(tmp_path), 0.6, 0.6, 0.7).phases[0].runs
    assert [row.name for row in zero_shot_rows(runs)] == [LABEL] * 2
    first, second = zero_shot_rows((runs[0], replace(runs[2], title="ViT")))
    assert (first.name, second.name) == (f"{LABEL}, ConvNeXtV2-Large", f"{LABEL}, ViT")
    folds = [replace(runs[0], fold=fold, total=total) for fold, total in ((1, 10), (2, 20), (1, 10))]
    (pooled,) = zero_shot_rows([*folds, replace(runs[0], fold=3, zero_shot=0.3, total=30)])
    assert pooled.accuracy == pytest.approx((6 + 12 + 9) / 60)
    assert pooled.interval == pytest.approx(wilson_interval(27, 60))
    (unknown,) = zero_shot_rows([replace(runs[0], total=None)])
    assert unknown.interval == (0.6, 0.6)
    assert zero_shot_rows([replace(runs[0], zero_shot=None)]) == []


def test_page_of_a_campaign_without_results(tmp_path):
    """No figures, no decision, no files."""
    snapshot = sample_campaign(tmp_path)
    begun = replace(
        snapshot,
        phases=tuple(replace(phase, decision=None, runs=snapshot.phases[1].runs) for phase in snapshot.phases),
        delivered=(),
    )
    page = report_html(begun)
    assert "<svg" not in page
    assert "Confusion matrix" not in page


@pytest.mark.parametrize(
    "content",
    [
        "",
        "image,label\n",
        "image,label,predicted,p_rose\nx,tulip,rose,0.5\n",
        "image,label,predicted,p_rose\nx,rose,rose,much\n",
    ],
)
def test_unreadable_predictions_leave_out_the_champion(tmp_path, content):
    (tmp_path / "predictions.csv").write_text(content)
    assert read_predictions(tmp_path / "predictions.csv") is None
    assert read_predictions(tmp_path / "none.csv") is None
    assert "Confusion matrix" not in report_html(sample_campaign(tmp_path))


def test_page_describes_final_models(tmp_path):
    snapshot = sample_campaign(tmp_path)
    first = replace(snapshot.phases[0].runs[0], name="F01", config="B03", accuracy=None, macro_f1=None)
    page = report_html(
        replace(snapshot, phases=(replace(snapshot.phases[0], kind="final", decision=None, runs=(first,)),))
    )
    assert (
        "F01 is ConvNeXtV2-Large, the configuration of B03: 12 epochs with seed 11; all pictures, so none is left to"
        " measure it on." in page
    )


@pytest.mark.parametrize("last", [1, 2, 6, 12, 13, 45, 100, 333])
def test_epoch_ticks_are_the_first_the_last_and_even_steps_between(last):
    ticks = epoch_ticks(last)
    assert (ticks[0], ticks[-1]) == (1, last)
    assert len(ticks) <= 13
    between = [1 if last <= 12 else 0, *ticks[1:-1]]
    assert len({after - before for before, after in itertools.pairwise(between)}) <= 1


def page_with_names(folder, name, language="en") -> str:
    """A report in which everything that a person can name is called `name`."""
    snapshot = sample_campaign(folder)
    classes = [f"{number} {name}" for number in range(3)]
    write_predictions(folder, 1, [f"{number} {name}".replace("\0", "") for number in range(30)], classes)
    decision = replace(snapshot.phases[0].decision, highlights=(name,))
    runs = tuple(replace(run, name=name, title=name, checkpoint=name, reason=name) for run in snapshot.phases[0].runs)
    final = replace(snapshot.phases[0], name="F", kind="final", title=name, decision=None, runs=runs)
    return report_html(
        replace(
            snapshot,
            language=language,
            title=name,
            plan=name,
            reason=name,
            phases=(replace(snapshot.phases[0], title=name, decision=decision, runs=runs), final),
            classes=(name,),
            command=(name,),
            warnings=(name,),
            environment={name or "host": name},
            delivered=tuple(
                replace(file, path=Path(name), registered_model=name, version=name, alias_note=name, sha256=name)
                for file in snapshot.delivered
            ),
        )
    )


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("name", ODD_NAMES)
def test_every_value_is_escaped(name, language, tmp_path):
    page, plain = page_with_names(tmp_path, name, language), page_with_names(tmp_path, "plain", language)
    page.encode("utf-8")
    parsed, expected = ParsedPage(page), ParsedPage(plain)
    assert "\u202e" not in page
    assert "\0" not in page
    assert not parsed.all("script")
    for tag in ("b", "li", "circle", "polyline", "h2"):
        assert len(parsed.all(tag)) <= len(expected.all(tag)), tag
    has_champion = "\udce9" not in name  # otherwise predictions.csv is not UTF-8
    assert len(parsed.all("table")) == (3 if has_champion else 2)
    assert {attribute for _, attributes in parsed.tags for attribute in attributes} <= {
        attribute for _, attributes in expected.tags for attribute in attributes
    }
