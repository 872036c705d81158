"""Pictures of none of the classes: how well a score tells them from validation photos, on a frozen backbone.

    python benchmarks/unknown.py --photos data/flowers --model clip_vitb16 --weights clip_vitb16.safetensors

For each class in turn a linear probe is trained on the photos of the others (`flowerml train --probe`), and asked about
the photos of the class it has never seen; then one of all classes about generated scenes, drawn flowers and noise. Each
row has, for each score, the area under the ROC curve, and the share of unknown pictures that are taken for one of the
classes where 95 % of the validation photos are (FPR95; lower is better). The scores: one minus the largest probability
(Hendrycks & Gimpel, ICLR 2017); the energy, which `predict(…, unknown=True)` uses (Liu et al., NeurIPS 2020); the
distance of the features from the nearest of a training photo's (cosine; Sun et al., ICML 2022); the Mahalanobis
distance from the nearest class mean, with one covariance for all classes (Lee et al., NeurIPS 2018), shrunk as by
Ledoit and Wolf; and that distance less the one from the mean of all photos with their covariance (relative; Ren et
al., 2021).
"""

import argparse
import os
import tempfile
import time
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from rich.table import Table
from sklearn.covariance import LedoitWolf
from sklearn.metrics import roc_auc_score
from support.harness import logger, parse_arguments, print_table, start_as_commands_do

from flowerml.cli.main import main as flowerml
from flowerml.data.decode import read_image
from flowerml.data.folders import find_pictures
from flowerml.data.loader import Example
from flowerml.data.synthetic.flowers import make_flowers
from flowerml.data.synthetic.scenes import make_scenes, relation_counts
from flowerml.evaluation.calibration import energy_of
from flowerml.evaluation.calibration_values import KNOWN_SHARE
from flowerml.files import file_digest
from flowerml.log import set_verbosity
from flowerml.prediction import FlowersClassifier, load_predictor
from flowerml.tasks import task_for
from flowerml.tasks.image_features import ImageFeatures
from flowerml.training.checkpoints.checkpoint import Checkpoint, load_checkpoint
from flowerml.training.device import default_workers, use_device

QUICK: dict[str, object] = {"photos": None, "model": "timm:test_convnext2", "weights": "none", "img_size": 32}
Scores = Mapping[str, np.ndarray]


def frozen_features(checkpoint: Checkpoint) -> ImageFeatures:
    """Features of any pictures by the backbone of a probe: those that its training has computed are read from disk."""
    task, settings = task_for(checkpoint.spec), checkpoint.parse_settings()
    built = task.build(checkpoint.spec, settings.replace(weights="none"), checkpoint.classes)
    built.model.load_state_dict(dict(checkpoint.state_dict))
    _, transform = task.transforms(checkpoint.description, settings)
    device = use_device(None)
    built = replace(built, description=checkpoint.description)
    return ImageFeatures(built, checkpoint.spec, transform, device, default_workers(device))


class UnknownScores:
    """Scores by a model's head and by the features (N, F) and class places (N,) of what it was trained on."""

    def __init__(self, model: FlowersClassifier, trained: torch.Tensor, labels: np.ndarray) -> None:
        self._model, self._trained = model, trained
        rows = trained.numpy().astype(np.float64)
        self._means = np.stack([rows[labels == label].mean(axis=0) for label in np.unique(labels)])
        self._mean = rows.mean(axis=0)
        self._within = LedoitWolf(assume_centered=True).fit(rows - self._means[labels]).precision_
        self._overall = LedoitWolf(assume_centered=True).fit(rows - self._mean).precision_

    @torch.inference_mode()
    def of(self, features: torch.Tensor) -> Scores:
        """By the score's name (N,), large for what is none of the classes."""
        logits = self._model.head(features)
        unit, known = (torch.nn.functional.normalize(one, dim=1) for one in (features, self._trained))
        rows = features.numpy().astype(np.float64)
        nearest = np.min([_squared_distance(rows - mean, self._within) for mean in self._means], axis=0)
        return {
            "probability": 1 - logits.softmax(dim=1).amax(dim=1).numpy(),
            "energy": energy_of(logits),
            "nearest": 1 - (unit @ known.T).amax(dim=1).numpy(),
            "Mahalanobis": nearest,
            "relative": nearest - _squared_distance(rows - self._mean, self._overall),
        }


def _squared_distance(centred: np.ndarray, precision: np.ndarray) -> np.ndarray:
    return np.einsum("nf,nf->n", centred @ precision, centred)


def cells_of(known: Scores, unknown: Scores) -> tuple[list[str], list[float]]:
    """Cells and figures: for each score the area under the curve, and FPR95."""
    cells, figures = [], []
    for name, values in known.items():
        found = unknown[name]
        truth = np.r_[np.zeros(len(values)), np.ones(len(found))]
        area = float(roc_auc_score(truth, np.r_[values, found]))
        missed = float((found <= np.quantile(values, KNOWN_SHARE)).mean())
        cells += [f"{area:.3f}", f"{missed:.3f}"]
        figures += [area, missed]
    return cells, figures


