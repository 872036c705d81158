"""Predictions of files as CSV, as plain values for JSON, and as lines for a terminal."""

from collections.abc import Sequence
from typing import Any

from flowerml.errors import one_line
from flowerml.prediction.files import FilePrediction
from flowerml.prediction.standalone.answers import UNKNOWN
from flowerml.text import csv_text


def predictions_csv(classes: Sequence[str], predictions: Sequence[FilePrediction]) -> str:
    """image, predicted, and a probability per class (`p_<class>`); files that can't be used are left out."""
    rows = [
        [prediction.path, best_class(classes, prediction)[0], *(f"{share:.9g}" for share in prediction.probabilities)]
        for prediction in predictions
        if prediction.probabilities is not None
    ]
    return csv_text([["image", "predicted", *(f"p_{name}" for name in classes)], *rows])


def predictions_json(classes: Sequence[str], predictions: Sequence[FilePrediction]) -> dict[str, Any]:
    """Plain values: the classes, the pictures with their probabilities, and the bad files with their reasons."""
    pictures = [
        {
            "image": str(prediction.path),
            "predicted": best_class(classes, prediction)[0],
            "probabilities": dict(zip(classes, prediction.probabilities, strict=True)),
        }
        for prediction in predictions
        if prediction.probabilities is not None
    ]
    bad = [
        {"image": str(prediction.path), "reason": prediction.reason}
        for prediction in predictions
        if prediction.probabilities is None
    ]
    return {"classes": list(classes), "pictures": pictures, "bad": bad}


def prediction_lines(classes: Sequence[str], predictions: Sequence[FilePrediction]) -> list[str]:
    """A line for each picture: its class, how sure the model is, its path; unprintable characters are escaped."""
    names = [one_line(name) for name in classes]
    width = max(map(len, (*names, *(UNKNOWN for one in predictions if one.unknown))))
    best = [
        (*best_class(names, prediction), one_line(str(prediction.path)))
        for prediction in predictions
        if prediction.probabilities is not None
    ]
    return [f"{name:<{width}}  {share:.3f}  {path}" for name, share, path in best]


def best_class(classes: Sequence[str], prediction: FilePrediction) -> tuple[str, float]:
    """The answer for a picture that has probabilities: the likeliest class, or `unknown`; and that class's share."""
    shares = prediction.probabilities
    assert shares is not None
    place = max(range(len(classes)), key=shares.__getitem__)
    return UNKNOWN if prediction.unknown else classes[place], shares[place]
