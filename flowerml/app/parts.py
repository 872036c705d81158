"""What the tabs of the page share: how events run, messages, and the column with a model's answer."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import gradio as gr
from markupsafe import escape

from flowerml.errors import UserError, one_line
from flowerml.reporting.html import render_page

logger = logging.getLogger(__name__)

MODEL_EVENT: dict[str, Any] = {
    # One at a time, of all tabs together: heat maps hook into the models, and the cores are shared anyway.
    "concurrency_limit": 1,
    "concurrency_id": "models",
    # Gradio would open pictures with Pillow on its own: here flowerml's decoding decides what can be used.
    "preprocess": False,
    "api_visibility": "private",
}
BARS = 5  # classes that are shown
CLEAR_MESSAGE = ""


@contextmanager
def errors_in_page() -> Iterator[None]:
    """Context whose errors appear in the page as one sentence; what nobody expected also in the terminal.

    Raises:
        gr.Error: instead of any other exception.
    """
    try:
        yield
    except gr.Error:
        raise
    except UserError as error:
        raise page_error(str(error)) from error
    except Exception as error:  # memory, a decoder, a driver: the page has to go on
        reason = one_line(f"{type(error).__name__}: {error}")
        logger.warning(f"a request of the page failed ({reason[:300]})")
        logger.debug("raised here", exc_info=error)
        raise page_error(f"That did not work ({reason[:140]}). Other pictures may.") from error


def page_error(text: str) -> gr.Error:
    """An error that Gradio shows on top of the page; it takes messages as HTML, and `text` is none."""
    return gr.Error(str(escape(one_line(text))), print_exception=False)


def message(text: str) -> str:
    """The HTML of a sentence that stays in the page until the next picture."""
    return render_page("message.html.j2", "flowerml.app", text=text)


def answer_html(model: str, label: str = "", share: float | None = None, note: str = "") -> str:
    """The HTML of a model's name and its answer; `share` is a probability (0..1)."""
    return render_page("answer.html.j2", "flowerml.app", model=model, label=label, share=share, note=note)


def bars() -> gr.Label:
    """The component for probabilities: the largest, as bars."""
    return gr.Label(show_label=False, show_heading=False, num_top_classes=BARS)


def picture_input(label: str) -> gr.Image:
    """The component that takes a picture: a file, the camera or the clipboard."""
    sources = ["upload", "webcam", "clipboard"]
    return gr.Image(sources=sources, type="filepath", image_mode=None, label=label, height=320, buttons=["fullscreen"])
