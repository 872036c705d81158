"""`flowerml export --format`: what is written and said of it, and that what is not the run's is never handed on."""

import json
import shutil
import zipfile
from hashlib import sha256

import numpy as np
import onnx
import pytest
import torch

from flowerml.delivery.formats import convert as conversion
from flowerml.delivery.formats.check import int8_remarks
from flowerml.delivery.formats.metadata import metadata_of
from flowerml.delivery.model_card import NAME as CARD
from flowerml.evaluation.paired_gain import paired_gain
from flowerml.training.checkpoints.checkpoint import load_checkpoint
from tests.delivery.formats.runs import CLASSES, PER_CLASS, SIZE

pytestmark = pytest.mark.slow  # the conversions that all tests here share take a minute

FILES = ("cnn_flowers.onnx", "cnn_flowers_int8.onnx", "cnn_flowers.xml", "cnn_flowers.bin", "cnn_flowers.pt2")
PHOTOS = PER_CLASS * len(CLASSES)


def manifest(folder):
    return json.loads((folder / "MANIFEST.json").read_text())["files"]


def probe_of(run):
    with np.load(run.parent / "probe.npz") as content:
        return content["inputs"], content["logits"]


def test_every_file_is_in_the_manifest_the_archive_and_the_card(all_formats):
    entries = manifest(all_formats)
    code = {"flowers_classifier.py", "flowers_classifier_onnx.py"}
    assert entries.keys() == {"cnn_flowers.pth", *FILES, *code}
    shutil.rmtree(all_formats / "__pycache__", ignore_errors=True)  # of a test that imports its file
    assert {path.name for path in all_formats.iterdir()} == {*entries, "MANIFEST.json", CARD}
    for name, entry in entries.items():
        data = (all_formats / name).read_bytes()
        assert (entry["sha256"], entry["bytes"]) == (sha256(data).hexdigest(), len(data))
    with zipfile.ZipFile(all_formats.parent / "out.zip") as archive:
        assert {name: archive.read(name) for name in archive.namelist()} == {
            path.name: path.read_bytes() for path in all_formats.iterdir()
        }
    card = (all_formats / CARD).read_text()
    for name in FILES:
        assert (f"| {name} |" in card) == (name != "cnn_flowers.bin")
    weights = entries["cnn_flowers.pth"]["sha256"]
    assert all(entries[name]["made_from_sha256"] == weights for name in FILES)
    source = (all_formats / "flowers_classifier_onnx.py").read_text()
    assert all(entries[name]["sha256"] in source for name in FILES[:2])


def test_fp32_files_have_the_logits_of_the_probe_and_int8_is_measured(all_formats):
    entries = manifest(all_formats)
    for name in ("cnn_flowers.onnx", "cnn_flowers.xml", "cnn_flowers.pt2"):
        assert entries[name]["precision"] == "fp32"
        assert entries[name]["logit_difference"] < 1e-4
        assert (entries[name]["probe_labels_changed"], entries[name]["probe_inputs"]) == (0, 8)
        assert entries[name]["ms_per_picture"].keys() == {"1", "16"}
    assert (entries["cnn_flowers.onnx"]["photos"], entries["cnn_flowers.onnx"]["photo_labels_changed"]) == (PHOTOS, 0)
    int8 = entries["cnn_flowers_int8.onnx"]
    assert int8["precision"] == "int8 static"
    assert int8["logit_difference"] > 1e-4
    assert int8["photos"] == PHOTOS
    change = int8["accuracy_change"]
    assert change["interval_95"]["low"] <= change["gain"] <= change["interval_95"]["high"]
    assert change["interval_95"]["pictures"] == PHOTOS // 2, "not on the photos that the ranges are from"


def test_views_of_the_weights_are_those_of_the_onnx_files(with_views):
    for name, precision in (("vit_flowers.onnx", "fp32"), ("vit_flowers_int8.onnx", "int8 static")):
        texts = {entry.key: entry.value for entry in onnx.load(with_views / name).metadata_props}
        assert (texts["flowerml.tta"], texts["flowerml.precision"]) == ('"flip-scales"', f'"{precision}"')
        assert manifest(with_views)[name]["precision"] == precision


@pytest.mark.parametrize(("after", "warned"), [(60, False), (59, False), (30, True), (60 + 3, False)])
def test_an_int8_file_that_loses_accuracy_beyond_chance_gets_a_warning(after, warned):
    right = np.arange(64) < 60
    gain = paired_gain(right, np.arange(64) < after)
    assert [
        line.startswith("warning: x_int8.onnx is right less often") for line in int8_remarks("x_int8.onnx", gain)
    ] == ([True] if warned else [])


