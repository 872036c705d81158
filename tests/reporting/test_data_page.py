"""The page of a folder: what it says and counts, where it is cut, and that nothing in a name can break it."""

import base64
import io
import re
from dataclasses import replace

import pytest
from PIL import Image

from flowerml.data.folders import read_layout
from flowerml.data.quality.summary import FolderReport, folder_report
from flowerml.data.scan import BadFile, scan
from flowerml.evaluation.label_errors import LabelError, LabelErrors
from flowerml.reporting.data_page import data_page
from flowerml.reporting.thumbnail import thumbnail_jpeg
from tests.data.pictures import put_classes
from tests.reporting.parsed_page import ODD_NAMES, ParsedPage

EMPTY = FolderReport(
    root="data/train",
    digest="0123456789abcdef" * 4,
    counts={"daisy": 0, "rose": 0},
    widths=(0, 0, 0),
    heights=(0, 0, 0),
    sizes=(),
    bad=(),
    left_out=(),
    groups_from="perceptual hash, distance <= 4 of 64",
    groups=(),
    near_duplicates=(),
    across_classes=(),
    identical=(),
)
FOUND = replace(
    EMPTY,
    counts={"daisy": 1200, "rose": 400},
    widths=(300, 320, 640),
    heights=(200, 240.5, 480),
    sizes=((640, 480), (320, 240), (320, 240), (300, 300)),
    bad=(BadFile("rose/a.jpg", "not a picture"), BadFile("rose/b.jpg", "truncated")),
    left_out=("cat & dog",),
    near_duplicates=(("daisy/1.jpg", "daisy/2.jpg"), ("rose/1.jpg", "rose/2.jpg", "rose/3.jpg")),
    across_classes=(("daisy/5.jpg", "rose/5.jpg"),),
    identical=(("daisy/1.jpg", "daisy/2.jpg"), ("rose/1.jpg", "rose/3.jpg")),
)


def suspect(key: str, p_label: float = 0.1, *, likely: bool = False, suggested: str = "tulip") -> LabelError:
    return LabelError(key, key.partition("/")[0], suggested, p_label, 0.8, likely)


def suspects(*rows: LabelError, **estimated: int) -> LabelErrors:
    names = dict.fromkeys(row.label for row in rows)
    return LabelErrors(
        {name: [row for row in rows if row.label == name] for name in names}, "Five folds of <a model>.", estimated
    )


def page(report=FOUND, doubts=None, *, thumbnail=lambda key: b"jpeg", limit=40) -> str:
    return data_page(report, doubts, thumbnail=thumbnail, limit=limit)


def part(text: str, anchor: str) -> str:
    """The section of that name, as it stands in the page."""
    return re.search(rf'<section id="{anchor}".*?</section>', text, re.DOTALL)[0]


def tiles(text: str) -> dict[str, tuple[str, bool]]:
    """Section -> (number, whether it is coloured)."""
    found = re.findall(r'<a( class="act")? href="#(\w+)"><b>([^<]*)</b>', text)
    return {anchor: (number, bool(mark)) for mark, anchor, number in found}


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


def test_findings_are_counted_and_coloured_only_where_something_is_to_be_done():
    assert tiles(page()) == {"bad": ("2", True), "across": ("1", True), "near": ("2", False), "labels": ("–", False)}
    assert tiles(page(doubts=suspects(suspect("daisy/1.jpg"), daisy=7, rose=5)))["labels"] == ("12", True)
    assert tiles(page(doubts=suspects(suspect("daisy/1.jpg"), daisy=0)))["labels"] == ("0", False)
    assert tiles(page(EMPTY, suspects())) == dict.fromkeys(["bad", "across", "near", "labels"], ("0", False))


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
def test_the_imbalance_of_special_folders_is_told_in_words(counts, words, bars):
    text = part(page(replace(FOUND, counts=counts)), "counts")
    assert words in text
    assert text.count("<i style=") == bars


def test_sizes_are_drawn_told_and_tabled():
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


