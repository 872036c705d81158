"""Likely label errors on the page of a folder: cards, filter, limits."""

import re
from dataclasses import replace

from flowerml.evaluation.labels.label_errors import LabelError
from tests.reporting.data_page.samples import EMPTY, FOUND, label_error, label_errors, page, part
from tests.reporting.parsed_page import ParsedPage


def test_card_has_both_classes_probabilities_and_verdict():
    rows = [LabelError("daisy/1.jpg", "daisy", "rose", 0.042, 0.931, True), label_error("daisy/2.jpg")]
    first, second = re.findall(r'<li class="card.*?</li>', page(found_errors=label_errors(*rows, daisy=1)), re.DOTALL)
    parsed = ParsedPage(first)
    assert parsed.words["dt"] == ["daisy", "rose"]
    assert parsed.words["dd"] == ["4.2%", "93.1%"]
    assert re.findall(r'<i style="width:([0-9.]+)%">', first) == ["4.2", "93.1"]
    assert parsed.all("img")[0]["alt"] == "daisy/1.jpg: labelled daisy, taken for rose"
    assert parsed.words["p"] == ["daisy/1.jpg"]
    assert "likely wrong" in first
    assert "likely wrong" not in second


def test_label_errors_keep_their_order_within_classes():
    rows = [
        label_error("rose/9.jpg", 0.5),
        label_error("rose/1.jpg", 0.1),
        label_error("daisy/3.jpg"),
        label_error("weed/1.jpg"),
    ]
    parsed = ParsedPage(part(page(found_errors=label_errors(*rows, rose=2)), "labels"))
    assert [word for word in parsed.words["p"] if word.endswith(".jpg")] == [
        "daisy/3.jpg",
        "rose/9.jpg",
        "rose/1.jpg",
        "weed/1.jpg",
    ]
    assert parsed.words["h3"] == ["daisy", "rose", "weed"]
    assert parsed.words["small"][:1] == ["0 likely wrong of 1,200 pictures (0.0%)"]
    assert "2 likely wrong of 400 pictures (0.5%)" in parsed.words["small"]
    assert "Five folds of <a model>." in parsed.text


def test_the_filter_has_a_rule_for_each_class_with_cards_and_none_for_the_others():
    text = page(found_errors=label_errors(label_error("rose/1.jpg"), rose=3))
    chips = ParsedPage(text).all("input")
    assert [chip.get("id") for chip in chips] == ["all", "c0", None]
    assert "checked" in chips[0]
    assert "disabled" not in chips[1]
    assert "disabled" in chips[2]
    assert "#c0:checked) .of:not(.c0)" in text
    assert "#c1:checked" not in text
    assert text.count('class="of c0"') == 1
    assert re.findall(r"<span>([^<]*)</span><b>(\d+)</b></label>", text) == [
        ("all", "3"),
        ("rose", "3"),
        ("daisy", "0"),
    ]


def test_label_errors_are_cut_per_class_and_only_shown_thumbnails_are_made():
    rows = [label_error(f"{name}/{number}.jpg") for name in ("daisy", "rose") for number in range(50)]
    thumbnails: list[str] = []
    text = page(EMPTY, label_errors(*rows), thumbnail=thumbnails.append, limit=3)
    assert thumbnails == [f"{name}/{number}.jpg" for name in ("daisy", "rose") for number in range(3)]
    assert text.count('<li class="card') == 6
    assert "and 47 more of rose" in text
    assert "more of" not in page(EMPTY, label_errors(*rows), limit=50)
    assert page(FOUND, label_errors(*rows), limit=0).count("<img") == 0


def test_very_many_classes_have_fewer_cards_each():
    rows = [label_error(f"{name}/{number}.jpg") for name in range(150) for number in range(10)]
    text = page(replace(EMPTY, counts={str(name): 10 for name in range(150)}), label_errors(*rows))
    assert text.count('<li class="card') == 150 * 4
    assert "and 6 more of 149" in text


def test_label_error_of_unknown_probability_is_shown():
    row = LabelError("rose/1.jpg", "rose", "tulip", float("nan"), float("inf"), False)
    text = part(page(found_errors=label_errors(row, rose=0)), "labels")
    assert ParsedPage(text).words["dd"] == ["unknown", "unknown"]
