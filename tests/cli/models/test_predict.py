"""`flowerml predict`: every picture of a folder, what can't be used listed apart, exit codes, and no torch for a
mistake.
"""

import csv
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from flowerml import load_cnn_model, predict, predict_proba
from flowerml.cli.main import run_command
from flowerml.evaluation.calibration import Calibration
from flowerml.training.checkpoints.checkpoint import load_checkpoint, save_checkpoint
from tests.data.pictures import put, put_scene
from tests.prediction.delivered import CLASSES

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def folder(tmp_path) -> Path:
    """Twenty pictures at three depths, with what lies beside pictures in life."""
    root = tmp_path / "photos"
    for number in range(20):
        put_scene(
            root / ("", "rose", "rose/deep é")[number % 3] / f"{number:02d}, x.{'JPG' if number == 4 else 'jpg'}",
            number,
        )
    put(root / "notes.txt", b"no picture, and not called one")
    put(root / ".hidden" / "a.jpg", b"")
    put(root / "rose" / "._00.jpg", b"what macOS leaves")
    return root


def with_bad_files(folder):
    put(folder / "rose" / "page.jpg", b"<!doctype html><html></html>")
    put(folder / "zz\nempty.png", b"")
    (folder / "broken link.png").symlink_to(folder / "nothing")


def call(*words) -> int:
    return run_command("predict", [str(word) for word in words])


def read_csv(path):
    with path.open(newline="") as handle:
        return list(csv.DictReader(handle))


def test_a_csv_has_a_row_for_every_picture_with_what_predict_says(weights, folder, tmp_path, capsys):
    target = tmp_path / "new folder" / "out.csv"
    assert call("--model", weights, folder, "--csv", target) == 0
    rows = read_csv(target)
    assert list(rows[0]) == ["image", "predicted", *(f"p_{name}" for name in CLASSES)]
    paths = sorted(path for path in folder.rglob("[0-9]*") if path.is_file())
    assert [row["image"] for row in rows] == [str(path) for path in paths]
    assert len(rows) == 20
    model = load_cnn_model(weights)
    assert [row["predicted"] for row in rows] == predict(model, paths)
    shares = np.array([[float(row[f"p_{name}"]) for name in CLASSES] for row in rows])
    assert np.abs(shares - predict_proba(model, paths)).max() < 1e-6
    shown = capsys.readouterr()
    assert shown.out == "", "results are in the file"
    assert "predicted 20 of 20" in shown.err
    said = "passed over: 1 other files (.txt 1); 2 hidden files and folders (._… 1, .hidden 1)"
    assert said in shown.err.splitlines()


def test_without_a_file_there_is_a_line_for_each_picture(weights, folder, capsys):
    assert call("--model", weights, folder / "rose") == 0
    lines = capsys.readouterr().out.splitlines()
    paths = sorted(path for path in (folder / "rose").rglob("[0-9]*") if path.is_file())
    names = predict(load_cnn_model(weights), paths)
    assert [(line.split()[0], line.split(maxsplit=2)[2]) for line in lines] == [
        (n, str(p)) for n, p in zip(names, paths, strict=True)
    ]


def test_single_files_and_folders_mix_each_picture_once_whatever_a_named_file_is_called(
    weights, folder, tmp_path, capsys
):
    odd = put_scene(tmp_path / "upload.tmp", 99)
    assert call("--model", weights, odd, folder / "rose", odd, folder / "rose" / "01, x.jpg", "--json") == 0
    result = json.loads(capsys.readouterr().out)
    images = [picture["image"] for picture in result["pictures"]]
    assert images[0] == str(odd)
    assert len(images) == len(set(images)) == 14


def test_a_table_of_paths_stands_for_its_pictures(weights, folder, tmp_path, capsys):
    """In the table's order, and with the probabilities that the folder's pictures have."""
    assert call("--model", weights, folder / "rose", "--json") == 0
    of_folder = json.loads(capsys.readouterr().out)["pictures"]
    listed = [Path(picture["image"]).relative_to(tmp_path) for picture in reversed(of_folder)]
    quoted = "\n".join(f'"{path}"' for path in listed)
    table = put(tmp_path / "list.csv", f"path\n{quoted}\n".encode())
    assert call("--model", weights, table, "--json") == 0
    assert json.loads(capsys.readouterr().out)["pictures"] == of_folder[::-1]


def test_bad_pictures_are_listed_by_path_and_reason_and_the_rest_is_predicted(weights, folder, tmp_path, capsys):
    with_bad_files(folder)
    assert call("--model", weights, folder, "--csv", tmp_path / "out.csv", "--json") == 1
    shown = capsys.readouterr()
    result = json.loads(shown.out)
    assert result["classes"] == list(CLASSES)
    assert len(result["pictures"]) == len(read_csv(tmp_path / "out.csv")) == 20
    for picture, row in zip(result["pictures"], read_csv(tmp_path / "out.csv"), strict=True):
        assert (picture["image"], picture["predicted"]) == (row["image"], row["predicted"])
        assert picture["probabilities"][picture["predicted"]] == max(picture["probabilities"].values())
    reasons = {entry["image"]: entry["reason"] for entry in result["bad"]}
    assert reasons.keys() == {str(folder / name) for name in ("rose/page.jpg", "zz\nempty.png", "broken link.png")}
    assert "web page" in reasons[str(folder / "rose/page.jpg")]
    listed = shown.err[shown.err.index("can't be used (3 of 23)") :].splitlines()
    assert len(listed) == 4, "a line for each"
    assert all(
        any(word in line for line in listed)
        for word in ("page.jpg: not a picture", "the file is empty", "No such file")
    )


