"""What a run leaves in its folder, of small models with random weights, and generated photos of its classes."""

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from flowerml.data.transforms import InputDescription
from flowerml.evaluation.fit_calibration import fit_calibration
from flowerml.evaluation.metrics import Predictions
from flowerml.models import build
from flowerml.prediction import as_predictor
from flowerml.settings import find_model
from flowerml.training.checkpoints.checkpoint import Checkpoint, save_checkpoint

CLASSES = ("daisy", "dandelion", "rose", "sunflower", "tulip")
MODELS = {"cnn": "timm:test_convnext2", "vit": "timm:test_vit2"}
SIZE = 64
PER_CLASS = 14


def leave_run(folder: Path, photos: Path, family: str = "cnn") -> Path:
    """Leave `best.pth`, calibrated with energies, `probe.npz` and `predictions.csv` of all photos; return the first."""
    folder.mkdir(parents=True)
    torch.manual_seed(5)
    spec = find_model(MODELS[family])
    built = build(spec, len(CLASSES), img_size=SIZE)
    torch.nn.init.normal_(built.model.head.weight, std=1.0)  # so that pictures are told apart
    own = built.description
    description = InputDescription(SIZE, own.mean, own.std, own.interpolation, 0.9)
    metrics = {"val_accuracy": 0.2, "val_macro_f1": 0.2, "val_loss": 1.0}
    settings = {"model": spec.name, "train_dir": "/a/path/of/the/machine/that/trained"}
    checkpoint = Checkpoint(built.model.state_dict(), spec, CLASSES, description, 3, metrics, settings, None)
    model = as_predictor(checkpoint, "cpu", "")
    files = sorted(photos.rglob("*.jpg"))
    inputs = torch.stack([model.preprocess(path) for path in files])
    with torch.inference_mode():
        logits = model(inputs)
    np.savez(folder / "probe.npz", inputs=inputs[:8].numpy(), logits=logits[:8].numpy(), ids=np.arange(8))
    labels = np.array([CLASSES.index(path.parent.name) for path in files])
    keys = tuple(f"{path.parent.name}/{path.name}" for path in files)
    calibration = fit_calibration(Predictions(CLASSES, keys, labels, logits.numpy()))
    save_checkpoint(folder / "best.pth", replace(checkpoint, calibration=calibration))
    names = [CLASSES[place] for place in logits.argmax(1)]
    rows = [
        (key, path.parent.name, name, *shares)
        for key, path, name, shares in zip(keys, files, names, logits.softmax(1).tolist(), strict=True)
    ]
    with (folder / "predictions.csv").open("w", newline="") as handle:
        csv.writer(handle).writerows([["image", "label", "predicted", *(f"p_{name}" for name in CLASSES)], *rows])
    return folder / "best.pth"
