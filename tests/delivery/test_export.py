"""`flowerml export`: what is written, what is said of it, and that a file which is not the run's is never handed on."""

import csv
import hashlib
import json
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from flowerml.cli.main import main
from flowerml.delivery.verify import Expected, verify
from flowerml.errors import UserError
from flowerml.prediction import as_predictor, load_cnn_model
from flowerml.tracking import fetch_registered, register
from flowerml.training.checkpoints.checkpoint import load_checkpoint, save_checkpoint
from tests.data.pictures import put_classes
from tests.tracking.finished_runs import CLASSES, LOCAL, Store, trained

PHOTOS = dict.fromkeys(CLASSES, 8)


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """40 small pictures in the folders of five classes, one of them by its plural name."""
    root = put_classes(tmp_path_factory.mktemp("photos"), PHOTOS)
    (root / "tulip").rename(root / "tulips")
    return root


def leave_run(folder: Path, photos: Path, family="cnn", wrong=0):
    """What a run leaves in its folder, by its own weights: `wrong` of the recorded labels are others than those."""
    folder.mkdir(parents=True)
    checkpoint = trained(family)
    save_checkpoint(folder / "best.pth", checkpoint)
    model = as_predictor(checkpoint, "cpu", "")
    files = sorted(photos.rglob("*.jpg"))
    inputs = torch.stack([model.preprocess(path) for path in files])
    with torch.inference_mode():
        logits = model(inputs)
        probed = model(inputs[:8])
    np.savez(folder / "probe.npz", inputs=inputs[:8].numpy(), logits=probed.numpy(), ids=np.arange(8))
    names = [CLASSES[place] for place in logits.argmax(1)]
    names[:wrong] = [next(other for other in CLASSES if other != name) for name in names[:wrong]]
    keys = [f"{path.parent.name.replace('tulips', 'tulip')}/{path.name}" for path in files]
    with (folder / "predictions.csv").open("w", newline="") as handle:
        csv.writer(handle).writerows([["image", "label", "predicted"], *zip(keys, keys, names, strict=True)])
    return folder / "best.pth"


@pytest.fixture
def export(capsys):
    """A function that runs `flowerml export ...` and returns (exit code, stdout, stderr)."""

    def run(*words):
        code = main(["export", *map(str, words)])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


def manifest(folder):
    return json.loads((folder / "MANIFEST.json").read_text())["files"]


def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


