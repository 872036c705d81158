"""Several models as one: the weighted mean of their calibrated probabilities."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence

import numpy as np
import torch

from flowerml.errors import UserError
from flowerml.evaluation.calibration_values import CalibrationValues
from flowerml.prediction.standalone.flowers_classifier import FlowersClassifier, load_model
from flowerml.prediction.standalone.messages import single_line
from flowerml.prediction.standalone.pictures import Picture, read_named_picture


class Ensemble:
    """Models that are used as one. `classes` are those of the first member, to which the others' columns are aligned.

    `weights` are positive and sum to 1, one for each of `members`. Each member's views and temperature are its own.
    """

    labels_calibrated = True  # the label is the class of the highest mean, which temperatures change

    def __init__(
        self, members: Sequence[FlowersClassifier], weights: Sequence[float] | None, names: Sequence[str]
    ) -> None:
        """`names` are what messages call the members, such as their paths; `weights` None: equal ones.

        Raises:
            UserError: fewer than two members, others' classes, or weights that are not one positive number each.
        """
        _check_members(members, names)
        self.members = tuple(members)
        self.weights = _normalised(weights, len(self.members))
        self.classes = self.members[0].classes
        self._columns = [[member.classes.index(name) for name in self.classes] for member in self.members]

    def preprocess(self, picture: Picture, name: str = "") -> tuple[torch.Tensor, ...]:
        """The input of a picture for each member. Raises BadImage, with `name` before the reason."""
        image = read_named_picture(picture, name)  # decoded once
        return tuple(member.preprocess(image) for member in self.members)

    def probabilities(self, inputs: Sequence[tuple[torch.Tensor, ...]], *, calibrated: bool = True) -> np.ndarray:
        """Probabilities (N, C) float32 of results of `preprocess`: the weighted mean of the members' own.

        Raises:
            BadWeights: where one is not finite.
        """
        mean = np.zeros((len(inputs), len(self.classes)))
        for member, weight, columns, own in zip(
            self.members, self.weights, self._columns, zip(*inputs, strict=True), strict=True
        ):
            mean += weight * member.probabilities(own, calibrated=calibrated)[:, columns]
        return mean.astype(np.float32)

    def known_energy(self) -> float:
        """Raise UserError: the energies in a weights file are of that model's own logits."""
        raise UserError(
            "unknown pictures can't be told by an ensemble: the energies in a weights file are of that model's own"
            " logits. Ask one member"
        )

    def probabilities_and_energies(
        self, inputs: Sequence[tuple[torch.Tensor, ...]], *, calibrated: bool = True
    ) -> tuple[np.ndarray, np.ndarray]:
        """Raise UserError, as `known_energy`."""
        self.known_energy()
        raise AssertionError

    def sets_calibration(self) -> CalibrationValues:
        """Raise UserError: the members' scores are of their own probabilities, not of the mean."""
        raise UserError(
            "predict_set is not available for an ensemble: the scores in a weights file are of that model's own"
            " probabilities. Use predict_proba, or predict_set of one member"
        )


def load_ensemble(weights_paths: Sequence[str | os.PathLike[str]], weights: Sequence[float] | None = None) -> Ensemble:
    """Load several weights files, of any family, as one model for `predict` and `predict_proba`.

    `weights` are one positive number per file, and are divided by their sum; None weighs all the same, which helps only
    models of about the same accuracy: choose them on validation photos.

    Raises:
        BadWeights: as `load_model`.
        UserError: fewer than two files, files with different classes, or other weights.
    """
    if isinstance(weights_paths, (str, os.PathLike)):
        raise UserError(single_line(f"an ensemble is of a list of weights files, not of {str(weights_paths)!r} alone"))
    paths = list(weights_paths)
    if weights is not None:
        _normalised(weights, len(paths))  # before the work, not after it
    return Ensemble([load_model(path) for path in paths], weights, [str(path) for path in paths])


def _check_members(members: Sequence[FlowersClassifier], names: Sequence[str]) -> None:
    if len(members) < 2:
        raise UserError(f"an ensemble has two members or more, not {len(members)}: load a single one as a model")
    expected = set(members[0].classes)
    odd = []
    for member, name in zip(members, names, strict=True):
        more, fewer = sorted(set(member.classes) - expected), sorted(expected - set(member.classes))
        differences = [f"{word} {', '.join(found)}" for word, found in (("has", more), ("lacks", fewer)) if found]
        if differences:
            odd.append(f"{name} {' and '.join(differences)}")
    if odd:
        first = f"the members of an ensemble need the same classes; compared with {names[0]}"
        raise UserError(single_line(f"{first}, {'; '.join(odd)}"))


def _normalised(weights: Sequence[float] | None, members: int) -> tuple[float, ...]:
    """The weights divided by their sum. Raises UserError."""
    try:
        values = [1.0] * members if weights is None else [float(weight) for weight in weights]
    except (TypeError, ValueError) as error:
        raise UserError(f"the weights of an ensemble are {weights!r}. Allowed: positive numbers") from error
    if len(values) != members:
        raise UserError(f"{len(values)} weights for an ensemble of {members}. Allowed: one positive number per member")
    for value in values:
        if not (math.isfinite(value) and value > 0):
            raise UserError(
                f"a weight of an ensemble is {value:g}. Allowed: positive numbers; leave a member out instead of"
                " weighing it with 0"
            )
    return tuple(value / sum(values) for value in values)
