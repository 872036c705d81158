"""`flowers_classifier_onnx.py`: the torch file's answers without torch, and a refusal of files that are not whole."""

import ast
import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from PIL import Image

from flowerml.data.transforms import EvaluationTransform, InputDescription
from flowerml.prediction import load_predictor, predict, predict_proba, predict_set
from flowerml.prediction.delivered import single_file_onnx
from tests.data.pictures import put_scene
from tests.prediction.delivered import odd_pictures
from tests.prediction.single_file import load_single_file

pytestmark = pytest.mark.slow

torch_file = load_single_file()
WITHOUT_TORCH = """
import json, sys
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "torchvision", "timm", "open_clip", "flowerml", "onnx", "mlflow"):
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Blocker())
import flowers_classifier_onnx as fc
file, *photos = sys.argv[1:]
model = fc.load_model(file)
answers = {
    "labels": fc.predict(model, photos), "one": fc.predict(model, photos[0]),
    "shares": fc.predict_proba(model, photos).tolist(),
    "raw": fc.predict_proba(model, photos, calibrated=False).tolist(),
    "sets": fc.predict_set(model, photos, 0.8), "unknown": fc.predict(model, photos, unknown=True), "tta": model.tta,
}
print(json.dumps(answers))
"""


@pytest.fixture(scope="module")
def fc(all_formats):
    """The delivered file, as a module."""
    spec = importlib.util.spec_from_file_location("flowers_classifier_onnx", all_formats / "flowers_classifier_onnx.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


def answers_without_torch(folder, name, photos, cwd):
    environment = {"PYTHONPATH": str(folder), "PATH": "/usr/bin:/bin", "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-c", WITHOUT_TORCH, name, *map(str, photos)]
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout)


@pytest.mark.parametrize(
    ("delivery", "family"),
    [("all_formats", "cnn"), pytest.param("with_views", "vit", marks=pytest.mark.slow)],  # a conversion takes 15 s
)
def test_its_answers_are_those_of_the_torch_file_in_a_process_without_torch(request, delivery, family, tmp_path):
    """With the views flip-scales in the second. The photos are others than those whose energies are the limit."""
    folder = request.getfixturevalue(delivery)
    files = [put_scene(tmp_path / f"{number:02}.jpg", 9000 + number) for number in range(60)]
    found = answers_without_torch(folder, f"{family}_flowers.onnx", files, tmp_path)
    model = torch_file.load_model(folder / f"{family}_flowers.pth")
    assert found["tta"] == model.tta == ("none" if family == "cnn" else "flip-scales")
    assert found["labels"] == torch_file.predict(model, files)
    assert found["one"] == found["labels"][0]
    assert len(set(found["labels"])) > 1
    assert np.allclose(found["shares"], torch_file.predict_proba(model, files), atol=1e-5)
    assert np.allclose(found["raw"], torch_file.predict_proba(model, files, calibrated=False), atol=1e-5)
    assert found["sets"] == torch_file.predict_set(model, files, 0.8)
    assert found["unknown"] == torch_file.predict(model, files, unknown=True)
    assert "unknown" in found["unknown"]


def test_it_is_the_packages_own_answer_too(all_formats, fc, photos):
    files = sorted(photos.rglob("*.jpg"))[::3]
    package, model = load_predictor(all_formats / "cnn_flowers.pth"), fc.load_cnn_model()
    assert fc.predict(model, files) == predict(package, files)
    assert np.allclose(fc.predict_proba(model, files), predict_proba(package, files), atol=1e-5)
    assert fc.predict_set(model, files[0]) == predict_set(package, files[0])


def test_every_picture_gives_the_input_of_evaluation_bit_for_bit(fc):
    """Odd files, odd shapes: resized, cropped and normalised on NumPy as training does with torch."""
    usable = []
    for data in odd_pictures().values():
        try:
            usable.append(fc.read_picture(data))
        except fc.BadPicture:
            continue
    assert len(usable) > 30
    draw = np.random.default_rng(1)
    for width, height in draw.integers(1, 150, (60, 2)):
        usable.append(Image.fromarray(draw.integers(0, 256, (height, width, 3), dtype=np.uint8)))
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    for size, interpolation, crop in ((32, "bicubic", 0.875), (33, "bilinear", 0.95), (64, "bicubic", 1.0)):
        description = InputDescription(size, mean, std, interpolation, crop)
        transform = EvaluationTransform(description)
        for picture in usable:
            found = fc.to_array(picture, fc.Input(size, mean, std, interpolation, crop))
            assert found.dtype == np.float32
            assert np.array_equal(found, transform(picture).numpy())


