"""The page of a folder: content, limits, escaping."""

import base64
import io
import re
from dataclasses import replace

import pytest
from PIL import Image

from flowerml.data.folders import read_layout
from flowerml.data.quality.summary import folder_report
from flowerml.data.scan import BadFile, scan_folder
from flowerml.evaluation.labels.label_errors import LabelError, LabelErrors
from flowerml.reporting.thumbnail import thumbnail_jpeg
from tests.data.pictures import put_classes
from tests.reporting.data_page.samples import EMPTY, FOUND, label_error, label_errors, page, part, tiles
from tests.reporting.parsed_page import ODD_NAMES, ParsedPage


def test_the_headline_names_pictures_classes_digest_and_folder():
    parsed = ParsedPage(page())
    assert parsed.words["h1"] == ["Data check: train"]
    assert "1,600 pictures in 2 classes" in parsed.text
    assert "data/train" in parsed.words["code"]
    assert FOUND.digest in parsed.words["code"]


def test_the_sections_come_in_order_and_every_finding_leads_to_one():
    parsed = ParsedPage(page())
    anchors = [attributes["id"] for attributes in parsed.all("section")]
    assert anchors == ["counts", "sizes", "bad", "across", "near", "labels"]
    assert [attributes["href"] for attributes in parsed.all("a")] == ["#bad", "#across", "#near", "#labels"]
    ids = [attributes["id"] for _, attributes in parsed.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert {attributes["aria-labelledby"] for attributes in parsed.all("section")} <= set(ids)


def test_findings_are_coloured_only_where_action_is_needed():
    assert tiles(page()) == {"bad": ("2", True), "across": ("1", True), "near": ("2", False), "labels": ("–", False)}
    assert tiles(page(found_errors=label_errors(label_error("daisy/1.jpg"), daisy=7, rose=5)))["labels"] == ("12", True)
    assert tiles(page(found_errors=label_errors(label_error("daisy/1.jpg"), daisy=0)))["labels"] == ("0", False)
    assert tiles(page(EMPTY, label_errors())) == dict.fromkeys(["bad", "across", "near", "labels"], ("0", False))


def test_counts_have_bars_numbers_shares_and_the_imbalance():
    text = part(page(), "counts")
    parsed = ParsedPage(text)
    assert parsed.words["td"] == ["1,200", "75.0%", "400", "25.0%"]
    assert re.findall(r'<i style="width:([0-9.]+)%">', text) == ["100.0", "33.3"]
    assert "Imbalance 3.00 : 1, from daisy (1,200) to rose (400)" in parsed.text
    assert "cat & dog" in parsed.text


@pytest.mark.parametrize(
    ("counts", "words", "bars"),
    [
        ({"a": 0, "b": 3}, "Without a readable picture: a.", 1),
        ({"a": 3, "b": 3}, "Every class has as many pictures.", 2),
        ({"a": 3}, "There is only one class.", 1),
        ({}, "There are no classes.", 0),
    ],
)
def test_imbalance_of_special_folders(counts, words, bars):
    text = part(page(replace(FOUND, counts=counts)), "counts")
    assert words in text
    assert text.count("<i style=") == bars


def test_sizes_are_drawn_described_and_tabled():
    parsed = ParsedPage(part(page(), "sizes"))
    assert parsed.words["td"] == ["300", "320", "640", "200", "240.5", "480"]
    assert (
        "3 different sizes; the most common is 320 × 240 px (2 pictures). 75.0% landscape, 25.0% square." in parsed.text
    )
    assert parsed.words["title"] == ["320 × 240 px: 2 pictures", "300 × 300 px: 1 picture", "640 × 480 px: 1 picture"]
    (svg,) = parsed.all("svg")
    assert svg["role"] == "img"
    assert "3 different sizes" in svg["aria-label"]
    dots = {(float(dot["cx"]), float(dot["cy"])): float(dot["r"]) for dot in parsed.all("circle")}
    (common, square, large) = dots
    assert common[0] < large[0]
    assert common[1] > large[1]  # higher pictures lie higher up
    assert dots[common] > dots[square] == dots[large]


@pytest.mark.parametrize("size", [(499, 665), (1, 1), (500, 500), (100_000, 3)])
def test_a_folder_of_one_size_is_one_dot_inside_the_field(size):
    parsed = ParsedPage(part(page(replace(FOUND, sizes=(size,) * 5)), "sizes"))
    assert f"All 5 pictures are {size[0]:,} × {size[1]:,} px." in parsed.text
    (dot,) = parsed.all("circle")
    _, _, width, height = map(float, parsed.all("svg")[0]["viewbox"].split())
    assert 0 < float(dot["cx"]) < width
    assert 0 < float(dot["cy"]) < height
    assert len(parsed.words["text"]) <= 2 * 8 + 5


def test_many_sizes_share_dots_so_that_the_figure_stays_small():
    sizes = tuple((100 + number % 200, 100 + number // 200) for number in range(40_000))
    text = part(page(replace(FOUND, sizes=sizes)), "sizes")
    drawn = [int(number.replace(",", "")) for number in re.findall(r"about [^:]*: ([0-9,]+) picture", text)]
    assert len(re.findall("<circle", text)) < 3600
    assert sum(drawn) > 39_000
    assert len(text) < 400_000


def test_bad_files_are_listed_with_their_reasons_and_cut_after_500():
    parsed = ParsedPage(part(page(), "bad"))
    assert parsed.words["code"][1:] == ["rose/a.jpg", "rose/b.jpg"]
    assert parsed.words["td"] == ["not a picture", "truncated"]
    many = replace(FOUND, bad=tuple(BadFile(f"rose/{number}.jpg", "truncated") for number in range(512)))
    text = part(page(many), "bad")
    assert text.count("<td>truncated</td>") == 500
    assert "and 12 more" in text
    assert tiles(page(many))["bad"] == ("512", True)


def test_empty_sections_say_so():
    text = page(EMPTY, label_errors())
    ParsedPage(text)
    assert "There is no picture to measure" in part(text, "sizes")
    assert "Every picture could be read" in part(text, "bad")
    assert "No photo stands under two labels" in part(text, "across")
    assert "No photo occurs twice" in part(text, "near")
    assert "No label is doubted" in part(text, "labels")
    assert "not questioned" in part(page(EMPTY, None), "labels")
    assert "No label is likely wrong" in part(
        page(found_errors=label_errors(label_error("rose/1.jpg"), rose=0)), "labels"
    )
    assert not re.search("<svg|<img|<circle", text)


@pytest.mark.parametrize("name", ODD_NAMES)
def test_every_value_is_escaped(name):
    odd, key = f"class {name}", f"class {name}/{name}"
    report = replace(
        FOUND,
        root=f"data/{name}",
        counts={odd: 3, "rose": 1},
        bad=(BadFile(key, f"reason {name}"),),
        left_out=(name,),
        groups_from=f"source {name}",
        near_duplicates=((key, "rose/2"),),
        across_classes=((key, "rose/3"),),
        identical=((key, "rose/3"),),
    )
    found_errors = LabelErrors({odd: [LabelError(key, odd, f"guess {name}", 0.1, 0.9, True)]}, f"how {name}", {odd: 1})
    text = page(report, found_errors)
    parsed, plain = ParsedPage(text), ParsedPage(page(replace(report, root="data/x"), found_errors))
    text.encode("utf-8")
    assert not parsed.all("script")
    assert len(parsed.all("img")) == 5
    assert all(set(picture) == {"alt", "loading", "src"} for picture in parsed.all("img"))
    assert len(parsed.all("li")) == 4 + 2 + 1
    assert (
        len(parsed.all("b")) == len(plain.all("b")) == 1 + 4 + 4 + 3
    )  # headline, tiles, figures, chips: none of the names'
    assert "\u202e" not in text
    assert "\0" not in text
    if name.isprintable():
        assert f"{key}: labelled {odd}, taken for guess {name}" in [picture["alt"] for picture in parsed.all("img")]


def test_undecodable_names_are_visible():
    report = replace(FOUND, bad=(BadFile("rose/\udce9.jpg", "rename it"), BadFile("rose/two\nlines.jpg", "truncated")))
    words = ParsedPage(part(page(report), "bad")).words["code"]
    assert words[1:] == ["rose/\\udce9.jpg", "rose/two\\nlines.jpg"]


def test_page_is_self_contained():
    jpeg = thumbnail_jpeg(Image.new("RGB", (300, 200), "red"), 160)
    text = page(found_errors=label_errors(label_error("rose/1.jpg"), rose=1), thumbnail=lambda key: jpeg)
    parsed = ParsedPage(text)
    assert text.startswith("<!DOCTYPE html>")
    assert "http" not in text
    assert "url(" not in text
    assert "@import" not in text
    assert not {tag for tag, _ in parsed.tags} & {"script", "link", "iframe", "object", "form", "image", "use"}
    assert all(attributes["href"].startswith("#") for _, attributes in parsed.tags if "href" in attributes)
    assert not [name for _, attributes in parsed.tags for name in attributes if name.startswith("on")]
    sources = {attributes["src"] for _, attributes in parsed.tags if "src" in attributes}
    (data,) = {source.removeprefix("data:image/jpeg;base64,") for source in sources}
    with Image.open(io.BytesIO(base64.b64decode(data, validate=True))) as picture:
        assert max(picture.size) == 160
    assert "prefers-color-scheme: dark" in text
    assert "@media print" in text


def test_missing_thumbnails_are_neutral_boxes():
    text = page(found_errors=label_errors(label_error("rose/1.jpg"), rose=1), thumbnail=lambda key: None)
    assert "<img" not in text
    assert text.count("no picture") == 2 + 5 + 1


def test_a_negative_limit_is_refused():
    with pytest.raises(ValueError, match="limit is -1"):
        page(limit=-1)


def test_a_real_folder_makes_a_page_and_its_raw_sizes_stay_out_of_the_json(tmp_path):
    root = put_classes(tmp_path / "set", {"a": 2, "b": 1})
    scanned = scan_folder(root, read_layout(root, ("folders",), {}))
    report = folder_report(scanned)
    assert report.sizes == tuple((picture.width, picture.height) for picture in scanned.pictures)
    assert len(report.sizes) == 3
    assert "sizes" not in report.as_json()
    parsed = ParsedPage(page(report))
    assert "3 pictures in 2 classes" in parsed.text
    assert parsed.words["h1"] == ["Data check: set"]
