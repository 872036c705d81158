"""Verify a delivered file against its run, in a fresh process: the probe's logits and the photos' labels.

These are compared without test-time views, as the run recorded them without. A file with views is then compared, with
them, on drawn pictures with the mean that the run's own network gives.
"""

import csv
import json
import logging
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from flowerml.data.sources.local import local_path
from flowerml.data.transforms import EvaluationTransform
from flowerml.delivery import fresh_process
from flowerml.delivery.photo_files import as_file
from flowerml.errors import UserError
from flowerml.evaluation.tta import NO_VIEWS, crop_shares
from flowerml.prediction import as_predictor
from flowerml.prediction.delivered import to_half
from flowerml.tasks.flowers import FlowersTask
from flowerml.text import CsvRows
from flowerml.training.checkpoints.checkpoint import Checkpoint

logger = logging.getLogger(__name__)

LOGIT_TOLERANCE = 1e-4  # fp32 on the CPU: another machine adds in another order
LABEL_TOLERANCE = 0.005  # share of photos whose label may differ
_CHECK_PICTURES = 4
_TINY = 1e-30  # below, fp32 has few digits left


@dataclass(frozen=True)
class Expected:
    """What the run recorded: `probe.npz`, `predictions.csv`, the folder of its pictures; None if missing."""

    probe: Path | None
    predictions: Path | None
    photos: Path | None


@dataclass(frozen=True)
class RecordedPhoto:
    """A validation photo: its name in `predictions.csv`, where it should lie, its true and its predicted class."""

    image: str
    path: Path
    label: str
    predicted: str


@dataclass(frozen=True)
class Check:
    """The result of a verification.

    `logit_difference` is the largest one on the probe, `probe_labels` the number of its labels that changed (None
    without a probe). `view_difference` is the largest one of a log-probability with views (None: it has none).
    `differing` are (picture, recorded, delivered) labels among the `photos` that were compared.
    """

    file: str
    load_seconds: float
    logit_difference: float | None
    probe_labels: int | None
    view_difference: float | None
    photos: int
    differing: tuple[tuple[str, str, str], ...]
    problems: tuple[str, ...]
    remarks: tuple[str, ...]

    @property
    def lines(self) -> list[str]:
        """For the terminal."""
        logits = "" if self.logit_difference is None else f"; logits within {self.logit_difference:.1e} of the run's"
        views = "" if self.view_difference is None else f"; with its views within {self.view_difference:.1e}"
        labels = f"; {len(self.differing)} of {self.photos} labels differ from predictions.csv" if self.photos else ""
        loads = f"{self.file}: loads in a fresh process without a network ({self.load_seconds:.1f} s)"
        rows = [
            f"  {image}: {recorded} in predictions.csv, {delivered} now"
            for image, recorded, delivered in self.differing
        ]
        return [f"{loads}{logits}{views}{labels}", *rows, *(f"  {remark}" for remark in self.remarks)]


def verify(folder: Path, weights: str, checkpoint: Checkpoint, expected: Expected, *, exact: bool) -> Check:
    """Verify the file `weights` of `folder`, whose content is `checkpoint`.

    With `exact` its logits have to be the run's within LOGIT_TOLERANCE; for fp16 weights only the labels count.

    Raises:
        UserError: the process failed, or a recorded file can't be read.
    """
    inputs, logits = load_probe(expected.probe)
    recorded = recorded_photos(expected, checkpoint.classes)
    pictures = [] if checkpoint.tta == NO_VIEWS else check_pictures(checkpoint.description.size)
    paths = [str(photo.path) for photo in recorded]
    answer = _run_in_fresh_process(folder, weights, str(checkpoint.spec.family), inputs, paths, pictures)
    if "refused" in answer:
        return Check(weights, 0.0, None, None, None, 0, (), (answer["refused"],), ())
    remarks = [] if expected.probe else ["the run left no probe.npz: its logits could not be compared"]
    problems = []
    difference, changed = None, None
    if logits is not None:
        found = np.array(answer["logits"])
        difference = float(np.abs(found - logits).max())
        changed = int((found.argmax(axis=1) != logits.argmax(axis=1)).sum())
        if exact and not difference <= LOGIT_TOLERANCE:
            problems.append(
                f"its logits differ by {difference:.2e} from those of the run's probe.npz (allowed:"
                f" {LOGIT_TOLERANCE:.0e})"
            )
        if not exact:
            remarks.append(
                f"fp16: logits within {difference:.1e}; {changed} of {len(found)} labels of the probe change (0"
                " expected)"
            )
    view_difference = None
    if pictures:
        own = checkpoint if exact else to_half(checkpoint)
        view_difference = _largest_log_difference(np.array(answer["viewed"]), viewed_probabilities(own, pictures))
        if not view_difference <= 2 * LOGIT_TOLERANCE:  # that of a logit and that of the softmax's sum
            problems.append(
                f"its probabilities with the views {checkpoint.tta} are not those of the run's network: their"
                f" logarithms differ by {view_difference:.2e} (allowed: {2 * LOGIT_TOLERANCE:.0e})"
            )
    pairs = [(photo.image, photo.predicted, name) for photo, name in zip(recorded, answer["labels"], strict=True)]
    compared = [(image, label, name) for image, label, name in pairs if name is not None]
    if len(compared) < len(pairs):
        remarks.append(
            f"{len(pairs) - len(compared)} of {len(pairs)} validation photos are not there any more, or can't be read"
        )
    differing = tuple(row for row in compared if row[1] != row[2])
    if len(differing) > LABEL_TOLERANCE * len(compared):
        problems.append(
            f"{len(differing)} of {len(compared)} labels differ from predictions.csv (allowed: {LABEL_TOLERANCE:.1%})"
        )
    if expected.predictions is None:
        remarks.append("the run has no validation photos: there are no labels to compare")
    elif not recorded:
        remarks.append(
            "the validation photos are not at hand (--train-dir names their folder): labels were not compared"
        )
    seconds = answer["load_seconds"]
    return Check(
        weights,
        seconds,
        difference,
        changed,
        view_difference,
        len(compared),
        differing,
        tuple(problems),
        tuple(remarks),
    )


