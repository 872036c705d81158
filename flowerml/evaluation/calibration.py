"""Probabilities that agree with how often a model is right, and sets of classes that hold the true one."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TypeGuard

import numpy as np
import torch

from flowerml.evaluation.calibration_values import CalibrationValues


class Calibration(CalibrationValues):
    """`CalibrationValues` with its form in a weights file."""

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
