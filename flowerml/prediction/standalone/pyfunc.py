"""The model behind `mlflow models serve` and `mlflow.pyfunc.load_model`."""

from __future__ import annotations

import base64
import binascii
import sys
from collections.abc import Mapping, Sequence

from flowerml.data.decode import BadImage
from flowerml.prediction.standalone.answers import predict_proba
from flowerml.prediction.standalone.flowers_classifier import FlowersClassifier, load_model


class Served:
    """Base64 pictures in, names and probabilities out."""

    def __init__(self, model: FlowersClassifier) -> None:
        self.model = model

    def predict(self, rows: Mapping) -> list[dict]:
        """Per row, `{"label": name, "probabilities": {class: share}}`, from a column `image` of base64 picture files.

        Raises:
            BadImage: no such column, or a row that is no picture, by its number (counted from 1); under MLflow its own
                error, see `pyfunc_error`.
        """
        (texts,) = columns_of(rows, ("image",))
        try:
            shares = predict_proba(
                self.model, [decode_base64(text, number) for number, text in enumerate(texts, start=1)]
            )
        except BadImage as error:
            raise pyfunc_error(str(error)) from error
        names = self.model.classes
        return [
            {
                "label": names[row.argmax()],
                "probabilities": {name: float(share) for name, share in zip(names, row, strict=True)},
            }
            for row in shares
        ]


def _load_pyfunc(path: str) -> Served:
    """MLflow's entry point of a loader module; `path` is the weights file. Raises BadWeights."""
    return Served(load_model(path))


def columns_of(rows: Mapping, names: Sequence[str]) -> list:
    """The columns of a request, in the order of `names`. Raises BadImage where one is missing, as `pyfunc_error`."""
    for name in names:
        if name not in rows:
            raise pyfunc_error(f"the request has no column {name}: it needs {', '.join(names)}")
    return [rows[name] for name in names]


def decode_base64(text: object, number: int) -> bytes:
    """A picture file from base64 text, with or without a `data:` prefix. Raises BadImage, with the row's number."""
    if not isinstance(text, str):
        raise BadImage(f"picture {number}: the base64 text of a picture file is wanted, not {type(text).__name__}")
    try:
        return base64.b64decode("".join(text.rpartition(",")[2].split()), validate=True)
    except (binascii.Error, ValueError) as error:
        raise BadImage(f"picture {number}: not base64 ({error})") from error


def pyfunc_error(reason: str) -> Exception:
    """MlflowException with INVALID_PARAMETER_VALUE where MLflow is loaded: its server answers HTTP 400 only to that."""
    mlflow_exceptions = sys.modules.get("mlflow.exceptions")
    if mlflow_exceptions is None:
        return BadImage(reason)
    error: Exception = mlflow_exceptions.MlflowException.invalid_parameter_value(reason)
    return error
