"""Which unlabelled pictures to label next: those that the models of a cross-validation disagree on."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from flowerml.evaluation.labels.next_pictures import disagreement
from flowerml.prediction import load_predictor
from flowerml.prediction.files import predict_files
from flowerml.progress_bar import track
from flowerml.runs.folds.out_of_fold import CrossValidation
from flowerml.text import csv_text
from flowerml.training.device import default_workers, use_device


@dataclass(frozen=True)
class UnlabelledPicture:
    """A picture, how much the models disagree on it (mutual information in nats), and the two likeliest classes.

    Their probabilities are the mean over the models.
    """

    path: Path
    disagreement: float
    first: str
    second: str
    p_first: float
    p_second: float

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "image": str(self.path),
            "disagreement": self.disagreement,
            "first": self.first,
            "p_first": self.p_first,
            "second": self.second,
            "p_second": self.p_second,
        }


@dataclass(frozen=True)
class Unlabelled:
    """Pictures in the order in which to label them, and the files that can't be used, each with the reason."""

    pictures: tuple[UnlabelledPicture, ...]
    bad: tuple[tuple[Path, str], ...]


def rank_unlabelled(folds: CrossValidation, paths: Sequence[Path], device: str | None = None) -> Unlabelled:
    """Predict pictures with the model of each fold; those with the largest disagreement come first.

    Models that were trained on other shares of the photos differ where the photos leave a question open (BALD, Houlsby
    et al. 2011; a committee, Seung et al. 1992). Ties: by path.

    Raises:
        UserError: a fold's weights can't be used.
    """
    chosen = use_device(device)
    workers = default_workers(chosen)
    answers = []
    for run in folds.runs:
        model = load_predictor(run.folder / "best.pth", str(chosen))
        predictions = predict_files(model, paths, workers)
        answers.append(list(track(predictions, f"fold {run.fold} of {len(folds.runs)} on {chosen}", total=len(paths))))
    usable = [row for row in range(len(paths)) if answers[0][row].probabilities is not None]
    bad = tuple((one.path, one.reason) for one in answers[0] if one.probabilities is None)
    if not usable:
        return Unlabelled((), bad)
    shares = np.array([[of_fold[row].probabilities for row in usable] for of_fold in answers], dtype=np.float64)
    mean, scores = shares.mean(axis=0), disagreement(shares)
    order = np.argsort(-mean, axis=1, kind="stable")
    pictures = [
        UnlabelledPicture(
            path=paths[row],
            disagreement=float(scores[place]),
            first=folds.classes[order[place, 0]],
            second=folds.classes[order[place, 1]],
            p_first=float(mean[place, order[place, 0]]),
            p_second=float(mean[place, order[place, 1]]),
        )
        for place, row in enumerate(usable)
    ]
    return Unlabelled(tuple(sorted(pictures, key=lambda one: (-one.disagreement, str(one.path)))), bad)


def unlabelled_csv(pictures: Sequence[UnlabelledPicture]) -> str:
    """A row per picture, in their order."""
    rows = [list(picture.as_json().values()) for picture in pictures]
    return csv_text([["image", "disagreement", "first", "p_first", "second", "p_second"], *rows])
