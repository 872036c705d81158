"""What a converted model says of itself: text by key, for the metadata of an ONNX, OpenVINO or torch.export file."""

import json
from dataclasses import asdict

import numpy as np

from flowerml.prediction.standalone.flowers_classifier_onnx import ONNX_FORMAT, PREFIX
from flowerml.training.checkpoints.checkpoint import Checkpoint


def metadata_of(checkpoint: Checkpoint, precision: str) -> dict[str, str]:
    """Format, classes, family, model, input description, calibration, views and precision.

    Every value but that of the format is JSON. The calibration is left out where there is none; its arrays are written
    with as many digits as give the same float32.
    """
    content: dict[str, object] = {
        "classes": list(checkpoint.classes),
        "family": str(checkpoint.spec.family),
        "model": checkpoint.spec.name,
        "input": asdict(checkpoint.description),
        "tta": checkpoint.tta,
        "precision": precision,
    }
    if checkpoint.calibration is not None:
        content["calibration"] = {
            "temperature": float(checkpoint.calibration.temperature),
            "scores": _digits(checkpoint.calibration.scores),
            "energies": None if checkpoint.calibration.energies is None else _digits(checkpoint.calibration.energies),
            "known_energy": checkpoint.calibration.known_energy,
        }
    texts = {PREFIX + key: json.dumps(value, ensure_ascii=False) for key, value in content.items()}
    return {f"{PREFIX}format": ONNX_FORMAT, **texts}


def _digits(values: np.ndarray) -> list[float]:
    return [float(str(value)) for value in values.astype(np.float32)]
