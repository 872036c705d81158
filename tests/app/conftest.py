"""Small weights files for the page: two classifiers, one that takes every picture for something else, and relations."""

from dataclasses import replace

import numpy as np
import pytest

from flowerml.app.models import load_models
from flowerml.evaluation.calibration import Calibration
from flowerml.training.checkpoints.checkpoint import load_checkpoint, save_checkpoint
from tests.prediction.delivered import deliver
from tests.tracking.finished_runs import trained

CNN, VIT, STRICT, RELATIONS = "cnn_flowers.pth", "vit_flowers.pth", "strict.pth", "relations.pth"
TEMPERATURE = 2.5


def with_energies(path, source, energy):
    """Copy a weights file, with a calibration whose validation photos all had this energy."""
    calibration = Calibration(
        TEMPERATURE, np.linspace(0, 0.9, 60, dtype=np.float32), np.full(60, energy, dtype=np.float32)
    )
    save_checkpoint(path, replace(load_checkpoint(source), calibration=calibration))


@pytest.fixture(scope="session")
def weights(tmp_path_factory):
    """A folder with the four files."""
    folder = tmp_path_factory.mktemp("weights")
    deliver(folder / "plain.pth", "timm:test_convnext2")
    deliver(folder / VIT, "timm:test_vit")
    with_energies(folder / CNN, folder / "plain.pth", 1e6)
    with_energies(folder / STRICT, folder / "plain.pth", -1e6)
    save_checkpoint(folder / RELATIONS, trained("relation"))
    return folder


@pytest.fixture(scope="session")
def models(weights):
    """All of them, loaded."""
    return load_models({name: weights / name for name in (CNN, VIT, STRICT, RELATIONS)}, "cpu")
