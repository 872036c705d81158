"""The page of mistakes: content, order, filter, escaping."""

import base64
import re

import pytest
from PIL import Image

from flowerml.reporting.errors_page import HEAT_MAPS, Mistake, Overlays, errors_page
from flowerml.reporting.thumbnail import thumbnail_jpeg
from tests.reporting.parsed_page import ODD_NAMES, ParsedPage


def mistake(image: str, margin: float = 0.5, label: str = "rose", predicted: str = "tulip") -> Mistake:
    return Mistake(image, label, predicted, (1 - margin) / 2, (1 + margin) / 2)


def page(rows, *, total=100, thumbnail=lambda row: b"jpeg", limit=200, overlays=None) -> str:
    return errors_page(rows, title="run <7>", total=total, thumbnail=thumbnail, limit=limit, overlays=overlays)


def cards(text: str) -> list[str]:
    return re.findall(r'<li class="card.*?</li>', text, re.DOTALL)


def test_largest_margin_comes_first():
    rows = [mistake("b.jpg", 0.2), mistake("c.jpg", 0.9), mistake("a.jpg", 0.2), mistake("d.jpg", float("nan"))]
    for given in (rows, rows[::-1]):
        found = ParsedPage(page(given)).words["p"]
        assert [word for word in found if word.endswith(".jpg")] == ["c.jpg", "a.jpg", "b.jpg", "d.jpg"]


def test_summary_and_pairs():
    rows = [mistake("1"), mistake("2"), mistake("3", label="tulip", predicted="rose")]
    parsed = ParsedPage(page(rows, total=734))
    assert "3 of 734 wrong" in parsed.text
    assert "(0.4%)" in parsed.text
    assert parsed.words["b"][1:] == ["3", "2", "1"]
    assert [word for word in parsed.words["span"] if "→" in word] == ["rose → tulip", "tulip → rose"]


def test_a_card_says_both_classes_probabilities_and_name():
    (card,) = cards(page([Mistake("roses/1.jpg", "rose", "tulip", 0.042, 0.931)]))
    parsed = ParsedPage(card)
    assert parsed.words["dt"] == ["tulip", "rose"]
    assert parsed.words["dd"] == ["93.1%", "4.2%"]
    assert parsed.words["p"] == ["roses/1.jpg"]
    assert parsed.all("img")[0]["alt"] == "roses/1.jpg: rose, taken for tulip"


@pytest.mark.parametrize("name", ODD_NAMES)
def test_every_value_is_escaped(name):
    text = page([Mistake(name, f"true {name}", f"wrong {name}", 0.1, 0.9)])
    parsed = ParsedPage(text)
    text.encode("utf-8")
    assert not parsed.all("script")
    assert len(parsed.all("li")) == 1
    assert len(parsed.all("b")) == 3  # the summary and two chips: none of the names'
    assert set(parsed.all("img")[0]) == {"alt", "loading", "src"}
    assert "\u202e" not in text
    assert "\0" not in text
    if name.isprintable():
        assert name in parsed.all("img")[0]["alt"]


def test_a_title_is_escaped():
    parsed = ParsedPage(page([mistake("a")]))
    assert parsed.words["h1"] == ["run <7>"]
    assert parsed.words["title"] == ["run <7>"]


def test_limit_keeps_the_worst_and_says_how_many_are_missing():
    thumbnails: list[str] = []
    rows = [mistake(f"{number}.jpg", number / 100) for number in range(1, 21)]
    text = page(rows, thumbnail=lambda row: thumbnails.append(row.image), limit=5)
    assert len(cards(text)) == 5
    assert thumbnails == ["20.jpg", "19.jpg", "18.jpg", "17.jpg", "16.jpg"]
    assert "15 more are not shown" in text
    assert "20 of 100 wrong" in text
    assert "not shown" not in page(rows, limit=20)
    assert "1 more is not shown" in page(rows, limit=19)
    assert cards(page(rows, limit=0)) == []


def test_filter_has_a_rule_for_each_shown_pair_and_none_for_the_others():
    rows = [mistake("1", 0.9), mistake("2", 0.8), mistake("3", 0.1, predicted="daisy")]
    text = page(rows, limit=2)
    chips = {chip["id"]: chip for chip in ParsedPage(text).all("input")}
    assert list(chips) == ["all", "k0", "k1"]
    assert "checked" in chips["all"]
    assert "disabled" not in chips["k0"]
    assert "disabled" in chips["k1"]
    assert "#k0:checked) .card:not(.k0)" in text
    assert "#k1:checked" not in text
    assert all('class="card k0"' in card for card in cards(text))


