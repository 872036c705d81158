"""Heat maps of misclassified pictures for `errors.html`: which parts raise the logit of the predicted class."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from PIL import Image
from torch import nn

from flowerml.data.loader import Example
from flowerml.data.transforms import EvaluationTransform, InputDescription
from flowerml.evaluation.heat_map import NoHeatMap, heat_maps
from flowerml.optional_files import try_to_make
from flowerml.process.threads import map_in_threads
from flowerml.reporting.errors_page import Mistake, Overlays
from flowerml.reporting.thumbnail import SIDE, thumbnail_jpeg
from flowerml.runs.outputs.thumbnails import example_thumbnail
from flowerml.tasks import Task

SECONDS = 10.0  # about the most that they take: a large model on a CPU must not hold up the end of a run
_BATCH_PIXELS = 4 * 224**2  # of the pictures of a batch: a large model keeps a gigabyte for each of 336 x 336


@dataclass(frozen=True)
class MistakeExplainer:
    """Draws heat maps of the predicted class, some pictures at a time; `network` loads the model where there are any.

    The map is that of the picture itself, also where a prediction is the mean of several views. There are
    fewer where they would take longer than about `seconds`.
    """

    task: Task
    classes: Sequence[str]
    description: InputDescription
    network: Callable[[], nn.Module]
    seconds: float = SECONDS

    def overlays(self, mistakes: Sequence[Mistake], by_id: Mapping[str, Example]) -> Overlays:
        """The maps of `mistakes`, whose examples are in `by_id`; one that fails is a warning in the log.

        Raises:
            LeaseLost, Stopped, KeyboardInterrupt: as `try_to_make`.
        """
        if reason := self.task.no_heat_maps:
            return Overlays(f"No heat maps: {reason}.")
        jpegs: dict[str, bytes] = {}
        note = try_to_make("heat maps in errors.html", partial(self._draw, mistakes, by_id, jpegs))
        return Overlays(note or "Heat maps are missing here because of an error, which the log names.", jpegs)

    def _draw(self, mistakes: Sequence[Mistake], by_id: Mapping[str, Example], jpegs: dict[str, bytes]) -> str:
        """Put the maps into `jpegs`. Returns what the page says about them."""
        started = time.monotonic()
        network = self.network()
        left = list(mistakes)
        most = max(1, _BATCH_PIXELS // self.description.size**2)
        size = 1  # the first one tells how long one takes
        while left and size:
            batch_started = time.monotonic()
            try:
                jpegs |= self._overlays_of(network, [(one, by_id[one.image]) for one in left[:size]])
            except NoHeatMap as error:
                return f"No heat maps: {error}."
            left = left[size:]
            # By the last batch: loading the model, and all that a first pass prepares, are no measure of the next.
            each = (time.monotonic() - batch_started) / size
            size = max(0, min(most, int((started + self.seconds - time.monotonic()) / each)))
        if not jpegs:
            return "No heat maps: the pictures can't be read any more."
        many = "the surest mistake" if len(jpegs) == 1 else f"the {len(jpegs)} surest mistakes"
        return (
            f"Heat maps stand under {many}: bright parts raise the logit of the predicted class. They say where the"
            " model looks, not why it errs."
        )

    def _overlays_of(self, network: nn.Module, batch: Sequence[tuple[Mistake, Example]]) -> dict[str, bytes]:
        """JPEG files by image name, of the pictures that can still be read. Raises NoHeatMap."""
        from flowerml.reporting.heat_map_page import overlay_heat_map  # Matplotlib: only after the work

        transform, device = EvaluationTransform(self.description), next(network.parameters()).device

        def view_of(example: Example) -> Image.Image | None:
            picture = self.task.render(example)
            if picture is None:
                return None
            example_thumbnail(self.task, example, picture)  # the page shows it too: the file is decoded once
            return transform.crop(picture)

        views = map_in_threads(view_of, [example for _, example in batch])
        seen = [(mistake, view) for (mistake, _), view in zip(batch, views, strict=True) if view is not None]
        if not seen:
            return {}
        inputs = torch.stack([transform.normalise(view) for _, view in seen]).to(device)
        predicted = torch.tensor([self.classes.index(mistake.predicted) for mistake, _ in seen], device=device)
        maps = heat_maps(network, inputs, predicted).maps
        jpegs = map_in_threads(
            lambda part: thumbnail_jpeg(overlay_heat_map(part[0][1], part[1], SIDE)), zip(seen, maps, strict=True)
        )
        return {mistake.image: jpeg for (mistake, _), jpeg in zip(seen, jpegs, strict=True)}
