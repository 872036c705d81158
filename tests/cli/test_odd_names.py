"""Names that no encoding takes end no command after its work: in files, on a terminal in another encoding, in a log."""

import csv
import io
import json
import os
import sys
import unicodedata
from pathlib import Path

import pytest

from flowerml.cli.main import run_command
from flowerml.evaluation.prediction_table import read_predictions
from tests.data.pictures import put_scene

ODD = [
    b"ros\xe9.jpg",
    b"two\nlines.jpg",
    b"\x1b[31mred.jpg",
    "花 🌻.jpg".encode(),
    "\u202egpj.jpg".encode(),
    b"tab\t.jpg",
]


@pytest.fixture
def folder(tmp_path) -> Path:
    for number, name in enumerate(ODD):
        put_scene(tmp_path / "p" / os.fsdecode(name), number)
    return tmp_path / "p"


@pytest.fixture(params=["latin-1", "cp1252", "ascii"])
def run_in_terminal(request, monkeypatch):
    """A function that runs a command on a terminal in another encoding: its exit code, stdout and stderr."""

    def run(*words):
        streams = [io.TextIOWrapper(io.BytesIO(), encoding=request.param) for _ in range(2)]
        with monkeypatch.context() as patch:
            patch.setattr(sys, "stdout", streams[0])
            patch.setattr(sys, "stderr", streams[1])
            code = run_command(words[0], list(map(str, words[1:])))
            for stream in streams:
                stream.flush()
        return code, *(stream.buffer.getvalue().decode(request.param) for stream in streams)

    return run


def test_a_csv_has_a_row_for_each_picture_and_is_valid_utf_8(weights, folder, tmp_path):
    assert run_command("predict", ["--model", str(weights), str(folder), "--csv", str(tmp_path / "out.csv")]) == 0
    with (tmp_path / "out.csv").open(newline="", encoding="utf-8") as handle:
        images = [row["image"] for row in csv.DictReader(handle)]
    expected = {str(folder / os.fsdecode(name)).replace("\udce9", r"\udce9") for name in ODD}
    assert len(images) == len(ODD)
    assert {*images} == expected


def test_json_gives_the_names_back_byte_for_byte(weights, folder, capsys):
    assert run_command("predict", ["--model", str(weights), str(folder), "--json"]) == 0
    images = [picture["image"] for picture in json.loads(capsys.readouterr().out)["pictures"]]
    assert {os.path.basename(os.fsencode(image)) for image in images} == {*ODD}  # noqa: PTH119 - bytes


def test_a_terminal_in_another_encoding_gets_a_line_for_each_picture(weights, folder, run_in_terminal):
    code, out, err = run_in_terminal("predict", "--model", weights, folder)
    lines = out.splitlines()
    assert code == 0
    assert len(lines) == len(ODD)
    assert all(line.replace("\t", " ").isprintable() for line in lines)
    assert any(r"ros\udce9.jpg" in line for line in lines)
    assert any(r"two\nlines.jpg" in line for line in lines)
    assert f"predicted {len(ODD)} of {len(ODD)}" in err


def test_a_check_of_odd_classes_and_files_prints_and_writes_its_page(tmp_path, run_in_terminal):
    for number, name in enumerate(ODD):
        put_scene(tmp_path / "d" / "花\n🌻" / os.fsdecode(name), number)
        put_scene(tmp_path / "d" / "b" / f"{number}.jpg", 100 + number)
    page = tmp_path / "page.html"
    code, out, _ = run_in_terminal(
        "dataset", "check", "--train-dir", tmp_path / "d", "--classes", "folders", "--html", page
    )
    assert code == 1, "one file name is not UTF-8: it is listed"
    assert "the file name is not valid UTF-8: rename it" in out
    assert r"ros\udce9.jpg" in page.read_text("utf-8")


def test_a_training_folder_whose_name_is_not_utf_8_can_be_checked(tmp_path, capsys):
    root = tmp_path / os.fsdecode(b"d\xe9")
    for number, name in enumerate("ab"):
        put_scene(root / name / "1.jpg", number)
    assert run_command("dataset", ["check", "--train-dir", str(root), "--classes", "folders"]) == 0
    assert r"d\udce9" in capsys.readouterr().out


@pytest.mark.slow
def test_a_run_over_odd_names_and_its_evaluation_on_a_copy_in_nfd(tmp_path, capsys):
    """From walk to figures, pages, MLflow and predict: a whole training."""
    classes = ["café 🌻", "two\nlines", "bell\x07 \u202e"]
    files = ["rosé {}.png", "花\r{}", "\x1b[31m{}.jfif", "sub folder/{}.jpg", "{} 'quoted\".jpg", "a,b;{}.jpg"]
    for form in ("NFC", "NFD"):
        for place, name in enumerate(classes):
            for number in range(12):
                path = f"{name}/{files[number % len(files)].format(number)}"
                put_scene(tmp_path / form / unicodedata.normalize(form, path), 100 * place + number)
    words = [
        "--model",
        "convnextv2_atto",
        "--weights",
        "none",
        "--img-size",
        "32",
        "--batch-size",
        "8",
        "--epochs",
        "1",
    ]
    words += ["--warmup-epochs", "0", "--freeze-backbone-epochs", "0", "--workers", "0", "--classes", "folders"]
    run = tmp_path / "run"
    assert run_command("train", [*words, "--train-dir", str(tmp_path / "NFC"), "--output-dir", str(run)]) == 0
    table = read_predictions(run / "predictions.csv")
    split = json.loads((run / "split.json").read_text("utf-8"))
    assert {*table.images} == {*split["val"]}
    assert len(split["sha256"]) == 36
    capsys.readouterr()
    model = str(run / "best.pth")
    assert run_command("eval", ["--checkpoint", model, "--train-dir", str(tmp_path / "NFD"), "--json"]) == 0
    shown = capsys.readouterr()
    assert "not as it was at training" not in shown.err
    assert {*read_predictions(run / "eval_val" / "predictions.csv").images} == {*split["val"]}
    assert run_command("predict", ["--model", model, str(tmp_path / "NFD")]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 36
