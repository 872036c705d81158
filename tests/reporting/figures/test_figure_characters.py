"""Characters that the figures' font lacks are shown as code points, without a flood of warnings."""

import warnings

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text

from flowerml.reporting.figures.drawing import confusion_figure, drawable, png_bytes


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("rose, café, ромашка, τριαντάφυλλο – 50 %", "rose, café, ромашка, τριαντάφυλλο – 50 %"),
        ("🌻", "U+1F33B"),
        ("sun 🌻 flower", "sun U+1F33B flower"),
        ("🌻🌷", "U+1F33B U+1F337"),
        ("tulip🌷", "tulip U+1F337"),
        ("花", "U+82B1"),
        ("ros\udce9", "ros U+DCE9"),
        ("bell\x07", "bell U+0007"),
        ("two\nlines", "two\nlines"),
        ("", ""),
    ],
)
def test_characters_that_the_font_lacks_are_code_points(text, shown):
    assert drawable(text) == shown


def test_a_confusion_matrix_of_emoji_classes_has_their_code_points_and_no_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure = confusion_figure(np.array([[3, 1], [0, 2]]), ["🌻", "花\x1b"], "model 🌷")
        png_bytes(figure)
    labels = [label.get_text() for label in figure.axes[0].get_xticklabels()]
    assert labels == ["U+1F33B", "U+82B1 U+001B"]


def test_any_text_of_a_figure_is_drawable_when_it_is_saved():
    figure = Figure()
    figure.text(0.5, 0.5, "best of 🌻")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        png_bytes(figure)
    assert [text.get_text() for text in figure.findobj(Text)] == ["best of U+1F33B"]