def test_an_int8_file_holds_int8_weights(all_formats):
    proto = onnx.load(all_formats / "cnn_flowers_int8.onnx")
    kinds = {one.data_type for one in proto.graph.initializer if len(one.dims) > 1}
    assert onnx.TensorProto.INT8 in kinds
    assert onnx.TensorProto.FLOAT not in {
        one.data_type for one in proto.graph.initializer if len(one.dims) == 4 and np.prod(one.dims) > 1000
    }


def test_metadata_say_what_the_weights_say_and_nothing_of_the_machine(all_formats, cnn_run):
    proto = onnx.load(all_formats / "cnn_flowers.onnx")
    texts = {entry.key: entry.value for entry in proto.metadata_props}
    checkpoint = load_checkpoint(cnn_run)
    assert texts == metadata_of(checkpoint, "fp32")
    assert json.loads(texts["flowerml.classes"]) == list(CLASSES)
    assert json.loads(texts["flowerml.input"])["size"] == SIZE
    calibration = json.loads(texts["flowerml.calibration"])
    assert np.array_equal(np.array(calibration["scores"], np.float32), checkpoint.calibration.scores)
    assert np.array_equal(np.array(calibration["energies"], np.float32), checkpoint.calibration.energies)
    assert np.float32(calibration["known_energy"]) == np.float32(checkpoint.calibration.known_energy)
    for name in FILES:
        data = (all_formats / name).read_bytes()
        assert b"site-packages" not in data
        assert b"/a/path/of/the/machine" not in data


def test_each_file_takes_any_number_of_pictures(all_formats, cnn_run):
    import onnxruntime
    import openvino

    inputs, logits = probe_of(cnn_run)
    session = onnxruntime.InferenceSession(all_formats / "cnn_flowers.onnx", providers=["CPUExecutionProvider"])
    assert session.get_inputs()[0].shape == ["batch", 3, SIZE, SIZE]
    compiled = openvino.Core().compile_model(
        all_formats / "cnn_flowers.xml", "CPU", {"INFERENCE_PRECISION_HINT": "f32"}
    )
    more = {"flowerml.classes": ""}
    program = torch.export.load(all_formats / "cnn_flowers.pt2", extra_files=more).module()
    assert json.loads(more["flowerml.classes"]) == list(CLASSES)
    for count in (1, 2, 7):
        part, wanted = inputs[:count], logits[:count]
        assert np.allclose(session.run(None, {"inputs": part})[0], wanted, atol=1e-4)
        assert np.allclose(compiled([part])[0], wanted, atol=1e-4)
        with torch.inference_mode():
            assert np.allclose(program(torch.from_numpy(part)).numpy(), wanted, atol=1e-4)


def test_exported_again_without_formats_they_stay_and_of_other_weights_they_go(all_formats, cnn_run, export, tmp_path):
    out = tmp_path / "out"
    shutil.copytree(all_formats, out)
    before = manifest(out)
    code, result, err = export("--checkpoint", cnn_run, "--output-dir", out)
    assert code == 0, err
    assert manifest(out) == before
    assert result["formats"] == {}
    (out / "cnn_flowers.bin").write_bytes(b"x")  # the .xml is nothing without
    with (out / "cnn_flowers.pt2").open("ab") as handle:
        handle.write(b"x")
    code, _, err = export("--checkpoint", cnn_run, "--output-dir", out)
    assert code == 0, err
    assert manifest(out).keys() == before.keys() - {"cnn_flowers.bin", "cnn_flowers.xml", "cnn_flowers.pt2"}
    assert "cnn_flowers.bin, cnn_flowers.pt2, cnn_flowers.xml of an earlier export is not of the weights" in err
    content = torch.load(cnn_run, weights_only=True)
    content["epoch"] = 2
    torch.save(content, tmp_path / "best.pth")
    assert export("--checkpoint", tmp_path / "best.pth", "--output-dir", out)[0] == 0
    assert manifest(out).keys() == {"cnn_flowers.pth", "flowers_classifier.py"}


def test_other_logits_than_the_probes_are_an_error(vit_run, export, tmp_path):
    shutil.copytree(vit_run.parent, tmp_path / "run")
    with np.load(vit_run.parent / "probe.npz") as probe:
        content = dict(probe)
    content["logits"][3, 2] += 1e-3
    np.savez(tmp_path / "run" / "probe.npz", **content)
    words = ("--checkpoint", tmp_path / "run" / "best.pth", "--output-dir", tmp_path / "out")
    code, result, err = export(*words, "--format", "torch-export", "--zip", tmp_path / "d.zip")
    assert code == 1
    assert result["archive"] is None
    assert "; vit_flowers.pt2: its logits differ by 1.0" in err
    (_, row) = result["formats"]["vit_flowers.pth"]
    assert row["problems"][0].endswith("from those of the run's probe.npz (allowed: 1e-04)")


