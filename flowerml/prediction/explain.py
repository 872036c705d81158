"""Heat maps of pictures: where a classifier looks for the class that it predicts. Overlays as PNG, and a page."""

import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from PIL import Image

from flowerml.data.decode import BadImage, read_image
from flowerml.data.transforms import EvaluationTransform, InputDescription
from flowerml.evaluation.calibration import class_probabilities
from flowerml.evaluation.heat_map import heat_maps
from flowerml.files import write_bytes, write_text
from flowerml.prediction.standalone.flowers_classifier import FlowersClassifier
from flowerml.prediction.standalone.inputs import to_input
from flowerml.progress_bar import track
from flowerml.reporting.heat_map_page import ExplainedPicture, heat_map_page, overlay_heat_map, png_file

logger = logging.getLogger(__name__)

PAGE = "explain.html"
_LIKELIEST = 3  # classes that are named


@dataclass(frozen=True)
class Explanation:
    """A picture's file; its predicted class, that class's probability (0..1) and the overlay, or why there is none."""

    path: Path
    predicted: str = ""
    probability: float = 0.0
    overlay: Path | None = None
    reason: str = ""


def explain_pictures(model: FlowersClassifier, paths: Sequence[Path], folder: Path, title: str) -> list[Explanation]:
    """Write an overlay for each picture and the page `explain.html` into `folder`; one that can't be read is left out.

    Raises:
        UserError: the architecture has no map, or the folder can't be written to.
    """
    explained: list[ExplainedPicture] = []
    results = []
    for number, path in enumerate(track(paths, "explaining", total=len(paths)), start=1):
        try:
            picture = _explain(model, path)
        except BadImage as error:
            results.append(Explanation(path, reason=str(error)))
            continue
        target = folder / f"{number:03d}_{path.stem[:80]}.png"
        write_bytes(target, png_file(picture.overlay))
        explained.append(picture)
        results.append(Explanation(path, *picture.likeliest[0], target))
    if explained:
        write_text(folder / PAGE, heat_map_page(explained, title=title))
    return results


def class_overlay(model: FlowersClassifier, image: Image.Image, place: int) -> Image.Image:
    """The heat map of the class at `place` of the model's classes, over what the model sees of an RGB picture.

    Raises:
        NoHeatMap: the architecture has none.
    """
    inputs = _one_view(model, image)
    found = heat_maps(model, inputs, torch.tensor([place], device=inputs.device))
    return overlay_heat_map(_crop(model, image), found.maps[0])


def _explain(model: FlowersClassifier, path: Path) -> ExplainedPicture:
    """Raises BadImage."""
    image = read_image(path)
    found = heat_maps(model, _one_view(model, image))
    shares = class_probabilities(torch.from_numpy(found.logits), model.calibration)[0]
    target = int(found.targets[0])
    order = [target, *(int(place) for place in (-shares).argsort(kind="stable") if place != target)]
    view = _crop(model, image)
    return ExplainedPicture(
        name=str(path),
        view=view,
        overlay=overlay_heat_map(view, found.maps[0]),
        likeliest=tuple((model.classes[place], float(shares[place])) for place in order[:_LIKELIEST]),
    )


def _one_view(model: FlowersClassifier, image: Image.Image) -> torch.Tensor:
    """The input (1, 3, S, S) of an RGB picture, on the model's device: its first view, where the model has several."""
    return to_input(image, model.description)[None].to(next(model.parameters()).device)


def _crop(model: FlowersClassifier, image: Image.Image) -> Image.Image:
    """What the model sees of a picture, S by S pixels."""
    return EvaluationTransform(InputDescription(**asdict(model.description))).crop(image)