@pytest.mark.parametrize(("total", "words"), [(734, "Every picture was classified correctly"), (0, "No pictures")])
def test_no_mistakes(total, words):
    text = page([], total=total)
    assert words in ParsedPage(text).text
    assert f"0 of {total} wrong" in text
    assert cards(text) == []


def test_missing_thumbnail_is_a_neutral_box():
    text = page([mistake("a.jpg")], thumbnail=lambda row: None)
    assert not ParsedPage(text).all("img")
    assert "no picture" in ParsedPage(text).text


def test_page_is_self_contained():
    jpeg = thumbnail_jpeg(Image.new("RGB", (300, 200), "red"))
    text = page([mistake("a.jpg")], thumbnail=lambda row: jpeg)
    parsed = ParsedPage(text)
    assert text.startswith("<!DOCTYPE html>")
    assert "http" not in text
    assert "url(" not in text
    assert "@import" not in text
    assert not {tag for tag, _ in parsed.tags} & {"script", "link", "iframe", "object", "form"}
    source = parsed.all("img")[0]["src"]
    assert source.startswith("data:image/jpeg;base64,")
    assert base64.b64decode(source.partition(",")[2], validate=True) == jpeg
    assert [attributes for tag, attributes in parsed.tags if "src" in attributes and tag != "img"] == []
    assert "prefers-color-scheme: dark" in text


def test_page_does_not_depend_on_the_order_of_rows():
    rows = [mistake("b"), mistake("a"), mistake("c", predicted="daisy")]
    assert page(rows) == page(rows[::-1])


def test_impossible_numbers_are_refused():
    with pytest.raises(ValueError, match="limit"):
        page([], limit=-1)
    with pytest.raises(ValueError, match="2 mistakes among 1"):
        page([mistake("a"), mistake("b")], total=1)


def test_a_mistake_of_unknown_probability_is_shown():
    (card,) = cards(page([Mistake("a.jpg", "rose", "tulip", float("nan"), float("inf"))]))
    assert ParsedPage(card).words["dd"] == ["unknown", "unknown"]
    assert "nan" not in card


def test_heat_maps_are_asked_for_the_surest_mistakes_and_stand_under_their_pictures():
    asked: list[str] = []

    def overlays(mistakes):
        asked.extend(row.image for row in mistakes)
        return Overlays("a note", {mistakes[0].image: b"heat"})

    rows = [mistake(f"{number:02d}.jpg", number / 100) for number in range(HEAT_MAPS + 6)]
    text = page(rows, overlays=overlays)
    assert asked == [f"{number:02d}.jpg" for number in range(HEAT_MAPS + 5, 5, -1)]
    first, second = cards(text)[:2]
    assert [image["alt"] for image in ParsedPage(first).all("img")] == [
        "29.jpg: rose, taken for tulip",
        "29.jpg: heat map of tulip",
    ]
    assert base64.b64encode(b"heat").decode() in first
    assert len(ParsedPage(second).all("img")) == 1
    assert "a note" in ParsedPage(text).words["p"]


def test_without_mistakes_no_heat_map_is_asked_for():
    page([], overlays=lambda mistakes: pytest.fail("asked"))


@pytest.mark.parametrize("name", ODD_NAMES)
def test_names_and_notes_of_heat_maps_are_escaped(name):
    text = page(
        [Mistake(name, f"true {name}", f"wrong {name}", 0.1, 0.9)],
        overlays=lambda mistakes: Overlays(f"note {name}", {name: b"heat"}),
    )
    parsed = ParsedPage(text)
    text.encode("utf-8")
    assert not parsed.all("script")
    assert len(parsed.all("li")) == 1
    assert len(parsed.all("b")) == 3
    assert [set(image) for image in parsed.all("img")] == [{"alt", "loading", "src"}] * 2
    assert "\u202e" not in text
    if name.isprintable():
        assert f"note {name}".strip() in parsed.words["p"]
        assert name in parsed.all("img")[1]["alt"]
