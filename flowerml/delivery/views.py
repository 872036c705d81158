"""Deliver weights with test-time views: their calibration is fitted again, as probabilities with views are others."""

import logging
from dataclasses import replace

import numpy as np
import torch

from flowerml.data.decode import BadImage
from flowerml.delivery.verify import Expected, RecordedPhoto, recorded_photos
from flowerml.errors import UserError, one_line
from flowerml.evaluation.fit_calibration import MIN_EXAMPLES, fit_calibration, measure_calibration
from flowerml.evaluation.metrics import Predictions
from flowerml.evaluation.paired_gain import PairedGain, paired_gain
from flowerml.evaluation.tta import NO_VIEWS
from flowerml.prediction import FlowersClassifier, as_predictor
from flowerml.prediction.standalone.answers import BATCH
from flowerml.progress_bar import track
from flowerml.training.checkpoints.checkpoint import Checkpoint

logger = logging.getLogger(__name__)


def with_views(checkpoint: Checkpoint, expected: Expected, tta: str | None) -> tuple[Checkpoint, PairedGain | None]:
    """The checkpoint with the views `tta` (None: as it is), and what they change on its validation photos.

    A calibration counts for the views that it was fitted with only: it is fitted again, on the validation photos and
    by the rule of a training. A checkpoint without one gets none; no photos are looked at then.

    Raises:
        UserError: it has a calibration, and fewer than MIN_EXAMPLES validation photos are at hand.
    """
    if tta is None or tta == checkpoint.tta:
        return checkpoint, None
    viewed = replace(checkpoint, tta=tta, calibration=None)
    if checkpoint.calibration is None:
        return viewed, None
    photos = [photo for photo in recorded_photos(expected, checkpoint.classes) if photo.label in checkpoint.classes]
    predictions, recorded = _predict(as_predictor(viewed, "cpu", checkpoint.origin), photos, tta)
    if len(predictions.ids) < MIN_EXAMPLES:
        raise UserError(
            f"--tta {tta}: the calibration in {one_line(checkpoint.origin)} was fitted with --tta {checkpoint.tta}, and"
            f" to fit it again {MIN_EXAMPLES} of its run's validation photos are needed, of which"
            f" {len(predictions.ids)} are at hand: name their folder with --train-dir, or leave out --tta"
        )
    report = measure_calibration(predictions)
    calibration = fit_calibration(predictions, scaled=report.helps)
    logger.info(f"with the views {tta}, {report.line(calibration.temperature)}")
    gain = (
        None
        if tta == NO_VIEWS
        else paired_gain(recorded == predictions.labels, predictions.predicted == predictions.labels)
    )
    if gain is not None:
        logger.info(gain.line(f"views {tta}"))
    return replace(viewed, calibration=calibration), gain


@torch.inference_mode()
def _predict(model: FlowersClassifier, photos: list[RecordedPhoto], tta: str) -> tuple[Predictions, np.ndarray]:
    """Predictions with views of the photos that can be read, and the class numbers (N,) that were recorded for them."""
    read: list[RecordedPhoto] = []
    logits = [torch.zeros((0, len(model.classes)))]
    batches = [photos[start : start + BATCH] for start in range(0, len(photos), BATCH)]
    for batch in track(batches, f"predicting the validation photos with the views {tta}"):
        inputs = []
        for photo in batch:
            try:
                inputs.append(model.preprocess(photo.path))
            except BadImage:
                continue
            read.append(photo)
        if inputs:
            logits.append(model.view_logits(torch.stack(inputs)))
    number = {name: index for index, name in enumerate(model.classes)}
    predictions = Predictions(
        model.classes,
        tuple(photo.image for photo in read),
        np.array([number[photo.label] for photo in read], dtype=np.int64),
        torch.cat(logits).numpy(),
    )
    return predictions, np.array([number.get(photo.predicted, -1) for photo in read], dtype=np.int64)
