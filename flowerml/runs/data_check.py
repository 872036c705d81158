"""Find likely label errors in a folder with a trained model, out of sample, and write the folder's page."""

import logging
from pathlib import Path

import numpy as np
import torch
from scipy.special import softmax

from flowerml.data.decode import BadImage
from flowerml.data.inputs import to_device, to_memory_format
from flowerml.data.loader import evaluation_loader
from flowerml.data.location import read_image_at
from flowerml.data.quality.summary import FolderReport
from flowerml.data.scan import Scan
from flowerml.data.workers.errors import worker_death_as_error
from flowerml.errors import UserError
from flowerml.evaluation.labels.label_errors import FOLDS, LabelErrors, cross_validated_probabilities, find_label_errors
from flowerml.files import write_text
from flowerml.models.builders import set_channels_last
from flowerml.prediction import as_predictor
from flowerml.progress_bar import track
from flowerml.reporting.data_page.page import data_page
from flowerml.reporting.thumbnail import thumbnail_jpeg
from flowerml.runs.folds.out_of_fold import CrossValidation
from flowerml.tasks import task_for
from flowerml.training.checkpoints.checkpoint import Checkpoint
from flowerml.training.device import default_workers, use_device

logger = logging.getLogger(__name__)


def find_suspect_labels(
    checkpoint: Checkpoint, path: Path, scanned: Scan, report: FolderReport, device: str | None = None
) -> LabelErrors:
    """Find the likeliest label errors among the scanned pictures with `checkpoint`, which was loaded from `path`.

    Probabilities are out of sample, as in confident learning (Northcutt et al., JAIR 2021): for validation pictures of
    the checkpoint's split those of its own head; for all others those of heads cross-fitted on its backbone's features,
    because a model has memorised the labels that it was trained on.

    Raises:
        UserError: the weights can't be used, or a class has too few pictures to cross-fit.
    """
    labels = np.array([scanned.classes.index(picture.label) for picture in scanned.pictures])
    features, logits = _extract_features(checkpoint, path, scanned, device)
    logger.info(f"fitting {FOLDS} heads, each without a fifth of the pictures")
    try:
        probabilities = cross_validated_probabilities(features, labels, report.groups)
    except ValueError as error:
        raise UserError(f"{scanned.root}: {error}; label errors can't be looked for out of sample") from error
    held_out = _held_out(checkpoint, scanned)
    if held_out.any():
        probabilities[held_out] = softmax(logits[held_out].astype(np.float64), axis=1)
    return find_label_errors(
        [picture.key for picture in scanned.pictures],
        labels,
        probabilities,
        scanned.classes,
        _describe_method(path, held_out),
    )


def suspect_labels_of_folds(folds: CrossValidation, scanned: Scan) -> LabelErrors:
    """Labels of the scanned pictures that a cross-validation doubts; a warning counts those that it has not judged.

    Raises:
        UserError: it has judged none of them, or is of a task whose labels are not doubted.
    """
    folds.require_label_errors()
    judged = folds.unchanged({picture.key: picture.sha256 for picture in scanned.pictures})
    if not judged.ids:
        raise UserError(f"{folds.folder}: none of the pictures in {scanned.root} is one that it was trained on")
    if others := len(scanned.pictures) - len(judged.ids):
        logger.warning(
            f"{others} of {len(scanned.pictures)} pictures are new, changed, or under two labels since {folds.folder}"
            " was trained: their labels are not judged"
        )
    return folds.label_errors(judged)


@worker_death_as_error()
def _extract_features(
    checkpoint: Checkpoint, path: Path, scanned: Scan, device: str | None
) -> tuple[np.ndarray, np.ndarray]:
    """Pooled features (N, F) and the checkpoint's logits (N, C) of the scanned pictures, fp32."""
    model = as_predictor(checkpoint, str(use_device(device)), str(path))
    model_device = next(model.parameters()).device
    memory_format = set_channels_last(model, checkpoint.spec)
    settings = checkpoint.parse_settings()
    task = task_for(checkpoint.spec)
    _, transform = task.transforms(checkpoint.description, settings)
    all_examples, _ = task.examples(scanned.root, scanned.classes, None, settings)
    readable = {picture.key for picture in scanned.pictures}
    examples = [example for example in all_examples if example.id in readable]
    loader = evaluation_loader(examples, transform, batch_size=32, workers=default_workers(model_device))
    backbone, head = model.get_submodule("backbone"), model.get_submodule("head")
    features, logits = [], []
    with torch.inference_mode():
        for inputs, _, _ in track(
            loader.epoch(1), f"looking at {len(examples)} pictures with {path}", total=len(loader)
        ):
            pooled = backbone(to_memory_format(to_device(inputs, model_device), memory_format))
            features.append(pooled.float().cpu().numpy())
            logits.append(head(pooled).float().cpu().numpy())
    return np.concatenate(features), np.concatenate(logits)


def _held_out(checkpoint: Checkpoint, scanned: Scan) -> np.ndarray:
    """Mask (N,) of the checkpoint's validation pictures, by name and content; none where its classes differ."""
    split = checkpoint.parse_split()
    if split is None or checkpoint.classes != scanned.classes:
        return np.zeros(len(scanned.pictures), dtype=bool)
    val = set(split.val)
    return np.array(
        [picture.key in val and split.sha256[picture.key] == picture.sha256 for picture in scanned.pictures]
    )


def _describe_method(path: Path, held_out: np.ndarray) -> str:
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


def write_data_page(path: Path, scanned: Scan, report: FolderReport, suspects: LabelErrors | None) -> None:
    """Write the page of a folder (`data_page`) atomically. Raises UserError as `write_text`."""
    locations = {picture.key: picture.locate(scanned.root) for picture in scanned.pictures}

    def thumbnail(key: str) -> bytes | None:
        try:
            return thumbnail_jpeg(read_image_at(locations[key]))
        except BadImage:
            return None  # removed since the scan

    write_text(path, data_page(report, suspects, thumbnail=thumbnail))
