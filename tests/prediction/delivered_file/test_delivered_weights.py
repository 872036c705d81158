"""The single file's weights: loaded lean, strictly and without executing anything; what is wrong is refused with one
line.
"""

import ast
import pickle
import sys
import zipfile
from dataclasses import asdict
from hashlib import sha256
from pathlib import Path

import pytest
import torch

from flowerml.data.transforms import InputDescription
from flowerml.settings.families.model_catalog import Family
from flowerml.training.checkpoints.checkpoint import load_checkpoint
from tests.prediction.delivered import NAMES
from tests.prediction.single_file import load_single_file

fc = load_single_file()
BadWeights = fc.BadWeights


def refusal(load, path) -> str:
    with pytest.raises(BadWeights) as caught:
        load(path)
    message = str(caught.value)
    assert "\n" not in message
    assert str(path) in message
    assert isinstance(caught.value, ValueError)
    assert not isinstance(caught.value, fc.BadPicture)
    return message


def changed(source: Path, target: Path, change) -> Path:
    content = torch.load(source, weights_only=True)
    change(content)
    torch.save(content, target)
    return target


@pytest.mark.parametrize("family", NAMES)
def test_a_file_in_half_precision_runs_in_fp32(files, tmp_path, family):
    def halve(content):
        content["state_dict"] = {
            key: t.half() if t.is_floating_point() else t for key, t in content["state_dict"].items()
        }

    half = fc.load_model(changed(files[family], tmp_path / "half.pth", halve))
    whole = fc.load_model(files[family])
    assert {parameter.dtype for parameter in half.parameters()} == {torch.float32}
    assert all(torch.equal(own, whole.state_dict()[key].half().float()) for key, own in half.state_dict().items())
    inputs = torch.randn(2, 3, 64, 64)
    with torch.inference_mode():
        assert torch.allclose(half(inputs).softmax(1), whole(inputs).softmax(1), atol=0.02)


def test_the_two_loaders_take_their_own_family_only(files):
    assert fc.load_cnn_model(files["cnn"]).family == "cnn"
    assert fc.load_vit_model(files["vit"]).family == "vit"
    assert "load_vit_model" in refusal(fc.load_cnn_model, files["vit"])
    assert "load_cnn_model" in refusal(fc.load_vit_model, files["cnn"])


def test_a_digest_is_checked_before_anything_is_read(files, tmp_path, monkeypatch):
    path = tmp_path / "cnn_flowers.pth"
    path.write_bytes(files["cnn"].read_bytes())
    monkeypatch.setattr(fc, "SHA256", {"cnn_flowers.pth": sha256(path.read_bytes()).hexdigest()})
    assert fc.load_cnn_model(path).family == "cnn"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    monkeypatch.setattr(torch, "load", lambda *_, **__: pytest.fail("read before its digest was checked"))
    monkeypatch.setattr(zipfile, "ZipFile", lambda *_, **__: pytest.fail("opened before its digest was checked"))
    assert "sha256" in refusal(fc.load_cnn_model, path)
    monkeypatch.undo()
    assert fc.load_vit_model(files["vit"]).family == "vit", "a name without an entry loads without"


def test_export_finds_the_line_to_fill_in():
    source = Path(fc.__file__).read_text()
    assert source.splitlines().count("SHA256: dict[str, str] = {}") == 1


class _Trap:
    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self):
        return (Path.touch, (self.mark,))


@pytest.mark.parametrize("how", ["torch", "torch, right format", "torch, old format", "pickle"])
def test_an_evil_pickle_is_refused_and_not_executed(tmp_path, how, monkeypatch):
    path, mark = tmp_path / "cnn_flowers.pth", tmp_path / "executed"
    if how == "pickle":
        path.write_bytes(pickle.dumps(_Trap(mark), protocol=2))
    else:
        content = {"format": fc.FORMAT, "state_dict": _Trap(mark)} if "right" in how else _Trap(mark)
        torch.save(content, path, _use_new_zipfile_serialization="old" not in how)
    for loading in (fc.load_cnn_model, fc.load_vit_model, fc.load_model):
        assert "refused" in refusal(loading, path) or "can't be read" in refusal(loading, path)
        assert not mark.exists()
    monkeypatch.setattr(fc, "SHA256", {"cnn_flowers.pth": sha256(path.read_bytes()).hexdigest()})
    refusal(fc.load_model, path)
    assert not mark.exists()
    with zipfile.ZipFile(path) if how.startswith("torch") and "old" not in how else path.open("rb"):
        torch.load(path, weights_only=False) if how != "pickle" else pickle.loads(path.read_bytes())
    assert mark.exists(), "the trap works"


def _state(key, value):
    return lambda content: content["state_dict"].update({key: value})


