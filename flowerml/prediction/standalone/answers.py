"""What a classifier says of pictures: names, probabilities, sets of names; for models of any runtime."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import numpy as np

from flowerml.errors import UserError
from flowerml.evaluation.calibration_values import CalibrationValues, prediction_sets
from flowerml.prediction.standalone.messages import single_line
from flowerml.prediction.standalone.pictures import Picture, Pictures, picture_name

BATCH = 16  # pictures per forward pass: bounds the memory that a long list takes
UNKNOWN = "unknown"  # the answer for a picture that shows none of the classes, where that is asked for


class Classifier(Protocol):
    """What `predict` and its kin use: one model, or several as one (`load_ensemble`)."""

    classes: tuple[str, ...]
    labels_calibrated: bool  # whether labels are those of the calibrated probabilities

    def preprocess(self, picture: Picture, name: str = "") -> Any:  # noqa: ANN401 - what its `probabilities` take
        """What `probabilities` takes of a picture. Raises BadImage, with `name` before the reason."""

    def probabilities(self, inputs: Sequence[Any], *, calibrated: bool = True) -> np.ndarray:
        """Probabilities (N, C) float32, in one batch. Raises BadWeights where one is not finite."""

    def sets_calibration(self) -> CalibrationValues:
        """The calibration of prediction sets. Raises UserError where there is none."""

    def known_energy(self) -> float:
        """The largest energy of a picture of one of the classes. Raises UserError where it is not known."""

    def probabilities_and_energies(
        self, inputs: Sequence[Any], *, calibrated: bool = True
    ) -> tuple[np.ndarray, np.ndarray]:
        """`probabilities`, and energies (N,) float32. Raises as `probabilities`."""


def largest_known_energy(calibration: CalibrationValues | None, classes: Sequence[str]) -> float:
    """The largest energy of a picture of one of the classes. Raises UserError where it is not known."""
    limit = None if calibration is None else calibration.known_energy
    if limit is None:
        raise UserError(
            "unknown pictures can't be told with these weights: they are of a run with fewer than 50 validation"
            " photos, or of an earlier version. Deliver those of another run"
        )
    if UNKNOWN in classes:
        raise UserError(f"unknown pictures can't be told from those of the class {UNKNOWN!r}: rename that class")
    return limit


def require_calibration(calibration: CalibrationValues | None) -> CalibrationValues:
    """The calibration of prediction sets. Raises UserError where there is none."""
    if calibration is None:
        raise UserError(
            "predict_set needs a calibration, and these weights have none: they are of a run with fewer than 50"
            " validation photos, or of an earlier version. Deliver those of another run"
        )
    return calibration


def predict(model: Classifier, image_path: Pictures, *, unknown: bool = False) -> str | list[str]:
    """The name of the flower in a picture; a list of pictures gives a list of names.

    With `unknown` the answer may be "unknown", for a picture that is less like the classes (by its energy, Liu et al.,
    NeurIPS 2020) than 95 % of the validation photos: so one in twenty photos of a flower is called unknown too.

    Raises:
        BadImage: one of them can't be used; says which and why.
        UserError: `unknown`, and the weights file has no energies, or the model is an ensemble.
    """
    if unknown:
        names = _names_or_unknown(model, image_path)
    else:
        shares = predict_proba(model, image_path, calibrated=model.labels_calibrated)
        names = [model.classes[index] for index in shares.argmax(axis=1)]
    return names if isinstance(image_path, (list, tuple)) else names[0]


def _names_or_unknown(model: Classifier, images: Pictures) -> list[str]:
    limit = model.known_energy()
    names = []
    for inputs in _batches(model, images):
        shares, energies = model.probabilities_and_energies(inputs, calibrated=model.labels_calibrated)
        best = shares.argmax(axis=1)
        names += [
            UNKNOWN if energy > limit else model.classes[index] for index, energy in zip(best, energies, strict=True)
        ]
    return names


def _batches(model: Classifier, images: Pictures) -> Iterator[list[Any]]:
    """What the model takes of the pictures, BATCH at a time. Raises BadImage."""
    pictures: list[Picture] = list(images) if isinstance(images, (list, tuple)) else [images]
    for start in range(0, len(pictures), BATCH):
        batch = pictures[start : start + BATCH]
        yield [model.preprocess(picture, picture_name(picture, start + index)) for index, picture in enumerate(batch)]


def predict_proba(model: Classifier, images: Pictures, *, calibrated: bool = True) -> np.ndarray:
    """Probabilities (N, C) float32 of pictures, columns in the order of `model.classes`; one picture gives one row.

    With `calibrated` they are scaled to agree with how often the model was right on its validation photos, where the
    weights file says so; the order of the classes is the same without.

    Raises:
        BadImage: one of them can't be used; says which and why.
    """
    empty = np.zeros((0, len(model.classes)), np.float32)
    return np.concatenate(
        [empty, *(model.probabilities(one, calibrated=calibrated) for one in _batches(model, images))]
    )


def predict_set(model: Classifier, images: Pictures, coverage: float = 0.95) -> list[str] | list[list[str]]:
    """The names that a picture may have, the likeliest first; a list of pictures gives a list of these lists.

    For pictures like the validation photos the true name is among them with at least the probability `coverage` (split
    conformal prediction). A model that is right more often than that gives one name for most.

    Raises:
        BadImage: one of them can't be used; says which and why.
        UserError: the weights file has no calibration, the model is an ensemble, or `coverage` is not between 0 and 1.
    """
    calibration = model.sets_calibration()
    try:
        calibration.threshold(coverage)  # before the work, not after it
    except ValueError as error:
        raise UserError(single_line(str(error))) from error
    sets = prediction_sets(predict_proba(model, images), calibration, coverage)
    names = [[model.classes[index] for index in members] for members in sets]
    return names if isinstance(images, (list, tuple)) else names[0]