def test_a_folder_of_bad_pictures_only_is_no_crash(weights, tmp_path, capsys):
    put(tmp_path / "a" / "b.jpg", b"")
    assert call("--model", weights, tmp_path / "a", "--csv", tmp_path / "out.csv") == 1
    assert len(read_csv(tmp_path / "out.csv")) == 0
    assert (tmp_path / "out.csv").read_text().startswith("image,predicted,p_daisy")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("{photos}", "--model"),
        ("--model {model}", "DIR"),
        ("--model no.pth {photos}", "no.pth: no such file"),
        ("--model {model} no_folder", "no_folder: no such file or folder"),
        ("--model {model} {empty}", "no pictures"),
        ("--model {model} {photos} --csv {empty}", "is a folder"),
        ("--model {model} {photos} --cvs out.csv", "--csv"),
        ("--model {model} {photos} --csv {model}", "is a file that is read, and would be replaced: choose another"),
        ("--model {model} {table} --csv {table}", "is a file that is read, and would be replaced: choose another"),
        (
            "--model {model} {photos} --csv {photos}/rose/../picture.jpg",
            "picture.jpg is a file that is read",
        ),
        ("--model {model} {photos} --device tpu", "--device tpu"),
        ("--model {photos}/notes.txt {photos}", "can't be read"),
        ("--model {model} {photos} --tta flips", "Did you mean flip?"),
        ("--model {model} --model no.pth {photos}", "--model no.pth: no such file"),
        ("--model {model} {photos} --ensemble-weights 1", "--ensemble-weights 1 needs several models"),
        ("--model {model} --model {model} {photos} --ensemble-weights 1", "has 1 numbers for 2 models"),
        (
            "--model {model} --model {model} {photos} --ensemble-weights 1,x",
            "--ensemble-weights is 'x'. Allowed: number",
        ),
        ("--model {model} --model {model} {photos} --ensemble-weights 1,0", "leave out its --model instead"),
        (
            "--model {model} --model {model} {photos} --ensemble-weights=-1,2",
            "--ensemble-weights is '-1'. Allowed: numb",
        ),
    ],
)
def test_wrong_input_is_one_line_and_exit_2(weights, folder, tmp_path, capsys, words, said):
    (tmp_path / "empty").mkdir()
    table, picture = tmp_path / "table.csv", folder / "picture.jpg"
    put_scene(picture, 1)
    table.write_text(f"path\n{picture}\n")
    given = [word.format(model=weights, photos=folder, empty=tmp_path / "empty", table=table) for word in words.split()]
    before = [path.read_bytes() for path in (weights, table, picture)]
    assert call(*given) == 2
    assert [path.read_bytes() for path in (weights, table, picture)] == before
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith("error: ")
    assert len(shown.err.splitlines()) == 1
    assert said in shown.err


def probabilities(words, capsys):
    assert call(*words, "--json") == 0
    shown = capsys.readouterr()
    rows = [list(picture["probabilities"].values()) for picture in json.loads(shown.out)["pictures"]]
    return np.array(rows), shown.err


@pytest.fixture
def calibrated(weights, tmp_path):
    """The same weights with a temperature that counts for one view."""
    path = tmp_path / "calibrated.pth"
    calibration = Calibration(2.0, np.linspace(0, 1, 60, dtype=np.float32))
    save_checkpoint(path, replace(load_checkpoint(weights), calibration=calibration))
    return path


def test_views_are_those_asked_for_or_the_files_own(weights, calibrated, folder, tmp_path, capsys):
    stored = tmp_path / "stored.pth"
    save_checkpoint(stored, replace(load_checkpoint(weights), tta="flip"))
    plain, _ = probabilities(("--model", weights, folder), capsys)
    viewed, said = probabilities(("--model", weights, folder, "--tta", "flip"), capsys)
    assert "temperature" not in said
    assert np.array_equal(viewed, probabilities(("--model", stored, folder), capsys)[0])
    assert not np.allclose(plain, viewed, atol=1e-4)
    assert np.array_equal(plain, probabilities(("--model", stored, folder, "--tta", "none"), capsys)[0])
    _, said = probabilities(("--model", calibrated, folder, "--tta", "flip"), capsys)
    assert (
        "its temperature was fitted with --tta none; for probabilities that are calibrated with flip, write a" in said
    )


def test_several_models_are_an_ensemble(weights, calibrated, folder, capsys):
    first, second = (probabilities(("--model", path, folder), capsys)[0] for path in (weights, calibrated))
    words = ("--model", weights, "--model", calibrated, folder)
    assert np.allclose(probabilities(words, capsys)[0], (first + second) / 2, atol=1e-6)
    weighted, _ = probabilities((*words, "--ensemble-weights", "3,1"), capsys)
    assert np.allclose(weighted, 0.75 * first + 0.25 * second, atol=1e-6)


@pytest.mark.parametrize(
    "words", [("--help",), ("--model", "no.pth", "x"), ("x", "--modle", "y"), ("--model", __file__, "no_folder")]
)
def test_a_mistake_costs_no_import_of_torch(words):
    code = "import sys; sys.path.insert(0, 'entrypoints'); sys.argv = ['predict.py', *sys.argv[1:]]\n"
    code += (
        "import runpy\ntry: runpy.run_path('entrypoints/predict.py')\nfinally: print('torch' in sys.modules, 'mlflow'"
        " in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code, *words], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "False False"
    assert done.returncode == (0 if words == ("--help",) else 2)