class TestFromACheckpoint:
    @pytest.mark.slow
    def test_files_manifest_archive_and_check(self, export, photos, tmp_path, fresh_checks):
        best = leave_run(tmp_path / "run", photos)
        out = tmp_path / "out"
        code, said, err = export(
            "--checkpoint", best, "--output-dir", out, "--train-dir", photos, "--zip", tmp_path / "d.zip"
        )
        assert code == 0, err
        assert "loads in a fresh process without a network" in said
        assert "0 of 40 labels differ from predictions.csv" in said
        assert {path.name for path in out.iterdir()} == {
            "cnn_flowers.pth",
            "flowers_classifier.py",
            "MANIFEST.json",
            "MODEL_CARD.md",
        }
        entry = manifest(out)["cnn_flowers.pth"]
        weights = out / "cnn_flowers.pth"
        assert (entry["sha256"], entry["bytes"]) == (digest(weights), weights.stat().st_size)
        assert (entry["family"], entry["model"], entry["classes"], entry["precision"]) == (
            "cnn",
            "convnextv2_atto",
            list(CLASSES),
            "fp32",
        )
        assert entry["metrics"]["val_accuracy"] == 0.5
        assert manifest(out)["flowers_classifier.py"]["sha256"] == digest(out / "flowers_classifier.py")
        assert f'"cnn_flowers.pth": "{entry["sha256"]}"' in (out / "flowers_classifier.py").read_text()
        with zipfile.ZipFile(tmp_path / "d.zip") as archive:
            assert {name: archive.read(name) for name in archive.namelist()} == {
                path.name: path.read_bytes() for path in out.iterdir()
            }

    def test_the_weights_are_the_runs_without_its_split_and_its_paths(self, export, photos, tmp_path):
        best = leave_run(tmp_path / "run", photos)
        assert export("--checkpoint", best, "--output-dir", tmp_path / "out")[0] == 0
        before, after = load_checkpoint(best), load_checkpoint(tmp_path / "out" / "cnn_flowers.pth")
        assert after.split is None
        assert before.state_dict.keys() == after.state_dict.keys()
        assert all(torch.equal(before.state_dict[name], after.state_dict[name]) for name in before.state_dict)
        assert (after.settings["weights"], after.settings["img_size"]) == ("start.safetensors", 32)
        assert LOCAL.encode() not in (tmp_path / "out" / "cnn_flowers.pth").read_bytes()
        assert LOCAL.encode() in best.read_bytes()

    def test_other_logits_than_the_probes_are_an_error_and_everything_stays(self, export, photos, tmp_path):
        best = leave_run(tmp_path / "run", photos)
        with np.load(best.parent / "probe.npz") as probe:
            content = dict(probe)
        content["logits"][3, 2] += 1e-3
        np.savez(best.parent / "probe.npz", **content)
        code, said, err = export(
            "--checkpoint", best, "--output-dir", tmp_path / "out", "--zip", tmp_path / "d.zip", "--json"
        )
        assert code == 1
        assert json.loads(said)["archive"] is None
        assert "must not be handed on: cnn_flowers.pth: its logits differ by 1.0" in err  # e-03
        assert "those of the run's probe.npz (allowed: 1e-04)" in err
        assert (tmp_path / "out" / "cnn_flowers.pth").is_file()
        assert not (tmp_path / "d.zip").exists()

    def test_labels_that_differ_are_listed_and_too_many_are_an_error(self, export, photos, tmp_path):
        """1 of 40 is 2.5 %, above the half per cent."""
        best = leave_run(tmp_path / "run", photos, wrong=1)
        code, said, err = export("--checkpoint", best, "--output-dir", tmp_path / "out", "--train-dir", photos)
        assert code == 1
        assert "1 of 40 labels differ from predictions.csv (allowed: 0.5%)" in err
        assert "daisy/00.jpg: " in said

    def test_without_probe_and_photos_it_says_what_was_not_compared(self, export, photos, tmp_path):
        best = leave_run(tmp_path / "run", photos)
        (best.parent / "probe.npz").unlink()
        code, said, _ = export("--checkpoint", best, "--output-dir", tmp_path / "out")
        assert code == 0
        assert "its logits could not be compared" in said
        assert "labels were not compared" in said

    def test_half_is_half_as_large_computed_in_fp32_and_reports_changed_labels(self, export, photos, tmp_path):
        best = leave_run(tmp_path / "run", photos)
        out = tmp_path / "out"
        code, said, _ = export("--checkpoint", best, "--output-dir", out, "--half", "--train-dir", photos, "--json")
        assert code == 0
        result = json.loads(said)
        assert result["files"]["cnn_flowers.pth"]["precision"] == "fp16"
        check = result["checks"][0]
        assert (check["probe_labels_changed"], check["photos"], check["differing"]) == (0, 40, [])
        assert 0 < check["logit_difference"] < 0.1
        assert (out / "cnn_flowers.pth").stat().st_size < 0.55 * best.stat().st_size
        model = load_cnn_model(out / "cnn_flowers.pth")
        assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}

    def test_weights_beyond_the_range_of_fp16_are_refused(self, export, photos, tmp_path):
        best = leave_run(tmp_path / "run", photos)
        checkpoint = load_checkpoint(best)
        large = {**checkpoint.state_dict, "head.bias": torch.full((5,), 1e5)}
        save_checkpoint(best, replace(checkpoint, state_dict=large))
        code, _, err = export("--checkpoint", best, "--output-dir", tmp_path / "out", "--half")
        assert code == 2
        assert "head.bias has values beyond fp16's range (65,504): export it without --half" in err
        assert not (tmp_path / "out" / "MANIFEST.json").exists()

    @pytest.mark.slow
    def test_the_other_familys_file_stays_part_of_the_delivery_unless_it_was_touched(self, export, photos, tmp_path):
        out = tmp_path / "out"
        cnn, vit = leave_run(tmp_path / "a", photos), leave_run(tmp_path / "b", photos, family="vit")
        assert export("--checkpoint", cnn, "--output-dir", out)[0] == 0
        first = digest(out / "cnn_flowers.pth")
        assert export("--checkpoint", vit, "--output-dir", out)[0] == 0
        assert manifest(out).keys() == {"cnn_flowers.pth", "vit_flowers.pth", "flowers_classifier.py"}
        source = (out / "flowers_classifier.py").read_text()
        assert first in source
        assert digest(out / "vit_flowers.pth") in source
        with (out / "cnn_flowers.pth").open("ab") as handle:
            handle.write(b"x")
        assert export("--checkpoint", vit, "--output-dir", out)[0] == 0
        assert manifest(out).keys() == {"vit_flowers.pth", "flowers_classifier.py"}
        assert first not in (out / "flowers_classifier.py").read_text()


