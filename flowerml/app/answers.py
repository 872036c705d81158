"""What classifiers say of one picture: as `flowerml predict` does, with whether it is like their classes at all."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from PIL import Image

from flowerml.prediction import UNKNOWN, FlowersClassifier

NONE_OF_THESE = "none of these"


@dataclass(frozen=True)
class Answer:
    """The probability (0..1) of each class. `is_unknown`: the picture is less like the classes than known ones are.

    That is None where the weights file can't tell.
    """

    shares: Mapping[str, float]
    is_unknown: bool | None = None

    @property
    def likeliest(self) -> str:
        """The class with the highest probability."""
        return max(self.shares, key=self.shares.__getitem__)

    @property
    def label(self) -> str:
        """The likeliest class, or that it is none of them."""
        return NONE_OF_THESE if self.is_unknown else self.likeliest

    @property
    def share(self) -> float:
        """The probability of the likeliest class."""
        return self.shares[self.likeliest]


def classify(model: FlowersClassifier, image: Image.Image) -> Answer:
    """Probabilities of an RGB picture, calibrated where the weights file says how. Raises BadWeights."""
    limit = _known_energy(model)
    inputs = [model.preprocess(image)]
    shares, energies = model.probabilities_and_energies(inputs)
    return Answer(named_shares(model.classes, shares[0]), None if limit is None else bool(energies[0] > limit))


def named_shares(classes: tuple[str, ...], shares: np.ndarray) -> dict[str, float]:
    """Probabilities (C,) by class name."""
    return {name: float(share) for name, share in zip(classes, shares, strict=True)}


def _known_energy(model: FlowersClassifier) -> float | None:
    """As `FlowersClassifier.known_energy`; None where it is not known, or `unknown` is a class of its own."""
    return None if model.calibration is None or UNKNOWN in model.classes else model.calibration.known_energy
