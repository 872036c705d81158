"""The tab of relations: a picture, two boxes by four clicks, and each model's relation with bars."""

from collections.abc import Mapping
from typing import Any

import gradio as gr
from PIL import Image

from flowerml.app.answers import named_shares
from flowerml.app.boxes import Corners, draw_corners
from flowerml.app.parts import (
    CLEAR_MESSAGE,
    MODEL_EVENT,
    answer_html,
    bars,
    errors_in_page,
    message,
    page_error,
    picture_input,
)
from flowerml.app.uploads import Upload
from flowerml.data.decode import BadImage, read_image
from flowerml.prediction import RelationPredictor, predict_relation_proba

Relations = Mapping[str, RelationPredictor]


def relation_tab(models: Relations) -> None:
    """Two boxes in a picture and what they are to each other. Call it inside a tab."""
    corners = gr.State(None)
    with gr.Row():
        with gr.Column(min_width=300):
            photo = picture_input("Picture")
            said = gr.HTML()
        with gr.Column(min_width=300):
            step = gr.Markdown("Two boxes by four clicks: the subject's corners (red), then the object's (blue).")
            drawn = gr.Image(
                show_label=False, interactive=False, format="jpeg", buttons=[], alt_text="the picture to click on"
            )
            with gr.Row():
                swap = gr.Button("Swap subject and object", size="sm")
                restart = gr.Button("New boxes", size="sm")
    answers: list[Any] = []
    with gr.Row():
        for name in models:
            with gr.Column(min_width=260):
                answers += [gr.HTML(answer_html(name)), bars()]
    drawing = [corners, drawn, step, *answers]

    def open_picture(payload: Mapping[str, Any] | None) -> list[Any]:
        with errors_in_page():
            found, words = _opened(payload)
            return [words, *_drawing_values(models, found)]

    def click(found: Corners | None, event: gr.SelectData) -> list[Any]:
        with errors_in_page():
            try:
                return _drawing_values(models, found and found.clicked(*event.index))
            except ValueError as error:
                raise page_error(str(error)) from error

    def exchange(found: Corners | None) -> list[Any]:
        with errors_in_page():
            return _drawing_values(models, found and found.swapped())

    def clear(found: Corners | None) -> list[Any]:
        with errors_in_page():
            return _drawing_values(models, found and Corners(found.path, found.size))

    photo.change(open_picture, photo, [said, *drawing], **MODEL_EVENT)
    drawn.select(click, corners, drawing, trigger_mode="multiple", **MODEL_EVENT)  # also clicks in quick succession
    swap.click(exchange, corners, drawing, **MODEL_EVENT)
    restart.click(clear, corners, drawing, **MODEL_EVENT)


def _opened(payload: Mapping[str, Any] | None) -> tuple[Corners | None, str]:
    """The picture without boxes, or None and a message."""
    if payload is None:
        return None, CLEAR_MESSAGE
    upload = Upload.from_payload(payload)
    try:
        return Corners(upload.path, upload.read().size), CLEAR_MESSAGE
    except BadImage as error:
        return None, message(f"{upload.name}: {error}")


def _drawing_values(models: Relations, corners: Corners | None) -> list[Any]:
    """The corners, the picture with them, what to do next, then heading and bars of each model."""
    empty = [value for name in models for value in (answer_html(name), None)]
    if corners is None:
        return [None, None, "Choose a picture first.", *empty]
    image = read_image(corners.path)
    shown = [corners, draw_corners(image, corners), corners.next_step]
    if len(corners.boxes) < 2:
        return [*shown, *empty]
    return [*shown, *(value for name, model in models.items() for value in _answer_values(name, model, image, corners))]


def _answer_values(
    name: str, model: RelationPredictor, image: Image.Image, corners: Corners
) -> tuple[str, dict[str, float]]:
    subject, object_ = ((box.x0, box.y0, box.x1, box.y1) for box in corners.boxes)
    shares = named_shares(model.classes, predict_relation_proba(model, image, subject, object_))
    relation = max(shares, key=shares.__getitem__)
    return answer_html(name, f"the subject is {relation} the object", shares[relation]), shares
