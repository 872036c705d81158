"""Name the flower in a picture, by ONNX Runtime: one file, for the .onnx files delivered beside it.

    from flowers_classifier_onnx import load_model, predict

    model = load_model("cnn_flowers.onnx")
    predict(model, "photo.jpg")  # 'tulip'

Needs onnxruntime, Pillow and numpy; neither torch nor a network. Its functions are those of `flowers_classifier.py`,
with the same answers: a picture is a path, a binary file object, the bytes of a file, a Pillow image, or a list of
these (which gives a list). `predict_proba` gives the probabilities, one column for each of `model.classes`;
`predict_set` the names that a picture may have, of which one is right in 95 % of the cases; with `unknown=True`
`predict` may say "unknown". Views that a file asks for (a picture's mirror image, other sizes) are averaged over. There
are no ensembles here. A picture that can't be used raises `BadImage`, a file that can't be trusted or used
`BadWeights`: both are `UserError`s with a message of one line.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from PIL import Image

from flowerml.data.decode import BadImage
from flowerml.evaluation.calibration_values import CalibrationValues
from flowerml.evaluation.tta import FLIP_SCALES, NO_VIEWS, TTA, crop_shares
from flowerml.prediction.standalone.answers import (
    BATCH,
    UNKNOWN,
    Classifier,
    largest_known_energy,
    predict,
    predict_proba,
    predict_set,
    require_calibration,
)
from flowerml.prediction.standalone.delivered_file import BadWeights, check_digest, find_file, is_input_description
from flowerml.prediction.standalone.messages import first_line, single_line
from flowerml.prediction.standalone.pictures import Input, Picture, read_named_picture, resize_and_crop

__all__ = [
    "BATCH",
    "UNKNOWN",
    "BadImage",
    "BadWeights",
    "Classifier",
    "Input",
    "OnnxClassifier",
    "load_cnn_model",
    "load_model",
    "load_vit_model",
    "predict",
    "predict_proba",
    "predict_set",
]

ONNX_FORMAT = "flowerml-onnx-1"
PREFIX = "flowerml."  # of the keys of the file's metadata; all values but the format are JSON
FAMILIES = ("cnn", "vit")


class OnnxClassifier:
    """Logits (N, C) from inputs (N, 3, S, S) float32, with class names, family ("cnn", "vit") and input description.

    `session` is ONNX Runtime's. `calibration` is that of its probabilities; None where the file has none. `tta` names
    the views of a picture over which the logits of a prediction are averaged (none, flip, flip-scales); a call gives
    those of one view.
    """

    labels_calibrated = False  # its order of classes is the same without, and rounding may make close ones equal

    def __init__(
        self,
        session: Any,  # noqa: ANN401 - onnxruntime.InferenceSession, which is imported late
        classes: Sequence[str],
        family: str,
        description: Input,
        calibration: CalibrationValues | None = None,
        tta: str = NO_VIEWS,
    ) -> None:
        self.session = session
        self.classes = tuple(classes)
        self.family = family
        self.description = description
        self.calibration = calibration
        self.tta = tta

    def __call__(self, inputs: np.ndarray) -> np.ndarray:
        """Logits (N, C) float32."""
        logits: np.ndarray = self.session.run(["logits"], {"inputs": np.ascontiguousarray(inputs)})[0]
        return logits

    def view_logits(self, inputs: np.ndarray) -> np.ndarray:
        """Logits (N, C), the mean over the views of `tta`, of inputs (N, 3, S, S), or (N, V, 3, S, S) of V sizes."""
        if self.tta == NO_VIEWS:
            return self(inputs)
        sizes = [inputs[:, size] for size in range(inputs.shape[1])] if inputs.ndim == 5 else [inputs]
        # A pass for each view: a batch of all of them would take as many times the memory.
        mean: np.ndarray = np.stack([self(view) for size in sizes for view in (size, size[..., ::-1])]).mean(axis=0)
        return mean

    def preprocess(self, picture: Picture, name: str = "") -> np.ndarray:
        """The input (3, S, S) float32 of a picture; with the views flip-scales (V, 3, S, S), one for each size.

        Raises:
            BadImage: with `name` before the reason.
        """
        image = read_named_picture(picture, name)
        shares = crop_shares(self.tta, self.description.crop_pct)
        sizes = [to_array(image, replace(self.description, crop_pct=share)) for share in shares]
        return np.stack(sizes) if self.tta == FLIP_SCALES else sizes[0]

    def probabilities(self, inputs: Sequence[np.ndarray], *, calibrated: bool = True) -> np.ndarray:
        """Probabilities (N, C) float32 of results of `preprocess`, in one batch.

        Raises:
            BadWeights: where one is not finite.
        """
        return self._shares(self.view_logits(np.stack(inputs)), calibrated=calibrated)

    def probabilities_and_energies(
        self, inputs: Sequence[np.ndarray], *, calibrated: bool = True
    ) -> tuple[np.ndarray, np.ndarray]:
        """`probabilities`, and energies (N,) float32. Raises as `probabilities`."""
        logits = self.view_logits(np.stack(inputs))
        return self._shares(logits, calibrated=calibrated), _energies(logits)

    def _shares(self, logits: np.ndarray, *, calibrated: bool) -> np.ndarray:
        scaled = logits / np.float32(self.calibration.temperature) if self.calibration and calibrated else logits
        powers = np.exp(scaled - scaled.max(axis=1, keepdims=True))
        shares: np.ndarray = powers / powers.sum(axis=1, keepdims=True)
        if not np.isfinite(shares).all():
            raise BadWeights("the model answers with something that is no number: its weights are unusable")
        return shares

    def known_energy(self) -> float:
        """The largest energy of a picture of one of its classes. Raises UserError where it is not known."""
        return largest_known_energy(self.calibration, self.classes)

    def sets_calibration(self) -> CalibrationValues:
        """Its calibration. Raises UserError where it has none."""
        return require_calibration(self.calibration)


def to_array(image: Image.Image, description: Input) -> np.ndarray:
    """`resize_and_crop`, then normalise: (3, size, size) float32, bit for bit the tensor of `flowers_classifier.py`."""
    pixels = np.asarray(resize_and_crop(image, description)).transpose(2, 0, 1).astype(np.float32)
    mean, std = (np.array(values, np.float32).reshape(3, 1, 1) for values in (description.mean, description.std))
    normalised: np.ndarray = (pixels * np.float32(1 / 255) - mean) / std
    return normalised


def _energies(logits: np.ndarray) -> np.ndarray:
    """-logsumexp (N,) float32 of logits (N, C)."""
    largest = logits.max(axis=1)
    energies: np.ndarray = -(largest + np.log(np.exp(logits - largest[:, None]).sum(axis=1)))
    return energies


def load_cnn_model(path: str | os.PathLike[str] = "cnn_flowers.onnx") -> OnnxClassifier:
    """Load the CNN, as `load_model`. Raises BadWeights, also for the file of a ViT."""
    return _load_family(path, "cnn")


def load_vit_model(path: str | os.PathLike[str] = "vit_flowers.onnx") -> OnnxClassifier:
    """Load the ViT, as `load_model`. Raises BadWeights, also for the file of a CNN."""
    return _load_family(path, "vit")


def _load_family(path: str | os.PathLike[str], family: str) -> OnnxClassifier:
    model = load_model(path)
    if model.family != family:
        raise BadWeights(single_line(f"{path}: holds a {model.family}: load it with load_{model.family}_model"))
    return model


def load_model(path: str | os.PathLike[str]) -> OnnxClassifier:
    """Load an .onnx file of either family on the CPU.

    A relative path is looked up in the working directory, then beside this file.

    Raises:
        BadWeights: missing, damaged, not the delivered file (SHA256), or not of this format.
    """
    import onnxruntime

    found = find_file(path)
    try:
        check_digest(found, str(path))
        session = onnxruntime.InferenceSession(str(found), providers=["CPUExecutionProvider"])
        metadata = session.get_modelmeta().custom_metadata_map
    except BadWeights:
        raise
    except Exception as error:  # ONNX Runtime has an error of its own for each way in which a file can be damaged
        raise BadWeights(single_line(f"{path}: can't be read ({first_line(error)})")) from error
    if metadata.get(f"{PREFIX}format") != ONNX_FORMAT:
        raise BadWeights(single_line(f"{path}: not written by flowerml ({ONNX_FORMAT})"))
    try:
        return _with_metadata(session, metadata)
    except (ValueError, KeyError, TypeError) as error:
        raise BadWeights(single_line(f"{path}: its metadata can't be used ({first_line(error)})")) from error


def _with_metadata(session: Any, metadata: Mapping[str, str]) -> OnnxClassifier:  # noqa: ANN401 - as above
    """The classifier of a session. Raises ValueError, KeyError or TypeError where its metadata are of another form."""
    keys = ("classes", "family", "input", "tta")
    classes, family, described, tta = (json.loads(metadata[PREFIX + key]) for key in keys)
    if not isinstance(classes, list) or not classes or not all(isinstance(name, str) for name in classes):
        raise ValueError("no list of class names")
    if not isinstance(described, dict) or not is_input_description(described):
        raise ValueError("it does not describe its input")
    if family not in FAMILIES or tta not in TTA:
        raise ValueError(f"family {family!r}, views {tta!r}")
    mean, std = tuple(described["mean"]), tuple(described["std"])
    description = Input(described["size"], mean, std, described["interpolation"], described["crop_pct"])
    calibration = _calibration(json.loads(metadata.get(f"{PREFIX}calibration", "null")))
    return OnnxClassifier(session, classes, family, description, calibration, tta)


def _calibration(content: Any) -> CalibrationValues | None:  # noqa: ANN401 - any JSON value
    """Read the calibration of a file's metadata; None stays None. Raises ValueError, KeyError or TypeError."""
    if content is None:
        return None
    scores = np.array(content["scores"], np.float32)
    energies = None if content.get("energies") is None else np.array(content["energies"], np.float32)
    temperature = float(content["temperature"])
    for values in (scores, *([] if energies is None else [energies])):
        if values.ndim != 1 or not len(values) or not np.isfinite(values).all() or (np.diff(values) < 0).any():
            raise ValueError("its calibration has no values in ascending order")
    if not (np.isfinite(temperature) and temperature > 0):
        raise ValueError("its calibration has no temperature above 0")
    return CalibrationValues(temperature, scores, energies)
