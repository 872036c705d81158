"""Fixtures of `dataset`: the command, and a folder of pictures."""

import pytest

from flowerml.cli.main import main
from tests.cli.dataset.dataset_helpers import FLOWERS
from tests.data.pictures import put_classes


@pytest.fixture
def dataset(capsys):
    """A function that runs `flowerml dataset ...` and returns (exit code, stdout, stderr)."""

    def run(*words):
        code = main(["dataset", *map(str, words)])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


@pytest.fixture
def root(tmp_path):
    return put_classes(tmp_path / "data", dict.fromkeys(FLOWERS, 2))
