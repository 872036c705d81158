"""Pictures of a run by epoch, for MLflow's image grid: training pictures as the model sees them, and surest mistakes.

MLflow finds them by their file names (those of `MlflowClient.log_image`) in the artifact folder `images`.
"""

import io
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from flowerml.data.inputs import Inputs, tensors_of
from flowerml.data.transforms import InputDescription
from flowerml.evaluation.metrics import Predictions
from flowerml.events import Artifact, Recorder, Tags
from flowerml.files import remove_file, write_bytes
from flowerml.optional_files import try_to_make
from flowerml.runs.prepare import Prepared
from flowerml.training.callbacks import Candidate
from flowerml.training.checkpoints.async_writer import AsyncWriter

FOLDER = "images"
_PICTURES = 9  # of an epoch
_MAX_BYTES = 1_000_000  # of a run
_SMALL_SIDE = 256  # pixels, of what MLflow shows before one is opened


class EpochImages:
    """Records the grids of epochs 1, 2, 4, 8 and so on, at most 1 MB a run; none that fails ends a training.

    They are drawn and written by `writer`, beside the training: also the import of Matplotlib, which takes as long as
    many steps.
    """

    def __init__(self, run: Prepared, recorder: Recorder, writer: AsyncWriter) -> None:
        self._run, self._recorder, self._writer = run, recorder, writer
        self._examples = {example.id: example for example in run.data.val}

    def record_batch(self, epoch: int, inputs: Inputs) -> None:
        """The first pictures of the epoch's first batch, augmented and mixed. Sync point: a GPU's are copied."""
        if _is_due(epoch):
            pictures = try_to_make(f"{FOLDER}: augmented", lambda: self._augmented(inputs))
            if pictures:
                self._submit("augmented", epoch, lambda: [(picture, "") for picture in pictures])

    def record_mistakes(self, candidate: Candidate) -> None:
        """The validation pictures that the epoch's weights get wrong with the highest probability."""
        predictions = candidate.predictions
        if predictions is not None and _is_due(candidate.epoch):
            self._submit("mistakes", candidate.epoch, lambda: self._mistakes(predictions))

    def _augmented(self, inputs: Inputs) -> list[Image.Image]:
        """Copies of the first pictures; none of features."""
        crops = [part[:_PICTURES] for part in tensors_of(inputs) if part.ndim == 4]
        if not crops:
            return []
        # The crops of one example side by side.
        return _as_pictures(torch.cat([part.float() for part in crops], dim=3), self._run.built.description)

    def _submit(self, key: str, epoch: int, pictures: Callable[[], Sequence[tuple[Image.Image, str]]]) -> None:
        self._writer.submit(lambda: try_to_make(f"{FOLDER}: {key}", lambda: self._write(key, epoch, pictures())))

    def _mistakes(self, predictions: Predictions) -> list[tuple[Image.Image, str]]:
        """Pictures with a caption of true and predicted class."""
        names, sure = predictions.classes, predictions.probabilities.max(axis=1)
        wrong = np.flatnonzero(predictions.predicted != predictions.labels)
        shown = []
        for index in wrong[np.argsort(-sure[wrong], kind="stable")][:_PICTURES]:
            picture = self._run.task.render(self._examples[predictions.ids[index]])
            if picture is not None:
                label, predicted = names[predictions.labels[index]], names[predictions.predicted[index]]
                shown.append((picture, f"{label}\n→ {predicted} {sure[index]:.2f}"))
        return shown

    def _write(self, key: str, epoch: int, pictures: Sequence[tuple[Image.Image, str]]) -> None:
        if not pictures:
            return
        from flowerml.reporting.image_grid import image_grid  # Matplotlib

        grid = image_grid(pictures)
        folder = self._run.folder / FOLDER
        folder.mkdir(exist_ok=True)
        small = grid.copy()
        small.thumbnail((_SMALL_SIDE, _SMALL_SIDE))
        # A palette: a quarter of the bytes of 24 bits.
        files = {
            ".png": _encoded(grid.quantize(128, method=Image.Quantize.FASTOCTREE), "PNG"),
            "+compressed.webp": _encoded(small, "WEBP"),
        }
        steps = (0, 1) if epoch == 1 else (epoch,)  # MLflow's slider begins at 0, which would be empty
        named = {_file_stem(key, step) + ending: data for step in steps for ending, data in files.items()}
        others = sum(path.stat().st_size for path in folder.iterdir() if path.name not in named)
        if others + sum(map(len, named.values())) > _MAX_BYTES:
            return
        for name, data in named.items():
            write_bytes(folder / name, data)
            self._recorder.record(Artifact(folder / name, FOLDER))
        self._recorder.record(Tags({"mlflow.loggedImages": "True"}))


def clear_images(folder: Path) -> None:
    """Remove the pictures of an earlier run in the run folder `folder`, and their folder where nothing else is in it.

    Raises UserError as `remove_file`.
    """
    images = folder / FOLDER
    if not images.is_dir():
        return
    for path in (*images.glob("*+step+*.png"), *images.glob("*+step+*.webp")):
        remove_file(path)
    if not any(images.iterdir()):
        images.rmdir()


def _is_due(epoch: int) -> bool:
    """Whether `epoch` is a power of two."""
    return epoch & (epoch - 1) == 0


def _file_stem(key: str, step: int) -> str:
    """MLflow's name, always the same for a step: an epoch that is trained again, after a resume, replaces its own."""
    return f"{key}+step+{step}+timestamp+{step}+{uuid.uuid5(uuid.NAMESPACE_OID, f'{key} {step}')}"


def _as_pictures(batch: torch.Tensor, description: InputDescription) -> list[Image.Image]:
    """Pictures of normalised ones (N, 3, H, W)."""
    mean, std = (
        torch.tensor(values, device=batch.device).view(3, 1, 1) for values in (description.mean, description.std)
    )
    pixels = (batch.detach() * std + mean).clamp(0, 1).mul(255).round().to(torch.uint8).permute(0, 2, 3, 1).cpu()
    return [Image.fromarray(picture.numpy()) for picture in pixels]


def _encoded(picture: Image.Image, form: str) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, form)
    return buffer.getvalue()
