"""Groups on the page of a folder: pictures side by side, tags, limits."""

import re
from dataclasses import replace

from tests.reporting.data_page.samples import FOUND, page, part
from tests.reporting.parsed_page import ParsedPage


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
    thumbnails: list[str] = []
    text = page(replace(FOUND, near_duplicates=groups, across_classes=groups), thumbnail=thumbnails.append, limit=7)
    for anchor in ("across", "near"):
        assert part(text, anchor).count('<li class="group">') == 7
        assert "and 293 more groups" in part(text, anchor)
    assert thumbnails == [key for group in groups[:7] for key in group] * 2
    assert "more group" not in page(replace(FOUND, near_duplicates=groups[:7]), limit=7)
    assert "and 1 more group:" in page(replace(FOUND, near_duplicates=groups[:8]), limit=7)
    large = (*(f"daisy/{number}.jpg" for number in range(30)), "rose/1.jpg", "rose/2.jpg")
    across = part(page(replace(FOUND, across_classes=(large,))), "across")
    assert across.count("<figure>") == 12
    assert "and 20 more" in across
    assert across.count('alt="rose/') == 2  # both labels are seen