class TestFromTheRegistry:
    @pytest.mark.slow
    def test_the_registered_file_byte_for_byte_by_alias_and_by_number(self, export, tmp_path):
        store = Store(tmp_path)
        first, second = store.decide(hits=20), store.decide(hits=30, config="e" * 64)
        register(first, "cnn")
        register(second, "cnn")
        register(store.decide("vit", hits=10), "vit")
        code, said, err = export("--output-dir", tmp_path / "out", "--json")
        assert code == 0, err
        result = json.loads(said)
        cnn = result["files"]["cnn_flowers.pth"]
        assert (cnn["registered_model"], cnn["version"], cnn["run_id"]) == ("flowers-cnn", "2", second.chosen.run_id)
        assert cnn["metrics"]["val_accuracy"] == 0.75
        version = store.client.get_model_version("flowers-cnn", "2")
        assert version.tags["flowerml.weights_sha256"] == cnn["sha256"] == digest(tmp_path / "out" / "cnn_flowers.pth")
        assert [check["logit_difference"] < 1e-4 for check in result["checks"]] == [True, True]
        code, said, _ = export("--family", "cnn", "--alias", "previous", "--output-dir", tmp_path / "old", "--json")
        assert (code, json.loads(said)["files"]["cnn_flowers.pth"]["version"]) == (0, "1")
        assert fetch_registered("cnn", tmp_path / "one", version="1").run_id == first.chosen.run_id

    def test_what_is_not_registered(self, export, tmp_path):
        store = Store(tmp_path)
        remedy = "register one with `flowerml select --family vit --register`, or export a run: --checkpoint PATH\n"
        last = lambda *words: export("--family", "vit", *words)[2].splitlines()[-1] + "\n"  # noqa: E731 - a new store says that it is made
        assert last() == f"error: flowers-vit has no version with alias champion: {remedy}"
        register(store.decide("vit"), "vit")
        assert last("--version", "7") == f"error: flowers-vit has no version 7: {remedy}"
        assert last("--alias", "best") == f"error: flowers-vit has no version with alias best: {remedy}"


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ("--version 1", "--version is one model's: say whose with --family cnn or --family vit"),
        ("--family cnn --version 0", "--version is '0'. Allowed: whole number, >= 1"),
        ("--family cnn --version ²", "--version is '²'. Allowed: whole number, >= 1"),
        ("--family cnn --version 1 --alias x", "--alias and --version each name a version: give one of them"),
        ("--checkpoint x --family cnn", "--checkpoint names the weights: leave out --family, --alias and --version, …"),
        ("--checkpoint nosuch.pth", "checkpoint nosuch.pth: no such file. Give a run's best.pth or a delivered .pth"),
        ("--zip all.tar", "--zip is 'all.tar'. Allowed: a file name that ends in .zip"),
        (
            "--train-dir nowhere",
            "--train-dir nowhere: no such folder. Name the one the run was trained on, or leave it out",
        ),
        ("--family rose", "argument --family: invalid choice: 'rose' (choose from 'cnn', 'vit', 'both'). …"),
    ],
)
def test_wrong_input_is_one_line(export, tmp_path, monkeypatch, words, line):
    monkeypatch.chdir(tmp_path)
    code, said, err = export(*words.split())
    assert (code, said) == (2, "")
    assert err.startswith(f"error: {line.rstrip('…')}")
    assert err.count("\n") == 1
    assert list(tmp_path.glob("*.p*")) == []


def test_two_checkpoints_of_one_family_and_a_folder_that_is_a_file(export, photos, tmp_path):
    best = leave_run(tmp_path / "run", photos)
    code, _, err = export("--checkpoint", best, "--checkpoint", best, "--output-dir", tmp_path / "out")
    assert (code, "two sources of one family" in err) == (2, True)
    (tmp_path / "file").write_bytes(b"x")
    code, _, err = export("--checkpoint", best, "--output-dir", tmp_path / "file")
    assert (code, err.count("\n")) == (2, 1)
    assert (tmp_path / "file").read_bytes() == b"x"


def test_the_process_that_checks_has_no_network(tmp_path, capfd):
    """A delivered file that looked something up would be found out: the check ends with an error."""
    (tmp_path / "flowers_classifier.py").write_text("import socket\nsocket.create_connection(('127.0.0.1', 9))\n")
    with pytest.raises(UserError, match="ended with exit code 1"):
        verify(tmp_path, "cnn_flowers.pth", trained("cnn"), Expected(None, None, None), exact=True)
    assert "must not need a network" in capfd.readouterr().err


def test_a_manifest_of_another_program_is_not_replaced(export, photos, tmp_path):
    best = leave_run(tmp_path / "run", photos)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "MANIFEST.json").write_text('{"name": "my web page"}')
    code, _, err = export("--checkpoint", best, "--output-dir", tmp_path / "out")
    assert (code, err.count("\n")) == (2, 1)
    assert "is no delivery's manifest: choose another folder" in err
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["MANIFEST.json"]
