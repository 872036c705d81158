"""Report and tables of a campaign in French, and in English as they have always been."""

import json
import re
import shutil
from dataclasses import replace
from html import unescape
from pathlib import Path

import pytest

from flowerml.campaign.plan.parser import read_plan
from flowerml.campaign.report.console import live_table
from flowerml.campaign.report.html import report_html
from flowerml.campaign.report.table import tracking_table_csv, tracking_table_markdown
from flowerml.cli.main import main
from flowerml.selection.decision import Decision
from flowerml.selection.registration import AliasAction
from flowerml.selection.table import decision_markdown
from flowerml.translation import translation
from tests.campaign.campaigns import run_here, runs_at_mlflow
from tests.campaign.report.snapshots import complete_campaign
from tests.reporting.parsed_page import ParsedPage
from tests.selection.samples import THREE, configuration, decide, drawn
from tests.translation.test_catalogue import messages

ENGLISH = Path(__file__).parent / "english"
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
FRENCH = translation("fr")


def in_french(folder):
    """The same campaign; cells of gains are text already in a snapshot."""
    snapshot = complete_campaign(folder)
    first, *others = snapshot.phases
    words = {"yes": "oui", "no": "non", "+0.0010 to +0.0190": "+0.0010 à +0.0190"}
    gains = tuple(tuple(words.get(cell, cell) for cell in cells) for cells in first.decision.gains)
    first = replace(first, decision=replace(first.decision, gains=gains))
    return replace(snapshot, phases=(first, *others), language="fr")


def english_parts():
    """The longest part of each text that is another in French, where it is long enough to be no other text's."""
    changed = [message.text for message in messages() if FRENCH.translated(message.text) != message.text]
    return [part for text in changed if len(part := max(re.split(r"\{[^}]*\}", text), key=len)) > 12]


def texts_of(page):
    """What a person reads of a page: its texts between tags, and the words for figures and pictures."""
    spoken = re.findall(r'(?:aria-label|alt)="([^"]*)"', page)
    return [unescape(text).strip() for text in [*re.findall(r">([^<>]+)<", page[page.index("<main>") :]), *spoken]]


def test_english_is_byte_for_byte_as_before_there_were_languages(tmp_path):
    """Written by the version before. A text that is changed on purpose is changed in these files too."""
    snapshot = complete_campaign(tmp_path)
    assert report_html(snapshot) == (ENGLISH / "report.html").read_text("utf-8")
    assert tracking_table_markdown(snapshot) == (ENGLISH / "table.md").read_text("utf-8")


def test_no_english_text_of_the_catalogue_is_left_in_a_french_report(tmp_path):
    page = report_html(in_french(tmp_path))
    assert '<html lang="fr">' in page
    shown = texts_of(page)
    english = {message.text for message in messages() if FRENCH.translated(message.text) != message.text}
    assert english & set(texts_of(report_html(complete_campaign(tmp_path))))
    assert english & set(shown) == set()
    assert [part for part in english_parts() if any(part in text for text in shown)] == []


def test_a_french_report_says_what_the_english_one_says(tmp_path):
    """The same structure, and the same figures in the same order but for the thousands."""
    french, english = (report_html(make(tmp_path)) for make in (in_french, complete_campaign))
    assert [tag for tag, _ in ParsedPage(french).tags] == [tag for tag, _ in ParsedPage(english).tags]
    for figure in ("0.8400", "+12.00", "0.7558", "3 min 04 s", "98"):
        assert figure in french
        assert figure in english
    assert not re.search(r"\d,\d{2}", " ".join(texts_of(french))), "a decimal point, in every language"
    assert "La différence est de +12.00 points (intervalle à 95\u00a0% de +0.96 à +22.12 sur les images" in french
    assert "2026-09-21 14:13" in french


def test_french_table_has_the_headings_of_the_written_plan(tmp_path):
    """Those of its tracking table; statuses, and the CSV that programs read, are the same in both languages."""
    snapshot = in_french(tmp_path)
    table = tracking_table_markdown(snapshot)
    assert "| Run ID | Modèle | Seed | Statut | Val Acc | Macro-F1 | Checkpoint |" in table
    assert "| C04 | ConvNeXtV2-Large | 23 | TODO | - | - | - |" in table
    assert "campagne RUNNING." in table
    assert tracking_table_csv(snapshot) == tracking_table_csv(complete_campaign(tmp_path))


def test_live_table_in_french(tmp_path):
    table = live_table(in_french(tmp_path))
    assert [column.header for column in table.columns] == [
        "run",
        "modèle",
        "seed",
        "statut",
        "époque",
        "meilleure",
        "reste",
    ]
    assert "encore environ 10 min 00 s" in str(table.title)
    (closed,) = [cell for cell in table.columns[0].cells if "retenus" in str(cell)]
    assert str(closed).startswith("   3 terminés sur 3, meilleure accuracy 0.8400")


def test_titles_of_the_shipped_plans_are_french():
    for name in ("tp3", "tp3_reduced", "tp3_336", "demo"):
        plan = read_plan(name, ())
        titles = [plan.title, *(phase.title for phase in plan.phases)]
        assert [title for title in titles if FRENCH.translated(title) == title] == []