def test_without_probe_and_photos_it_says_what_was_not_compared(vit_run, export, tmp_path):
    shutil.copy(vit_run, tmp_path / "best.pth")
    words = ("--checkpoint", tmp_path / "best.pth", "--output-dir", tmp_path / "out")
    code, result, err = export(*words, "--format", "onnx", "--int8")
    assert code == 0, err
    assert result["formats"]["vit_flowers.pth"][-1]["precision"] == "int8 dynamic"
    _, plain, int8 = result["formats"]["vit_flowers.pth"]
    assert plain["logit_difference"] is int8["logit_difference"] is int8["accuracy_change"] is None
    assert plain["remarks"] == ["the run left no probe.npz: its logits could not be compared"]
    assert any("its accuracy was not compared" in remark for remark in int8["remarks"])
    assert "not compared" in (tmp_path / "out" / CARD).read_text()
    code, result, err = export(*words, "--format", "onnx", "--int8", "static")
    assert (code, result) == (2, None)
    assert err.splitlines()[-1].startswith("error: --int8 static: 32 validation photos of the run of ")
    assert err.splitlines()[-1].endswith("of which 0 are at hand: name their folder with --train-dir, or take"
                                         " --int8 dynamic")  # fmt: skip


class Unexportable(torch.nn.Module):
    """A network whose way depends on its values, which no graph can hold."""

    tta = "none"

    def forward(self, inputs):
        return inputs.flatten(1)[:, :5] if inputs.sum() > 0 else inputs.flatten(1)[:, 5:10]


def test_a_model_that_cannot_be_exported_is_one_line_and_nothing_is_written(vit_run, export, tmp_path, monkeypatch):
    monkeypatch.setattr(conversion, "as_predictor", lambda *_: Unexportable())
    code, result, err = export("--checkpoint", vit_run, "--output-dir", tmp_path / "out", "--format", "torch-export")
    assert (code, result) == (2, None)
    assert err.splitlines()[-1].startswith("error: --format: timm:test_vit2 can't be exported (")
    assert not (tmp_path / "out").exists() or list((tmp_path / "out").iterdir()) == []


def test_weights_beyond_what_an_onnx_file_holds_are_refused_before_the_work(vit_run, export, tmp_path, monkeypatch):
    monkeypatch.setattr(conversion, "_ONNX_LIMIT", 1000)
    monkeypatch.setattr(conversion, "_exported", lambda *_: pytest.fail("exported before its size was checked"))
    for name in ("onnx", "openvino"):
        code, _, err = export("--checkpoint", vit_run, "--output-dir", tmp_path / "out", "--format", name)
        assert code == 2
        assert "and an .onnx file ends at 2 GiB: leave out --format onnx and openvino" in err.splitlines()[-1]


def test_views_are_refused_where_no_python_file_applies_them(vit_run, photos, export, tmp_path, monkeypatch):
    monkeypatch.setattr("flowerml.delivery.export.with_views", lambda *_: pytest.fail("photos were looked at before"))
    for name in ("openvino", "torch-export"):
        words = ("--checkpoint", vit_run, "--output-dir", tmp_path / "out", "--train-dir", photos, "--tta", "flip")
        code, _, err = export(*words, "--format", name)
        assert code == 2
        assert err.splitlines()[-1].startswith(f"error: --format {name}: the weights have the views flip, which are")
        assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ("--int8", "--int8 is a form of the ONNX file: give --format onnx with it, or leave it out"),
        ("--format openvino --int8 static", "--int8 is a form of the ONNX file: give --format onnx with it, …"),
        ("--format onx", "--format is 'onx'. Allowed: onnx, openvino, torch-export. Did you mean onnx?"),
        ("--format onnx,,", "--format is ''. Allowed: onnx, openvino, torch-export."),
        ("--format onnx --int8 fast", "argument --int8: invalid choice: 'fast' (choose from 'dynamic', 'static')…"),
        (
            "--format onnx --half",
            "--half is a form of the .pth, and --format writes fp32: export them …",
        ),
    ],
)
def test_wrong_input_is_one_line(vit_run, export, tmp_path, words, line):
    code, result, err = export("--checkpoint", vit_run, "--output-dir", tmp_path / "out", *words.split())
    assert (code, result, err.count("\n")) == (2, None, 1)
    assert err.startswith(f"error: {line.rstrip('…')}")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("wanted", "package"), [("onnx", "onnxruntime"), ("openvino", "openvino")])
def test_a_missing_package_is_named_with_its_extra(vit_run, export, tmp_path, monkeypatch, wanted, package):
    import importlib.util

    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name == package else real(name, *rest))
    code, _, err = export("--checkpoint", vit_run, "--output-dir", tmp_path / "out", "--format", wanted)
    assert (code, err) == (2, f'error: --format {wanted} needs {package}: pip install "flowerml[{wanted}]"\n')
