"""Runs of a small CNN and ViT, and one delivery of each in other formats: the conversions take seconds."""

import json
from pathlib import Path

import pytest

from flowerml.cli.main import main
from tests.data.pictures import put_classes
from tests.delivery.formats.runs import CLASSES, PER_CLASS, leave_run


@pytest.fixture(scope="package")
def photos(tmp_path_factory) -> Path:
    return put_classes(tmp_path_factory.mktemp("photos"), dict.fromkeys(CLASSES, PER_CLASS))


@pytest.fixture(scope="package")
def cnn_run(tmp_path_factory, photos) -> Path:
    return leave_run(tmp_path_factory.mktemp("runs") / "cnn", photos)


@pytest.fixture(scope="package")
def vit_run(tmp_path_factory, photos) -> Path:
    return leave_run(tmp_path_factory.mktemp("runs") / "vit", photos, "vit")


@pytest.fixture(scope="package")
def all_formats(cnn_run, photos, tmp_path_factory) -> Path:
    """The folder of a CNN's delivery in every format, with a static int8 file; `out.zip` lies beside it."""
    out = tmp_path_factory.mktemp("cnn") / "out"
    words = ("--checkpoint", cnn_run, "--output-dir", out, "--train-dir", photos, "--zip", out.parent / "out.zip")
    wanted = ("--format", "onnx,openvino", "--format", "torch-export", "--int8", "static")
    assert main(["export", *map(str, words), *wanted]) == 0
    return out


@pytest.fixture(scope="package")
def with_views(vit_run, photos, tmp_path_factory) -> Path:
    """The folder of a ViT's delivery as ONNX and static int8, with the views flip-scales."""
    out = tmp_path_factory.mktemp("vit") / "out"
    words = ("--checkpoint", vit_run, "--output-dir", out, "--train-dir", photos, "--tta", "flip-scales")
    assert main(["export", *map(str, words), "--format", "onnx", "--int8", "static"]) == 0
    return out


@pytest.fixture
def export(capsys):
    """A function that runs `flowerml export --json ...` and returns (exit code, what it printed, stderr)."""

    def call(*words):
        code = main(["export", "--json", *map(str, words)])
        captured = capsys.readouterr()
        return code, json.loads(captured.out) if captured.out else None, captured.err

    return call