def test_the_alias_is_told_in_the_language_of_the_report(tmp_path):
    """The registry's own words are English: a version may be shown to anybody."""
    snapshot = in_french(tmp_path)
    (file,) = snapshot.delivered
    for action in AliasAction:
        page = report_html(replace(snapshot, delivered=(replace(file, alias_action=action),)))
        assert "Version 3 is champion" not in page
        assert re.search(r"version 3\. (Il|C'est|C&#39;est|Le) .*champion", page), action


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine: apt-get install chromium")
@pytest.mark.parametrize("width", [400, 1280])
def test_nothing_sticks_out_of_the_page(width, tmp_path):
    """French words are longer: no heading is wider than its cell, and the page itself never scrolls sideways."""
    from playwright.sync_api import sync_playwright

    (tmp_path / "report.html").write_text(report_html(in_french(tmp_path)), "utf-8")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": width, "height": 900})
        page.goto((tmp_path / "report.html").as_uri())
        assert page.evaluate("document.documentElement.scrollWidth") == width
        cells = "[...document.querySelectorAll('th, td, h2, h3, summary')]"
        assert (
            page.evaluate(f"{cells}.filter(one => one.scrollWidth > one.clientWidth + 1).map(one => one.textContent)")
            == []
        )
        browser.close()


def decisions() -> list[Decision]:
    """One of each kind of sentence: separated or not, one seed, ties, without per-picture results, none eligible."""
    tied = [run for config, hits in (("a", (90, 92)), ("b", (91, 91))) for run in configuration(config, *hits).runs]
    made = [
        decide(*pair)
        for pair in (
            (drawn({"a": 0.95, "b": 0.9})[0], THREE, drawn({"a": 0.95, "b": 0.9})[1]),
            (drawn({"a": 0.95, "b": 0.949})[0], THREE, drawn({"a": 0.95, "b": 0.949})[1]),
            (drawn({"a": 0.95})[0], THREE),
            (tied, replace(THREE, seeds=(11, 23))),
            (list(configuration("a", 90).runs), THREE),
        )
    ]
    assert made[-1].winner is None
    return made


def test_sentences_of_decisions_are_french_and_their_record_english():
    english = english_parts()
    for decision in decisions():
        said = decision.explain(FRENCH)
        assert len(said) == len(decision.sentences)
        assert [part for part in english if part in " ".join(said)] == []
        thousands = [text.replace("\u202f", "").replace(",", "") for text in (" ".join(said), decision.words)]
        figures = [sorted(re.findall(r"\d+(?:\.\d+)?", text)) for text in thousands]
        assert figures[0] == figures[1]
        assert any(part in decision_markdown(decision) for part in english)
        assert any(part in json.dumps(decision.as_json()) for part in english)


SMALL = """\
plan: small
about: two runs and a choice
grid: none
defaults: {weights: none, epochs: 1, warmup_epochs: 0, freeze_backbone_epochs: 0, batch_size: 16, img_size: 32,
  workers: 0, device: cpu, randaugment: 0, mixup: 0, cutmix: 0, random_erasing: 0}
families:
  cnn: {model: "timm:test_convnext2.r160_in1k"}
phases:
  A:
    family: cnn
    runs:
      BASE: {}
      OTHER: {lr_head: 2e-3}
    select: {top: 1, by: val_accuracy, base: BASE}
"""


@pytest.mark.slow
def test_a_campaign_is_the_same_in_every_language(flowers, tmp_path, monkeypatch, caplog):
    """Begun in French, started again in English: one campaign, one decision, the report in the language asked for."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    french, jobs = run_here(flowers, tmp_path, SMALL, language="fr")
    folder = tmp_path / "runs" / french.id
    report = (folder / "report.html").read_text("utf-8")
    tags = {name: [run.data.tags for run in runs] for name, runs in runs_at_mlflow().items()}
    assert "Gains par rapport à BASE" in report
    assert "selon l'accuracy de validation" in french.phases[0].decision.highlights[0]
    assert " est retenu" not in caplog.text, "log lines stay English"
    assert " goes on, by validation accuracy with seed 11" in caplog.text
    english, again = run_here(flowers, tmp_path, SMALL)
    assert (english.id, again, len(jobs)) == (french.id, [], 2)
    assert "Gains over BASE" in (folder / "report.html").read_text("utf-8")
    (selection,) = runs_at_mlflow("select").values()
    assert len(selection) == 1
    note = selection[0].data.tags["mlflow.note.content"]
    assert french.phases[0].decision.decision.words in note
    assert french.phases[0].decision.decision.words == english.phases[0].decision.decision.words
    changing = ("flowerml.heartbeat", "mlflow.note.content")
    for name, runs in runs_at_mlflow().items():
        for run, before in zip(runs, tags[name], strict=True):
            differing = {key for key in run.data.tags | before if run.data.tags.get(key) != before.get(key)}
            assert differing <= set(changing), (name, differing)


class Begun(BaseException):
    """The command has parsed its flags and would run the campaign."""


@pytest.mark.parametrize(("words", "language"), [([], "en"), (["--lang", "fr"], "fr"), (["--lang=fr"], "fr")])
def test_the_flag_is_the_language_of_the_campaign(words, language, flowers, monkeypatch):
    def run_campaign(plan, options, executor, parallel):
        assert options.language == language
        raise Begun

    monkeypatch.setattr("flowerml.campaign.service.run_campaign", run_campaign)
    monkeypatch.setattr("flowerml.campaign.execution.local_executor.LocalExecutor", lambda *shares: None)
    with pytest.raises(Begun):
        main(["campaign", "--plan", "demo", "--train-dir", str(flowers), *words])


@pytest.mark.parametrize(
    "words", [["campaign", "--plan", "tp3"], ["select", "--family", "cnn"], ["compare", "--plan", "a", "--plan", "b"]]
)
def test_an_unknown_language_is_one_line(words, capsys):
    assert main([*words, "--lang", "de"]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("\n") == 1
    assert "argument --lang: invalid choice: 'de' (choose from" in said.err
    assert "en" in said.err
    assert "fr" in said.err