def test_groups_stand_side_by_side_with_their_class_and_name():
    text = page()
    across = ParsedPage(part(text, "across"))
    assert [picture["alt"] for picture in across.all("img")] == ["daisy/5.jpg", "rose/5.jpg"]
    assert across.words["b"] == ["daisy", "rose"]
    assert {"--duplicates keep", "--duplicates drop", "5.jpg"} <= set(across.words["code"])
    near = part(text, "near")
    assert near.count('<li class="group">') == 2
    assert [picture["alt"] for picture in ParsedPage(near).all("img")] == [
        key for group in FOUND.near_duplicates for key in group
    ]
    assert "perceptual hash, distance <= 4 of 64" in ParsedPage(near).text


def test_groups_of_equal_bytes_are_marked_whole_or_picture_by_picture():
    whole, mixed = re.findall(r'<li class="group">.*?</li>', part(page(), "near"))
    assert "byte for byte the same" in whole
    assert "identical" not in whole
    assert "byte for byte" not in mixed
    assert re.findall(r"<code>([^<]*)</code><span class=\"tag\">([^<]*)", mixed) == [
        ("1.jpg", "identical file"),
        ("3.jpg", "identical file"),
    ]
    two = replace(
        FOUND,
        near_duplicates=(("rose/1", "rose/2", "rose/3", "rose/4", "rose/5"),),
        identical=(("rose/1", "rose/4"), ("rose/2", "rose/3")),
    )
    marks = re.findall(r"<code>(\d)</code>(?:<span class=\"tag\">([^<]*))?", part(page(two), "near"))
    assert marks == [("1", "identical A"), ("2", "identical B"), ("3", "identical B"), ("4", "identical A"), ("5", "")]


def test_groups_are_cut_at_the_limit_and_large_groups_too():
    groups = tuple((f"rose/{number}a.jpg", f"rose/{number}b.jpg") for number in range(300))
    asked: list[str] = []
    text = page(replace(FOUND, near_duplicates=groups, across_classes=groups), thumbnail=asked.append, limit=7)
    for anchor in ("across", "near"):
        assert part(text, anchor).count('<li class="group">') == 7
        assert "and 293 more groups" in part(text, anchor)
    assert asked == [key for group in groups[:7] for key in group] * 2
    assert "more group" not in page(replace(FOUND, near_duplicates=groups[:7]), limit=7)
    assert "and 1 more group:" in page(replace(FOUND, near_duplicates=groups[:8]), limit=7)
    large = (*(f"daisy/{number}.jpg" for number in range(30)), "rose/1.jpg", "rose/2.jpg")
    across = part(page(replace(FOUND, across_classes=(large,))), "across")
    assert across.count("<figure>") == 12
    assert "and 20 more" in across
    assert across.count('alt="rose/') == 2  # both labels are seen


def test_a_suspect_says_both_classes_probabilities_and_whether_it_is_likely_wrong():
    rows = [LabelError("daisy/1.jpg", "daisy", "rose", 0.042, 0.931, True), suspect("daisy/2.jpg")]
    first, second = re.findall(r'<li class="card.*?</li>', page(doubts=suspects(*rows, daisy=1)), re.DOTALL)
    parsed = ParsedPage(first)
    assert parsed.words["dt"] == ["daisy", "rose"]
    assert parsed.words["dd"] == ["4.2%", "93.1%"]
    assert re.findall(r'<i style="width:([0-9.]+)%">', first) == ["4.2", "93.1"]
    assert parsed.all("img")[0]["alt"] == "daisy/1.jpg: labelled daisy, taken for rose"
    assert parsed.words["p"] == ["daisy/1.jpg"]
    assert "likely wrong" in first
    assert "likely wrong" not in second


def test_suspects_keep_their_order_within_the_classes_of_the_folder():
    rows = [suspect("rose/9.jpg", 0.5), suspect("rose/1.jpg", 0.1), suspect("daisy/3.jpg"), suspect("weed/1.jpg")]
    parsed = ParsedPage(part(page(doubts=suspects(*rows, rose=2)), "labels"))
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
    text = page(doubts=suspects(suspect("rose/1.jpg"), rose=3))
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


