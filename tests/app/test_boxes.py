"""Two boxes by four clicks."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from flowerml.app.boxes import COLOURS, Corners, draw_corners
from flowerml.data.relations.records import Box

SMALL = Corners(Path("a.jpg"), (200, 100))


def clicked(corners, *points):
    for x, y in points:
        corners = corners.clicked(x, y)
    return corners


def test_corners_count_in_any_order_and_words_say_what_is_next():
    assert SMALL.next_step == "Click the first corner of the subject."
    assert clicked(SMALL, (50, 40)).next_step == "Click the opposite corner of the subject."
    assert clicked(SMALL, (50, 40), (10, 60)).next_step == "Click the first corner of the object."
    both = clicked(SMALL, (50, 40), (10, 60), (100, 90), (150, 5))
    assert both.boxes == (Box(10, 40, 50, 60), Box(100, 5, 150, 90))
    assert both.next_step == "Click again to draw new boxes."
    assert clicked(both, (1, 2)).clicks == ((1, 2),)


def test_swapping_exchanges_the_boxes_once_both_are_there():
    one = clicked(SMALL, (50, 40), (10, 60))
    assert one.swapped() == one
    both = clicked(one, (100, 90), (150, 5))
    assert both.swapped().boxes == both.boxes[::-1]


def test_clicks_beyond_the_edge_are_on_it_and_an_empty_box_is_refused():
    assert clicked(SMALL, (-3, 0), (300, 101)).boxes == (Box(0, 0, 200, 100),)
    with pytest.raises(ValueError, match="must differ in both directions"):
        clicked(SMALL, (50, 40), (50, 60))


def test_a_large_picture_is_shown_reduced_and_its_boxes_are_in_its_own_pixels():
    large = Corners(Path("a.jpg"), (2560, 1280))
    assert draw_corners(Image.new("RGB", large.size), large).size == (1280, 640)
    assert clicked(large, (10, 20), (110, 220)).boxes == (Box(20, 40, 220, 440),)


def test_boxes_are_drawn_in_their_colours_and_the_picture_stays():
    image = Image.new("RGB", (200, 100), "white")
    both = clicked(SMALL, (20, 20), (60, 60), (100, 20), (140, 60))
    shown = np.asarray(draw_corners(image, both))
    assert tuple(shown[20, 40]) == COLOURS["subject"]
    assert tuple(shown[20, 120]) == COLOURS["object"]
    assert tuple(shown[40, 40]) == (255, 255, 255)
    lone = np.asarray(draw_corners(image, clicked(SMALL, (20, 20))))
    assert tuple(lone[20, 20]) == COLOURS["subject"]
    assert image.getextrema() == ((255, 255),) * 3
