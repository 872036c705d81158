"""Probabilities that agree with how often a model is right, and sets of classes that hold the true one."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeGuard

import numpy as np
import torch

KNOWN_SHARE = 0.95  # of the validation photos that are known to be one of the classes, by their energy


@dataclass(frozen=True, eq=False)  # arrays have no single truth value
class Calibration:
    """What the validation photos say about a model's probabilities.

    The logits are divided by `temperature` (Guo et al., "On calibration of modern neural networks", ICML 2017): the
    order of the classes stays. `scores` (N,) float32, ascending, are 1 - the calibrated probability of the true class
    of each validation photo (Sadinle et al., "Least ambiguous set-valued classifiers", JASA 2019). `energies` (N,)
    float32, ascending, are those of the validation photos (`energy_of`); None where they are not known.
    """

    temperature: float
    scores: np.ndarray
    energies: np.ndarray | None = None

    def as_plain(self) -> dict[str, object]:
        """The part `calibration` of a weights file."""
        plain: dict[str, object] = {
            "temperature": float(self.temperature),
            "scores": torch.from_numpy(self.scores.astype(np.float32)),
        }
        if self.energies is not None:
            plain["energies"] = torch.from_numpy(self.energies.astype(np.float32))
        return plain

    @classmethod
    def from_plain(cls, content: object) -> Calibration | None:
        """Read `as_plain`; None, in files without, stays None. Raises ValueError for anything else."""
        if content is None:
            return None
        temperature = content.get("temperature") if isinstance(content, Mapping) else None
        scores = content.get("scores") if isinstance(content, Mapping) else None
        energies = content.get("energies") if isinstance(content, Mapping) else None
        if (
            not isinstance(temperature, float)
            or not math.isfinite(temperature)
            or temperature <= 0
            or not _is_ascending(scores)
            or not (energies is None or _is_ascending(energies))
        ):
            raise ValueError("its calibration is not a temperature above 0 and scores in ascending order")
        return cls(temperature, scores.numpy().copy(), None if energies is None else energies.numpy().copy())

    def threshold(self, coverage: float) -> float:
        """The largest score of a class in a set: split conformal prediction's quantile; above 1 all classes are in it.

        Raises:
            ValueError: `coverage` is not between 0 and 1.
        """
        if not 0 < coverage < 1:
            raise ValueError(f"coverage is {coverage!r}. Allowed: a number between 0 and 1, such as 0.95")
        rank = math.ceil((len(self.scores) + 1) * coverage - 1e-9)  # 0.95 * 20 is 19.000000000000004
        return float(self.scores[rank - 1]) if rank <= len(self.scores) else 2.0

    @property
    def known_energy(self) -> float | None:
        """The largest energy of a photo that counts as one of the classes: 95 % of the validation photos do."""
        if self.energies is None:
            return None
        return float(self.energies[math.ceil(KNOWN_SHARE * len(self.energies) - 1e-9) - 1])


def _is_ascending(values: object) -> TypeGuard[torch.Tensor]:
    """Whether it is a tensor (N,) float32, not empty, in ascending order without NaN."""
    return (
        isinstance(values, torch.Tensor)
        and values.dtype == torch.float32
        and values.ndim == 1
        and len(values) > 0
        and bool((values.diff() >= 0).all())
        and bool(values.isfinite().all())
    )


def energy_of(logits: torch.Tensor) -> np.ndarray:
    """Energies (N,) float32 of logits (N, C): -logsumexp, large for pictures of something else (Liu et al.,
    "Energy-based out-of-distribution detection", NeurIPS 2020). The logits are the model's own, at temperature 1.
    """
    energies: np.ndarray = -logits.float().logsumexp(dim=1).cpu().numpy()
    return energies


def class_probabilities(logits: torch.Tensor, calibration: Calibration | None) -> np.ndarray:
    """Softmax (N, C) float32 of logits (N, C), at the calibration's temperature where there is one."""
    scaled = logits.float() if calibration is None else logits.float() / calibration.temperature
    shares: np.ndarray = scaled.softmax(dim=1).cpu().numpy()
    return shares


def prediction_sets(probabilities: np.ndarray, calibration: Calibration, coverage: float) -> list[list[int]]:
    """For each row of calibrated probabilities (N, C) the classes of its set, the likeliest first; never none.

    A set holds the true class with at least the probability `coverage`, for photos like the validation photos.

    Raises:
        ValueError: `coverage` is not between 0 and 1.
    """
    limit = calibration.threshold(coverage)
    order = np.argsort(-probabilities, axis=1, kind="stable")
    sizes = np.maximum((1 - probabilities.astype(np.float32) <= np.float32(limit)).sum(axis=1), 1)
    return [row[:size].tolist() for row, size in zip(order, sizes, strict=True)]
