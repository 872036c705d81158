"""The tabs of classifiers: one photo with bars and heat maps, several photos as a table."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import gradio as gr
from PIL import Image

from flowerml.app.answers import Answer, classify
from flowerml.app.parts import (
    CLEAR_MESSAGE,
    MODEL_EVENT,
    answer_html,
    bars,
    errors_in_page,
    message,
    picture_input,
)
from flowerml.app.uploads import MAX_PICTURES, Upload
from flowerml.data.decode import BadImage
from flowerml.evaluation.heat_map import NoHeatMap
from flowerml.prediction import FlowersClassifier
from flowerml.prediction.explain import class_overlay
from flowerml.reporting.html import format_percent, render_page

Classifiers = Mapping[str, FlowersClassifier]
_PROGRESS = gr.Progress()  # as a default it is what Gradio replaces by that of an event


def photo_tab(models: Classifiers) -> None:
    """One photo: for each model its label, bars and where it looks. Call it inside a tab."""
    with gr.Row():
        with gr.Column(min_width=300):
            photo = picture_input("Photo")
            said = gr.HTML()
        with gr.Column(scale=2, min_width=300), gr.Row():
            outputs = [said, *(part for name in models for part in _answer_column(name))]

    def answer(payload: Mapping[str, Any] | None) -> list[Any]:
        with errors_in_page():
            return _photo_values(models, payload)

    photo.change(answer, photo, outputs, **MODEL_EVENT)


def _answer_column(name: str) -> list[Any]:
    """Heading, bars and heat map of a model."""
    with gr.Column(min_width=260):
        return [
            gr.HTML(answer_html(name)),
            bars(),
            gr.Image(
                label=f"Where {name} looks",
                alt_text=f"Where {name} looks",
                interactive=False,
                height=260,
                format="png",
                buttons=["fullscreen"],
            ),
        ]


def _photo_values(models: Classifiers, payload: Mapping[str, Any] | None) -> list[Any]:
    """The message, then heading, bars and overlay of each model."""
    empty = [value for name in models for value in (answer_html(name), None, None)]
    if payload is None:
        return [CLEAR_MESSAGE, *empty]
    upload = Upload.from_payload(payload)
    try:
        image = upload.read()
    except BadImage as error:
        return [message(f"{upload.name}: {error}"), *empty]
    return [CLEAR_MESSAGE, *(value for name, model in models.items() for value in _answer_values(name, model, image))]


def _answer_values(name: str, model: FlowersClassifier, image: Image.Image) -> tuple[str, dict[str, float], Any]:
    answer = classify(model, image)
    try:
        overlay = class_overlay(model, image, model.classes.index(answer.likeliest))
        note = _unknown_note(answer)
    except NoHeatMap:
        overlay, note = None, f"{_unknown_note(answer)} This architecture has no heat map.".strip()
    share = None if answer.is_unknown else answer.share
    return answer_html(name, answer.label, share, note), dict(answer.shares), overlay


def _unknown_note(answer: Answer) -> str:
    if not answer.is_unknown:
        return "" if answer.is_unknown is False else "These weights can't tell pictures of something else."
    return (
        "Less like its classes than 95 % of the photos that it was validated on. Were it one of them:"
        f" {answer.likeliest}, {format_percent(answer.share)}."
    )


def table_tab(models: Classifiers) -> None:
    """Several photos: a line for each. Call it inside a tab."""
    files = gr.File(file_count="multiple", label=f"Photos, up to {MAX_PICTURES}", height=200)
    table = gr.HTML(min_height=80)  # the bar of its progress fits

    def fill(payloads: Sequence[Mapping[str, Any]] | None, progress: gr.Progress = _PROGRESS) -> str:
        with errors_in_page():
            return _table_of(models, payloads or (), lambda uploads: progress.tqdm(uploads, desc="photos"))

    files.change(fill, files, table, **MODEL_EVENT)


def _table_of(
    models: Classifiers, payloads: Sequence[Mapping[str, Any]], track: Callable[[list[Upload]], Iterable[Upload]]
) -> str:
    """The HTML of the table; `track` shows how far the photos are."""
    if len(payloads) > MAX_PICTURES:
        return message(f"{len(payloads)} photos: {MAX_PICTURES} at once are allowed. For folders: flowerml predict")
    rows = [_row(models, upload) for upload in track([Upload.from_payload(payload) for payload in payloads])]
    return _table(list(models), rows)


@dataclass(frozen=True)
class Row:
    """A photo's file name, and the answer of each model, or why there is none."""

    photo: str
    answers: tuple[Answer, ...] = ()
    reason: str = ""


def _row(models: Classifiers, upload: Upload) -> Row:
    try:
        image = upload.read()
    except BadImage as error:
        return Row(upload.name, reason=str(error))
    return Row(upload.name, tuple(classify(model, image) for model in models.values()))


def _table(models: Sequence[str], rows: Sequence[Row]) -> str:
    return render_page("table.html.j2", "flowerml.app", models=models, rows=rows)