def other_pictures(folder: Path, size: int) -> dict[str, list[Path]]:
    """Generated pictures that show none of the classes, or not as a photo."""
    make_scenes(folder / "scenes", relation_counts(200, long_tail=False), seed=1)
    make_flowers(folder / "drawn flowers", per_class=20, size=size, seed=1)
    draw = np.random.default_rng(0)
    (folder / "noise").mkdir()
    for index in range(50):
        coarse = draw.integers(0, 256, (size // (16 if index % 2 else 1),) * 2 + (3,), dtype=np.uint8)
        Image.fromarray(coarse).resize((size, size), Image.Resampling.NEAREST).save(folder / "noise" / f"{index}.png")
    return {name: find_pictures([folder / name])[0] for name in ("scenes", "drawn flowers", "noise")}


class Turns:
    """Trainings on some classes of a folder. Features are computed once: the backbone is the same in all."""

    def __init__(self, args: argparse.Namespace, photos: Path, folder: Path) -> None:
        self.args, self.photos, self.folder = args, photos, folder
        self.classes = sorted(path.name for path in photos.iterdir() if path.is_dir())
        self.features: ImageFeatures | None = None
        self.examples: dict[Path, Example] = {}

    def train(self, left_out: str = "") -> FlowersClassifier:
        """A probe of all classes but one. After that `known` and `trained` have the features of its validation and
        training photos, and `labels` the latter's places among the classes.
        """
        data, output = self.folder / f"without {left_out}", self.folder / f"run {left_out}"
        data.mkdir()
        classes = [name for name in self.classes if name != left_out]
        for name in classes:
            (data / name).symlink_to(self.photos / name)
        words = [
            *("--train-dir", str(data), "--classes", ",".join(classes)),
            "--probe",
            "--model",
            self.args.model,
            "--weights",
            self.args.weights,
        ]
        words += ["--img-size", str(self.args.img_size), "--output-dir", str(output)]
        words += [] if self.features is None else ["--quiet"]  # the first shows how far the features are
        if flowerml(["train", *words]):
            raise RuntimeError(f"flowerml train {' '.join(words)} failed")
        set_verbosity(quiet=False, verbose=False)
        checkpoint = load_checkpoint(output / "best.pth")
        split = checkpoint.parse_split()
        assert split is not None
        if self.features is None:
            self.features = frozen_features(checkpoint)
        self.known, self.trained = (
            self.features_of([data / name for name in part]) for part in (split.val, split.train)
        )
        self.labels = np.array([classes.index(name.partition("/")[0]) for name in split.train])
        return load_predictor(output / "best.pth")

    def unknown(self, left_out: str) -> torch.Tensor:
        """The features of a class that the last training left out."""
        return self.features_of(find_pictures([self.photos / left_out])[0])

    def features_of(self, paths: list[Path]) -> torch.Tensor:
        """Features (N, F) of pictures. After the first training."""
        assert self.features is not None
        paths = [path.resolve() for path in paths]
        for path in paths:
            if path not in self.examples:
                self.examples[path] = Example(str(path), 0, partial(read_image, path), sha256=file_digest(path))
        return self.features([self.examples[path] for path in paths])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, help="a folder with a sub-folder of photos per class")
    parser.add_argument("--model", default="clip_vitb16")
    parser.add_argument("--weights", default="hub")
    parser.add_argument("--img-size", type=int, default=224)
    args = parse_arguments(parser, QUICK)
    start_as_commands_do()
    if args.photos is None and not args.quick:
        parser.error("no --photos are given: name a folder, or --quick")
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{folder / 'mlflow.db'}"
        photos = args.photos
        if photos is None:
            photos = folder / "photos"
            make_flowers(photos, per_class=16, size=64)
        turns, rows = Turns(args, photos.resolve(), folder), []
        for number, name in enumerate(turns.classes, start=1):
            logger.info(f"class {number} of {len(turns.classes)} is left out: {name}")
            started = time.perf_counter()
            model = turns.train(name)
            scores = UnknownScores(model, turns.trained, turns.labels)
            known = scores.of(turns.known)
            cells, figures = cells_of(known, scores.of(turns.unknown(name)))
            rows.append(([f"class {name}", *cells, f"{time.perf_counter() - started:.1f}"], figures))
        means = np.mean([figures for _, figures in rows], axis=0)
        rows.append((["mean of classes", *(f"{value:.3f}" for value in means), ""], []))
        scores = UnknownScores(turns.train(), turns.trained, turns.labels)
        known = scores.of(turns.known)
        for name, paths in other_pictures(folder, args.img_size).items():
            started = time.perf_counter()
            cells, figures = cells_of(known, scores.of(turns.features_of(paths)))
            rows.append(([name, *cells, f"{time.perf_counter() - started:.1f}"], figures))
    columns = [f"{score} {figure}" for score in known for figure in ("AUROC", "FPR95")]
    table = Table("unknown pictures", *columns, "time [s]", title=f"none of the classes, {args.model}")
    for cells, _ in rows:
        table.add_row(*cells)
    print_table(table, len(rows), [1 + value for _, figures in rows for value in figures], width=200)


if __name__ == "__main__":
    main()
