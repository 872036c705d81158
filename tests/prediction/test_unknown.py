"""Pictures of none of the classes, by their energy: in the package, the delivered single file, and the command."""

import csv
import json
from dataclasses import replace

import numpy as np
import pytest
import torch

import flowerml
from flowerml.cli.main import run_command
from flowerml.errors import UserError
from flowerml.evaluation.calibration import Calibration
from flowerml.prediction import load_ensemble, load_predictor
from flowerml.training.checkpoints.checkpoint import load_checkpoint, save_checkpoint
from tests.data.pictures import put_classes
from tests.prediction.single_file import load_single_file


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    root = put_classes(tmp_path_factory.mktemp("photos"), {"daisy": 4, "rose": 4})
    return [str(path) for path in sorted(root.rglob("*.jpg"))]


def energies_of(path, pictures):
    model = load_predictor(path)
    with torch.inference_mode():
        logits = model(torch.stack([model.preprocess(picture) for picture in pictures]))
    return -logits.logsumexp(dim=1).numpy()


@pytest.fixture(params=["cnn", "vit"])
def file(request, files, pictures, tmp_path):
    """A weights file for whose validation photos the energies are such that half of the pictures are unknown."""
    path = tmp_path / f"{request.param}_flowers.pth"
    found = energies_of(files[request.param], pictures)
    energies = np.full(20, np.median(found), np.float32)
    energies[-1] = found.max() + 1  # beyond 95 %: it decides nothing
    calibration = Calibration(2.5, np.linspace(0, 1, 20, dtype=np.float32), energies)
    save_checkpoint(path, replace(load_checkpoint(files[request.param]), calibration=calibration))
    return path


def test_what_is_above_the_energy_of_95_percent_is_unknown_and_the_rest_as_before(file, pictures):
    model = load_predictor(file)
    found = energies_of(file, pictures)
    plain = flowerml.predict(model, pictures)
    expected = ["unknown" if energy > np.median(found) else name for energy, name in zip(found, plain, strict=True)]
    assert expected.count("unknown") == 4
    assert flowerml.predict(model, pictures, unknown=True) == expected
    assert flowerml.predict(model, pictures[0], unknown=True) == expected[0]
    module = load_single_file()
    assert module.predict(module.load_model(file), pictures, unknown=True) == expected


def test_the_command_says_so(file, pictures, tmp_path, capsys):
    names = flowerml.predict(load_predictor(file), pictures, unknown=True)
    words = ["--model", str(file), *pictures, "--unknown", "--workers", "0"]
    assert run_command("predict", [*words, "--csv", str(tmp_path / "out.csv")]) == 0
    with (tmp_path / "out.csv").open(newline="") as handle:
        assert [row["predicted"] for row in csv.DictReader(handle)] == names
    assert "unknown 4" in capsys.readouterr().err
    assert run_command("predict", [*words, "--json"]) == 0
    assert [one["predicted"] for one in json.loads(capsys.readouterr().out)["pictures"]] == names
    assert run_command("predict", words) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == names


@pytest.mark.parametrize("calibration", [None, Calibration(1.0, np.zeros(50, np.float32))])
def test_weights_without_energies_say_why(files, pictures, tmp_path, calibration, capsys):
    """Those of earlier versions, and of runs with few validation photos; nothing is predicted then."""
    path = tmp_path / "weights.pth"
    save_checkpoint(path, replace(load_checkpoint(files["cnn"]), calibration=calibration))
    with pytest.raises(UserError, match="fewer than 50 validation photos, or of an earlier version"):
        flowerml.predict(load_predictor(path), pictures, unknown=True)
    assert run_command("predict", ["--model", str(path), *pictures, "--unknown", "--workers", "0"]) == 2
    assert capsys.readouterr().err.count("error: unknown pictures can't be told with these weights") == 1


def test_an_ensemble_and_a_class_of_that_name_are_refused(file, pictures, tmp_path):
    with pytest.raises(UserError, match="can't be told by an ensemble"):
        flowerml.predict(load_ensemble([file, file]), pictures, unknown=True)
    checkpoint = load_checkpoint(file)
    renamed = tmp_path / "renamed.pth"
    save_checkpoint(renamed, replace(checkpoint, classes=("unknown", *checkpoint.classes[1:])))
    with pytest.raises(UserError, match="rename that class"):
        flowerml.predict(load_predictor(renamed), pictures, unknown=True)