def test_suspects_are_cut_per_class_and_only_shown_pictures_are_asked_for():
    rows = [suspect(f"{name}/{number}.jpg") for name in ("daisy", "rose") for number in range(50)]
    asked: list[str] = []
    text = page(EMPTY, suspects(*rows), thumbnail=asked.append, limit=3)
    assert asked == [f"{name}/{number}.jpg" for name in ("daisy", "rose") for number in range(3)]
    assert text.count('<li class="card') == 6
    assert "and 47 more of rose" in text
    assert "more of" not in page(EMPTY, suspects(*rows), limit=50)
    assert page(FOUND, suspects(*rows), limit=0).count("<img") == 0


def test_very_many_classes_share_the_cards_so_that_the_page_still_opens():
    rows = [suspect(f"{name}/{number}.jpg") for name in range(150) for number in range(10)]
    text = page(replace(EMPTY, counts={str(name): 10 for name in range(150)}), suspects(*rows))
    assert text.count('<li class="card') == 150 * 4
    assert "and 6 more of 149" in text


def test_nothing_to_show_is_said_in_words():
    text = page(EMPTY, suspects())
    ParsedPage(text)
    assert "There is no picture to measure" in part(text, "sizes")
    assert "Every picture could be read" in part(text, "bad")
    assert "No photo stands under two labels" in part(text, "across")
    assert "No photo occurs twice" in part(text, "near")
    assert "No label is doubted" in part(text, "labels")
    assert "not questioned" in part(page(EMPTY, None), "labels")
    assert "No label is likely wrong" in part(page(doubts=suspects(suspect("rose/1.jpg"), rose=0)), "labels")
    assert not re.search("<svg|<img|<circle", text)


@pytest.mark.parametrize("name", ODD_NAMES)
def test_odd_names_stay_text(name):
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
    doubts = LabelErrors({odd: [LabelError(key, odd, f"guess {name}", 0.1, 0.9, True)]}, f"how {name}", {odd: 1})
    text = page(report, doubts)
    parsed, plain = ParsedPage(text), ParsedPage(page(replace(report, root="data/x"), doubts))
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


def test_an_undecodable_or_broken_name_is_visible():
    report = replace(FOUND, bad=(BadFile("rose/\udce9.jpg", "rename it"), BadFile("rose/two\nlines.jpg", "truncated")))
    words = ParsedPage(part(page(report), "bad")).words["code"]
    assert words[1:] == ["rose/\\udce9.jpg", "rose/two\\nlines.jpg"]


def test_the_page_is_whole_in_itself():
    jpeg = thumbnail_jpeg(Image.new("RGB", (300, 200), "red"), 160)
    text = page(doubts=suspects(suspect("rose/1.jpg"), rose=1), thumbnail=lambda key: jpeg)
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
    text = page(doubts=suspects(suspect("rose/1.jpg"), rose=1), thumbnail=lambda key: None)
    assert "<img" not in text
    assert text.count("no picture") == 2 + 5 + 1


def test_a_suspect_of_unknown_probability_is_shown():
    row = LabelError("rose/1.jpg", "rose", "tulip", float("nan"), float("inf"), False)
    text = part(page(doubts=suspects(row, rose=0)), "labels")
    assert ParsedPage(text).words["dd"] == ["unknown", "unknown"]


def test_a_negative_limit_is_refused():
    with pytest.raises(ValueError, match="limit is -1"):
        page(limit=-1)


def test_a_real_folder_makes_a_page_and_its_raw_sizes_stay_out_of_the_json(tmp_path):
    root = put_classes(tmp_path / "set", {"a": 2, "b": 1})
    scanned = scan(root, read_layout(root, ("folders",), {}))
    report = folder_report(scanned)
    assert report.sizes == tuple((picture.width, picture.height) for picture in scanned.pictures)
    assert len(report.sizes) == 3
    assert "sizes" not in report.as_json()
    parsed = ParsedPage(page(report))
    assert "3 pictures in 2 classes" in parsed.text
    assert parsed.words["h1"] == ["Data check: set"]
