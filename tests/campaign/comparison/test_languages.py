"""A comparison in French, and in English as it has always been."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from flowerml.campaign.comparison.html import comparison_html
from flowerml.campaign.comparison.predictions import predictions_for
from flowerml.campaign.comparison.statistics import compare_campaigns
from flowerml.campaign.comparison.summary import METRIC_NAMES, summary_sentences
from flowerml.campaign.comparison.text_formats import comparison_markdown
from flowerml.cli.main import main
from flowerml.translation import translation
from tests.campaign.comparison.samples import ONE, TWO, comparison_data
from tests.campaign.comparison.test_pages import PREDICTED
from tests.campaign.report.test_languages import english_parts, texts_of
from tests.reporting.parsed_page import ParsedPage

ENGLISH = Path(__file__).parent / "english"
FRENCH = translation("fr")
COMMAND = ("flowerml", "compare", "--plan", "one")


@pytest.fixture
def comparison():
    found = comparison_data(ONE, TWO)
    second = replace(found.second, plan="two <b>", overrides="epochs=2 weights=/a/b.pth")
    return compare_campaigns(replace(found, second=second), PREDICTED)


def test_english_is_byte_for_byte_as_before_there_were_languages(comparison):
    """Written by the version before. A text that is changed on purpose is changed in these files too."""
    assert comparison_html(comparison, COMMAND) == (ENGLISH / "comparison.html").read_text("utf-8")
    assert comparison_markdown(comparison) == (ENGLISH / "comparison.md").read_text("utf-8")


def test_no_english_text_of_the_catalogue_is_left_in_a_french_comparison(comparison):
    page, markdown = comparison_html(comparison, COMMAND, FRENCH), comparison_markdown(comparison, FRENCH)
    assert '<html lang="fr">' in page
    parts = english_parts()
    for shown in (texts_of(page), markdown.splitlines()):
        assert [part for part in parts if any(part in text for text in shown)] == []
    english = comparison_html(comparison, COMMAND)
    assert [tag for tag, _ in ParsedPage(page).tags] == [tag for tag, _ in ParsedPage(english).tags]
    assert not re.search(r"\d,\d{2}", " ".join(texts_of(page))), "a decimal point, in every language"
    assert "| métrique | n | one | two <b> | différence | prédit | verdict |" in markdown
    assert "démentie\u00a0: au-dessus" in page
    assert "two &lt;b&gt; face à one" in page


def test_sentences_and_notes_are_french_and_their_figures_the_same(comparison):
    french, english = summary_sentences(comparison, FRENCH), summary_sentences(comparison)
    assert len(french) == len(english)
    for ours, theirs in zip(french, english, strict=True):
        assert sorted(re.findall(r"\d+\.\d+", ours)) == sorted(re.findall(r"\d+\.\d+", theirs))
    assert french[1].startswith(
        "Accuracy de validation\u00a0: de 58.3\u00a0% à 86.9\u00a0%, soit +28.6 (+18.4 à +35.1) points"
    )
    notes = [one.note for one in predictions_for("relations_exp1", "relations_exp2").values() if one.note]
    assert [note for note in (*notes, *METRIC_NAMES.values()) if FRENCH.translated(note) == note] == []
    assert len(notes) == 2


def test_the_command_writes_page_markdown_and_sentences_in_the_language(tmp_path, monkeypatch, capsys):
    """CSV and JSON, which programs read, are English in every language."""
    monkeypatch.setattr("flowerml.campaign.comparison.data.load_comparison", lambda *plans: comparison_data(ONE, TWO))
    predicted = tmp_path / "predicted.yaml"
    predicted.write_text("plan: two\nagainst: one\npredicted:\n  recall:\n    on: {low: 0, high: 20}\n")
    words = ("compare", "--plan", "one", "--plan", "two", "--predicted", str(predicted), "--output-dir", str(tmp_path))
    assert main([*words, "--json"]) == 0
    english = capsys.readouterr().out, (tmp_path / "comparison.csv").read_text()
    assert main([*words, "--json", "--lang", "fr"]) == 0
    shown = capsys.readouterr()
    assert (shown.out, (tmp_path / "comparison.csv").read_text()) == english
    assert "missed" in english[0]
    assert "Prédictions\u00a0: 1 au total\u00a0; vérifiées\u00a0: 0\u00a0; démenties\u00a0: 1" in shown.err
    assert "démentie" in (tmp_path / "comparison.html").read_text()
    assert "démentie" in (tmp_path / "comparison.md").read_text()
