"""The pages of pictures to look at and to label next: what they show, and that names can't break them."""

import io

from PIL import Image

from flowerml.evaluation.labels.label_errors import LabelError
from flowerml.evaluation.labels.next_pictures import ClassNeed, ConfusedPair, UncertainPicture
from flowerml.reporting.next_pictures_page import label_next_page, next_pictures_page

NASTY = "<img src=x onerror=alert(1)>\u202e.jpg"


def jpeg(key):
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8), "red").save(buffer, "JPEG")
    return None if key == "gone" else buffer.getvalue()


def page(**changes):
    values = {
        "title": "Pictures to look at next: cv",
        "how": "Every picture is judged by another run.",
        "needs": [ClassNeed("rose", 8, 10, (0.49, 0.94), "tulip", 2)],
        "pairs": [ConfusedPair("rose", "tulip", 3), ConfusedPair("daisy", "rose", 1)],
        "doubted": [LabelError("rose/a.jpg", "rose", "tulip", 0.01, 0.95, likely_wrong=True)],
        "doubted_in_all": 4,
        "uncertain": [UncertainPicture("gone", "daisy", "rose", "tulip", 0.41, 0.4)],
        "thumbnail": jpeg,
    }
    return next_pictures_page(**{**values, **changes})


def test_it_shows_classes_pairs_labels_and_uncertain_pictures():
    html = page()
    for words in ("8 of 10", "tulip (2)", "rose and tulip", "75.0%", "4 labels", "and 3 more", "labelled daisy"):
        assert words in html
    assert html.count("<img") == 1
    assert "no picture" in html


def test_nothing_found_is_said():
    html = page(doubted=[], doubted_in_all=0, uncertain=[], pairs=[])
    assert "No label is likely wrong." in html
    assert "There are no others." in html


def test_names_are_escaped_and_direction_marks_made_visible():
    html = page(
        title=NASTY, uncertain=[UncertainPicture(NASTY, NASTY, NASTY, "b", 0.5, 0.4)], needs=[], pairs=[]
    ) + label_next_page(title=NASTY, how="", rows=[(NASTY, 0.5, NASTY, 0.5, "b", 0.4)], thumbnail=jpeg)
    assert "onerror=alert(1)>" not in html
    assert "\u202e" not in html
    assert "disagreement 0.50" in html
