"""A delivered file for the commands that predict."""

from pathlib import Path

import pytest

from tests.prediction.delivered import NAMES, deliver


@pytest.fixture(scope="session")
def weights(tmp_path_factory) -> Path:
    """`cnn_flowers.pth` with random weights."""
    path = tmp_path_factory.mktemp("delivered") / "cnn_flowers.pth"
    deliver(path, NAMES["cnn"])
    return path
