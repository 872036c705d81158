"""Looking through a folder with a trained model: which labels it doubts, out of sample; and the page that shows what
was found.
"""

import logging
from pathlib import Path

import numpy as np
import torch
from scipy.special import softmax

from flowerml.data.decode import BadImage, read_image
from flowerml.data.inputs import to_device, to_memory_format
from flowerml.data.loader import evaluation_loader
from flowerml.data.quality.summary import FolderReport
from flowerml.data.scan import Scan
from flowerml.errors import UserError
from flowerml.evaluation.label_errors import FOLDS, LabelErrors, cross_fitted, find_label_errors
from flowerml.files import write_text
from flowerml.models.builders import set_channels_last
from flowerml.prediction import as_predictor
from flowerml.progress_bar import track
from flowerml.reporting.data_page import data_page
from flowerml.reporting.thumbnail import thumbnail_jpeg
from flowerml.runs.prepare import default_workers
from flowerml.tasks import task_for
from flowerml.training.checkpoints.checkpoint import Checkpoint
from flowerml.training.device import pick_device

logger = logging.getLogger(__name__)


def label_suspects(
    checkpoint: Checkpoint, path: Path, scanned: Scan, report: FolderReport, device: str | None = None
) -> LabelErrors:
    """The likeliest label errors among the scanned pictures, by the model of `checkpoint`, which was read from `path`.

    Validation pictures of the checkpoint's own split are judged by its own head, which never saw them. All others are
    judged by a head fitted, without them, on the features of its backbone: a training picture's own label has shaped
    the checkpoint's head, and a model that has learnt a wrong label by heart would defend it.

    Raises:
        UserError: the weights can't be used, or a class has too few pictures for a judgement out of sample.
    """
    labels = np.array([scanned.classes.index(picture.label) for picture in scanned.pictures])
    features, logits = _look_at(checkpoint, path, scanned, device)
    logger.info(f"fitting {FOLDS} heads, each without a fifth of the pictures")
    try:
        probabilities = cross_fitted(features, labels, report.groups)
    except ValueError as error:
        raise UserError(f"{scanned.root}: {error}; label errors can't be looked for out of sample") from error
    held_out = _held_out(checkpoint, scanned)
    if held_out.any():
        probabilities[held_out] = softmax(logits[held_out].astype(np.float64), axis=1)
    return find_label_errors(
        [picture.key for picture in scanned.pictures], labels, probabilities, scanned.classes, _how(path, held_out)
    )


def _look_at(checkpoint: Checkpoint, path: Path, scanned: Scan, device: str | None) -> tuple[np.ndarray, np.ndarray]:
    """Pooled features (N, F) and logits (N, C of the checkpoint) of the scanned pictures, fp32."""
    model = as_predictor(checkpoint, str(pick_device(device)), str(path))
    where = next(model.parameters()).device
    memory_format = set_channels_last(model, checkpoint.spec)
    settings = checkpoint.trained_with()
    task = task_for(checkpoint.spec)
    _, transform = task.transforms(checkpoint.description, settings)
    every, _ = task.examples(scanned.root, scanned.classes, None, settings)
    readable = {picture.key for picture in scanned.pictures}
    examples = [example for example in every if example.id in readable]
    loader = evaluation_loader(examples, transform, batch_size=32, workers=default_workers(where))
    backbone, head = model.get_submodule("backbone"), model.get_submodule("head")
    features, logits = [], []
    with torch.inference_mode():
        for inputs, _, _ in track(
            loader.epoch(1), f"looking at {len(examples)} pictures with {path}", total=len(loader)
        ):
            pooled = backbone(to_memory_format(to_device(inputs, where), memory_format))
            features.append(pooled.float().cpu().numpy())
            logits.append(head(pooled).float().cpu().numpy())
    return np.concatenate(features), np.concatenate(logits)


def _held_out(checkpoint: Checkpoint, scanned: Scan) -> np.ndarray:
    """Which pictures (N,) bool the checkpoint was validated on, by name and content; none where it knows other classes."""
    split = checkpoint.drawn_split()
    if split is None or checkpoint.classes != scanned.classes:
        return np.zeros(len(scanned.pictures), dtype=bool)
    val = set(split.val)
    return np.array(
        [picture.key in val and split.sha256[picture.key] == picture.sha256 for picture in scanned.pictures]
    )


def _how(path: Path, held_out: np.ndarray) -> str:
    fitted = (
        f"by a linear head on the features of {path}, fitted on {FOLDS - 1} fifths of the pictures and judging the"
        " other fifth"
    )
    if not held_out.any():
        return f"Every picture is judged {fitted}: no picture by a head that has seen its label."
    return (
        f"{held_out.sum()} validation pictures of the checkpoint are judged by itself, which never saw them; the other "
        f"{(~held_out).sum()} {fitted}."
    )


def write_page(path: Path, scanned: Scan, report: FolderReport, suspects: LabelErrors | None) -> None:
    """The page of a folder (see `data_page`), whole or not at all. Raises UserError as `write_text`."""
    files = {picture.key: scanned.root / picture.file for picture in scanned.pictures}

    def thumbnail(key: str) -> bytes | None:
        try:
            return thumbnail_jpeg(read_image(files[key]))
        except BadImage:
            return None  # it went while the page was made

    write_text(path, data_page(report, suspects, thumbnail=thumbnail))