def test_it_has_the_names_of_the_torch_file_and_imports_neither_torch_nor_flowerml(fc):
    source = Path(fc.__file__).read_text()
    nodes = list(ast.walk(ast.parse(source)))
    imported = {alias.name.partition(".")[0] for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    imported |= {(node.module or "").partition(".")[0] for node in nodes if isinstance(node, ast.ImportFrom)}
    assert imported - sys.stdlib_module_names - {"__future__"} == {"PIL", "numpy", "onnxruntime", "pillow_heif"}
    for name in ("predict", "predict_proba", "predict_set"):
        ours, theirs = getattr(fc, name), getattr(torch_file, name)
        assert (ours.__defaults__, ours.__kwdefaults__) == (theirs.__defaults__, theirs.__kwdefaults__)
        assert (
            ours.__code__.co_varnames[: ours.__code__.co_argcount]
            == (theirs.__code__.co_varnames[: theirs.__code__.co_argcount])
        )
    assert set(fc.__all__) - {"OnnxClassifier"} == set(torch_file.__all__) - {"FlowersClassifier", "build_model"}
    assert single_file_onnx({}).count("SHA256: dict[str, str] = {}\n") == 1


def test_a_picture_that_cannot_be_used_is_one_line(fc, tmp_path):
    model = fc.load_model("cnn_flowers.onnx")
    (tmp_path / "x.jpg").write_bytes(b"no picture")
    with pytest.raises(fc.BadPicture, match=r"x\.jpg: not a picture in JPEG"):
        fc.predict(model, [Image.new("RGB", (9, 9)), tmp_path / "x.jpg"])


def refusal(fc, load, path):
    with pytest.raises(fc.BadWeights) as caught:
        load(path)
    assert "\n" not in str(caught.value)
    assert isinstance(caught.value, ValueError)
    return str(caught.value)


def test_a_file_that_was_changed_is_refused_by_its_name_and_one_of_the_other_family(fc, all_formats, tmp_path):
    data = bytearray((all_formats / "cnn_flowers.onnx").read_bytes())
    data[len(data) // 2] ^= 1
    (tmp_path / "cnn_flowers.onnx").write_bytes(data)
    assert "its sha256 is another one" in refusal(fc, fc.load_model, tmp_path / "cnn_flowers.onnx")
    assert "load it with load_cnn_model" in refusal(fc, fc.load_vit_model, "cnn_flowers.onnx")
    assert "no such file" in refusal(fc, fc.load_model, tmp_path / "none.onnx")


def test_what_is_no_such_file_is_called_so(fc, all_formats, tmp_path):
    (tmp_path / "text.onnx").write_bytes(b"no model")
    assert "can't be read" in refusal(fc, fc.load_model, tmp_path / "text.onnx")

    def changed(name, key=None, value=None):
        proto = onnx.load(all_formats / "cnn_flowers.onnx")
        kept = {entry.key: entry.value for entry in proto.metadata_props if key is not None}
        del proto.metadata_props[:]
        for own, text in (kept | ({key: value} if key else {})).items():
            entry = proto.metadata_props.add()
            entry.key, entry.value = own, text
        onnx.save(proto, tmp_path / name)
        return tmp_path / name

    assert "not written by flowerml (flowerml-onnx-1)" in refusal(fc, fc.load_model, changed("plain.onnx"))
    for key, value in (
        ("classes", "[]"), ("classes", "{"), ("family", '"rose"'), ("tta", '"all"'), ("input", '{"size": -1}'),
        ("calibration", '{"temperature": 0, "scores": [1.0]}'), ("calibration", '{"scores": [1]}'),
        ("calibration", '{"temperature": 1.0, "scores": [2.0, 1.0]}'), ("calibration", "[]"),
    ):  # fmt: skip
        path = changed("odd.onnx", f"flowerml.{key}", value)
        assert "its metadata can't be used" in refusal(fc, fc.load_model, path), (key, value)


def test_a_file_without_a_calibration_gives_the_softmax_and_no_sets(fc, all_formats, tmp_path):
    proto = onnx.load(all_formats / "cnn_flowers.onnx")
    for entry in list(proto.metadata_props):
        if entry.key == "flowerml.calibration":
            proto.metadata_props.remove(entry)
    onnx.save(proto, tmp_path / "plain.onnx")
    model, picture = fc.load_model(tmp_path / "plain.onnx"), Image.new("RGB", (70, 70), "red")
    wanted = fc.predict_proba(fc.load_model("cnn_flowers.onnx"), picture, calibrated=False)
    assert np.array_equal(fc.predict_proba(model, picture), wanted)
    with pytest.raises(ValueError, match="predict_set needs a calibration"):
        fc.predict_set(model, picture)
    with pytest.raises(ValueError, match="unknown pictures can't be told"):
        fc.predict(model, picture, unknown=True)
