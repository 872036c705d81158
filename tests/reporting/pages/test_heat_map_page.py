"""Overlays: grey where the map is 0, coloured where it is high; the picture itself is not changed."""

import numpy as np
from PIL import Image

from flowerml.reporting.heat_map_page import ExplainedPicture, heat_map_page, overlay_heat_map
from tests.data.pictures import scene


def test_grey_where_nothing_is_and_coloured_where_something_is():
    view, heat = scene(1, 32, 32), np.zeros((32, 32))
    heat[:8, 24:] = 1.0
    before = np.array(view)
    overlay = overlay_heat_map(view, heat)
    pixels = np.asarray(overlay).astype(int)
    assert overlay.size == (320, 320)
    assert (np.ptp(pixels[160:, :160], axis=2) == 0).all()
    assert np.ptp(pixels[20:60, 260:300], axis=2).min() > 60
    assert (np.asarray(view) == before).all()


def test_the_page_names_pictures_and_classes():
    view = scene(1, 32, 32)
    one = ExplainedPicture("a & b.jpg", view, view, (("rose", 0.9), ("tulip", 0.1)))
    page = heat_map_page([one], title="Where m looks")
    assert "a &amp; b.jpg" in page
    assert "90.0%" in page
    assert page.count("data:image/jpeg") == 2
    assert isinstance(view, Image.Image)