BAD = {
    "head key missing": (lambda content: content["state_dict"].pop("head.bias"), "head.bias"),
    "backbone key missing": (
        lambda content: content["state_dict"].pop("backbone.stem.0.weight"),
        "backbone.stem.0.weight",
    ),
    "key too many": (_state("backbone.more", torch.zeros(2)), "backbone.more"),
    "compiled name": (
        lambda c: c["state_dict"].update({"_orig_mod.head.bias": c["state_dict"].pop("head.bias")}),
        "_orig_mod.head.bias",
    ),
    "other shape": (_state("head.weight", torch.zeros(5, 7)), r"(5, 7)"),
    "other numbers": (_state("head.weight", torch.zeros(5, 320, dtype=torch.int8)), "int8"),
    "sparse": (_state("head.bias", torch.zeros(5).to_sparse()), "plain tensors"),
    "no tensor": (_state("head.bias", [0.0] * 5), "plain tensors"),
    "a class too many": (lambda content: content["classes"].append("lily"), "6 classes"),
    "a class too few": (lambda content: content["classes"].pop(), "4 classes"),
    "another head": (
        lambda c: c["state_dict"].update({"head.bias": torch.zeros(3), "head.weight": torch.zeros(3, 320)}),
        "gives 3",
    ),
    "no classes": (lambda content: content.pop("classes"), "class names"),
    "other format": (lambda content: content.update(format="flowerml-checkpoint-9"), fc.FORMAT),
    "no format": (lambda content: content.pop("format"), "not written by flowerml"),
    "no model": (lambda content: content.pop("model"), "which model"),
    "third family": (lambda content: content.update(family="relation"), "relation"),
    "no mean": (lambda content: content["input"].pop("mean"), "input"),
    "std of zero": (lambda content: content["input"].update(std=[0.5, 0.0, 0.5]), "input"),
    "unknown network": (lambda content: content["model"].update(architecture="convnextv2_atom"), "convnextv2_atom"),
    "a hub's network": (lambda content: content["model"].update(architecture="hf-hub:timm/resnet18.a1_in1k"), "hf-hub"),
    "a hub's tower": (
        lambda c: c["model"].update(library="open_clip", architecture="hf-hub:laion/CLIP-ViT-B-32"),
        "hf-hub",
    ),
    "unknown weights": (lambda content: content["model"].update(hub="nobody_s"), "convnextv2_atto"),
    "unknown library": (lambda content: content["model"].update(library="keras"), "keras"),
    "another network": (lambda content: content["model"].update(architecture="convnextv2_femto"), "convnextv2_atto"),
}


@pytest.mark.slow
@pytest.mark.parametrize(("change", "word"), BAD.values(), ids=BAD)
def test_a_file_that_does_not_fit_is_one_line_that_says_why(files, tmp_path, change, word):
    assert word in refusal(fc.load_model, changed(files["cnn"], tmp_path / "changed.pth", change))


@pytest.mark.parametrize(
    "content", [None, b"", b"<!doctype html><html></html>", b"PK\x03\x04 nothing", "half", "flipped", "packed"]
)
def test_missing_damaged_and_repacked_files_are_one_line(files, tmp_path, content):
    path = tmp_path / "other.pth"
    data = files["cnn"].read_bytes()
    if content == "packed":
        with zipfile.ZipFile(files["cnn"]) as source, zipfile.ZipFile(path, "w") as target:
            for part in source.namelist():
                # Only the first weights: torch would take the packed bytes, mapped as they stand, for numbers.
                target.writestr(
                    part, source.read(part), zipfile.ZIP_DEFLATED if part.endswith("/data/0") else zipfile.ZIP_STORED
                )
    elif content is not None:
        flipped = data[: len(data) // 2] + bytes([data[len(data) // 2] ^ 1]) + data[len(data) // 2 + 1 :]
        path.write_bytes({"half": data[: len(data) // 2], "flipped": flipped}.get(content, content))
    refusal(fc.load_model, path)
    refusal(fc.load_model, tmp_path)


@pytest.mark.parametrize(
    "thing",
    [torch.nn.Linear(2, 2).state_dict(), [1, 2], torch.zeros(2), "text"],
    ids=lambda thing: type(thing).__name__,
)
def test_what_flowerml_did_not_write_is_called_so(tmp_path, thing):
    torch.save(thing, tmp_path / "w.pth")
    assert "not written by flowerml" in refusal(fc.load_model, tmp_path / "w.pth")


def test_weights_that_give_no_numbers_name_no_flower(files, tmp_path):
    model = fc.load_model(
        changed(files["cnn"], tmp_path / "nan.pth", _state("head.bias", torch.full((5,), float("nan"))))
    )
    with pytest.raises(BadWeights, match="no number"):
        fc.predict(model, fc.Image.new("RGB", (9, 9)))


def test_the_file_imports_nothing_but_what_the_delivery_allows():
    """At the top nothing that only one of the two models needs; nowhere flowerml or MLflow."""
    tree = ast.parse(Path(fc.__file__).read_text())
    names = {id(node): [alias.name for alias in node.names] for node in ast.walk(tree) if isinstance(node, ast.Import)}
    names |= {id(node): [node.module or ""] for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    outside = (
        {name.split(".")[0] for found in names.values() for name in found} - sys.stdlib_module_names - {"__future__"}
    )
    assert outside == {"torch", "timm", "open_clip", "PIL", "numpy", "pillow_heif"}
    top = {name for node in tree.body for name in names.get(id(node), ())}
    assert not {"timm", "open_clip", "pillow_heif"} & top


def test_the_description_and_the_family_are_those_of_the_file(files):
    model = fc.load_cnn_model(files["cnn"])
    assert InputDescription(**asdict(model.description)) == load_checkpoint(files["cnn"]).description
    assert Family(model.family) is Family.CNN