def check_pictures(size: int) -> list[Image.Image]:
    """Smooth coloured pictures, wider than high, whose views differ; always the same ones for an input of `size`."""
    noise = np.random.default_rng(0).integers(0, 256, (_CHECK_PICTURES, 6, 8, 3), dtype=np.uint8)
    return [Image.fromarray(one).resize((2 * size, 3 * size // 2), Image.Resampling.BICUBIC) for one in noise]


@torch.inference_mode()
def viewed_probabilities(checkpoint: Checkpoint, pictures: Sequence[Image.Image]) -> np.ndarray:
    """Probabilities (N, C) with the checkpoint's views, not calibrated: by training's own network and transform."""
    network = as_predictor(checkpoint, "cpu", checkpoint.origin)
    logits = []
    for share in crop_shares(checkpoint.tta, checkpoint.description.crop_pct):
        transform = EvaluationTransform(replace(checkpoint.description, crop_pct=share))
        inputs = torch.stack([transform(picture) for picture in pictures])
        logits += [network(inputs), network(inputs.flip(-1))]
    probabilities: np.ndarray = torch.stack(logits).double().mean(dim=0).softmax(dim=1).numpy()
    return probabilities


def _largest_log_difference(first: np.ndarray, second: np.ndarray) -> float:
    return float(np.abs(np.log(np.maximum(first, _TINY)) - np.log(np.maximum(second, _TINY))).max())


def load_probe(path: Path | None) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Inputs (N, 3, S, S) and logits (N, C) float64 of a run's `probe.npz`, None without. Raises UserError."""
    if path is None:
        return None, None
    try:
        with np.load(path, allow_pickle=False) as probe:
            return probe["inputs"], probe["logits"].astype(np.float64)
    except (OSError, ValueError, KeyError) as error:
        raise UserError(
            f"{path}: can't be read as a run's probe.npz ({error}): export from a run whose files are whole"
        ) from error


def recorded_photos(expected: Expected, classes: Sequence[str]) -> list[RecordedPhoto]:
    """The validation photos as the run recorded them; none where its predictions or its pictures are not at hand.

    Raises:
        UserError: `predictions.csv` can't be read.
    """
    if expected.predictions is None or expected.photos is None:
        return []
    try:
        with expected.predictions.open(newline="", encoding="utf-8") as handle:
            rows = {row["image"]: (row["label"], row["predicted"]) for row in CsvRows(handle)}
    except (OSError, KeyError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{expected.predictions}: can't be read as a run's predictions.csv ({error})") from error
    try:
        root = local_path(expected.photos)
        layout = FlowersTask().layout(root, classes)
    except UserError as error:
        logger.warning(f"{error}; labels are not compared")
        return []
    files = {found.key: found.locate(root) for found in layout.files}
    return [
        RecordedPhoto(image, as_file(files.get(image, root / image)), label, predicted)
        for image, (label, predicted) in rows.items()
    ]


def _run_in_fresh_process(
    folder: Path,
    weights: str,
    family: str,
    inputs: np.ndarray | None,
    photos: list[str],
    pictures: Sequence[Image.Image],
) -> dict:
    with tempfile.TemporaryDirectory() as scratch:
        request: dict[str, Any] = {
            "folder": str(folder.resolve()),
            "weights": weights,
            "family": family,
            "inputs": None,
            "photos": photos,
            "viewed": [f"{scratch}/{number}.png" for number in range(len(pictures))],
        }
        for picture, name in zip(pictures, request["viewed"], strict=True):
            picture.save(name)
        if inputs is not None:
            request["inputs"] = f"{scratch}/inputs.npy"
            np.save(f"{scratch}/inputs.npy", inputs)
        path = Path(scratch) / "request.json"
        path.write_text(json.dumps(request), "utf-8")
        # -I: imports come from installed packages or the delivered folder only; -B: no __pycache__ in that folder.
        command = [sys.executable, "-I", "-B", str(fresh_process.__file__), str(path)]
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("MLFLOW_", "HF_"))}
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, cwd=scratch, env=environment, check=False)
    if done.returncode != 0:
        raise UserError(
            f"{weights}: the process that checks it ended with exit code {done.returncode}; what it said stands above"
        )
    answer: dict = json.loads(done.stdout.splitlines()[-1])
    return answer
