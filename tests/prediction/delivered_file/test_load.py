"""`load_cnn_model`, `load_vit_model`, `predict`: the delivery contract's three names, on files of the checkpoint's
format.
"""

import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import flowerml
import flowerml.prediction
from flowerml import load_cnn_model, load_vit_model, predict, predict_proba
from flowerml.data.transforms import EvaluationTransform, InputDescription
from flowerml.errors import UserError
from flowerml.models import build
from flowerml.prediction import load_predictor
from flowerml.settings import find_model
from flowerml.training.checkpoints.checkpoint import Checkpoint, load_checkpoint, save_checkpoint

CLASSES = ("daisy", "dandelion", "rose", "sunflower")
DESCRIPTION = InputDescription(64, (0.1, 0.2, 0.3), (0.5, 0.6, 0.7), "bilinear", 0.5)  # unlike any model's own
NAMES = {"cnn": "convnextv2_atto", "vit": "clip_vits32"}
LOADERS = {"cnn": load_cnn_model, "vit": load_vit_model}


def save(path: Path, name: str):
    """A model whose head is large, so that pictures are told apart; returns it in evaluation mode."""
    torch.manual_seed(5)
    model = build(find_model(name), len(CLASSES), img_size=64, dropout=0.5).model
    torch.nn.init.normal_(model.head.weight, std=1.0)
    save_checkpoint(
        path, Checkpoint(model.state_dict(), find_model(name), CLASSES, DESCRIPTION, 2, {}, {"model": name}, None)
    )
    return model.eval()


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("checkpoints")
    paths = {family: folder / f"{family}.pth" for family in NAMES}
    for family, name in NAMES.items():
        save(paths[family], name)
    return paths


@pytest.fixture(scope="module")
def pictures(tmp_path_factory) -> list[Path]:
    folder = tmp_path_factory.mktemp("pictures")
    draw = np.random.default_rng(0)
    paths = []
    for number in range(12):
        shape = [(90, 120), (120, 90), (64, 64)][number % 3]
        coarse = Image.fromarray(draw.integers(0, 256, (4, 4, 3), dtype=np.uint8)).resize(
            shape, Image.Resampling.BICUBIC
        )
        paths.append(folder / f"{number}.jpg")
        coarse.save(paths[-1])
    return paths


def refusal(load, path) -> str:
    with pytest.raises(UserError) as caught:
        load(path)
    message = str(caught.value)
    assert "\n" not in message
    assert str(path) in message
    return message


@pytest.mark.slow
@pytest.mark.parametrize("family", ["cnn", "vit"])
def test_predict_gives_the_classifiers_own_argmax(tmp_path, pictures, family):
    model = save(tmp_path / "best.pth", NAMES[family])
    predictor = LOADERS[family](tmp_path / "best.pth")
    transform = EvaluationTransform(DESCRIPTION)
    answers = []
    for path in pictures:
        with torch.no_grad():
            logits = model(transform(Image.open(path).convert("RGB")).unsqueeze(0))[0]
        answers.append(predict(predictor, path))
        assert answers[-1] == CLASSES[int(logits.argmax())]
        shares = predict_proba(predictor, path)
        assert shares.shape == (1, len(CLASSES))
        assert shares[0] == pytest.approx(logits.softmax(0).numpy(), abs=1e-6)
    assert len(set(answers)) > 1  # the pictures do not all get one answer


def test_the_description_in_the_file_decides_what_the_model_sees(files, pictures):
    predictor = load_cnn_model(files["cnn"])
    assert asdict(predictor.description) == asdict(DESCRIPTION)
    assert predictor.classes == CLASSES


@pytest.mark.parametrize("family", ["cnn", "vit"])
def test_a_loaded_model_holds_the_files_weights_in_fp32_and_evaluation_mode_on_the_cpu(files, family):
    predictor = LOADERS[family](str(files[family]))
    stored = load_checkpoint(files[family]).state_dict
    own = predictor.state_dict()
    assert own.keys() == stored.keys()
    assert all(torch.equal(own[name], tensor) for name, tensor in stored.items())
    assert not any(part.training for part in predictor.modules())
    assert {(p.dtype, p.device.type) for p in predictor.parameters()} == {(torch.float32, "cpu")}


@pytest.mark.parametrize(("family", "other"), [("cnn", "vit"), ("vit", "cnn")])
def test_a_file_of_the_other_family_is_refused_and_the_right_loader_named(files, family, other):
    message = refusal(LOADERS[family], files[other])
    assert f"load_{other}_model" in message
    assert family in message


MISFITS = pytest.mark.parametrize(
    ("change", "key"),
    [
        (lambda state: state.pop("head.bias"), "head.bias"),
        (lambda state: state.pop("backbone.stem.0.weight"), "backbone.stem.0.weight"),
        (lambda state: state.update({"backbone.extra.weight": torch.zeros(2)}), "backbone.extra.weight"),
        (lambda state: state.update({"head.weight": torch.zeros(4, 7)}), "head.weight"),
        (lambda state: state.update({"_orig_mod.backbone.stem.0.weight": torch.zeros(2)}), "stem.0.weight"),
    ],
    ids=["head key missing", "backbone key missing", "key too many", "other shape", "compiled name"],
)


def misfit(files, tmp_path, change) -> Path:
    content = torch.load(files["cnn"], weights_only=True)
    change(content["state_dict"])
    torch.save(content, tmp_path / "changed.pth")
    return tmp_path / "changed.pth"


@MISFITS
def test_keys_must_match_strictly(files, tmp_path, change, key):
    assert "convnextv2_atto" in refusal(load_cnn_model, misfit(files, tmp_path, change))


@MISFITS
def test_the_key_that_does_not_fit_is_named(files, tmp_path, change, key):
    assert key in refusal(load_cnn_model, misfit(files, tmp_path, change))


def test_a_file_whose_class_names_do_not_fit_its_head_is_refused(files, tmp_path):
    stored = load_checkpoint(files["cnn"])
    save_checkpoint(tmp_path / "best.pth", replace(stored, classes=(*CLASSES, "tulip")))
    refusal(load_cnn_model, tmp_path / "best.pth")


@pytest.mark.parametrize("content", [None, b"", b"<!doctype html><html></html>", b"PK\x03\x04 nothing"])
@pytest.mark.parametrize("load", [load_cnn_model, load_vit_model, load_predictor])
def test_missing_damaged_and_foreign_files_are_one_line(tmp_path, content, load):
    path = tmp_path / "flowers.pth"
    if content is not None:
        path.write_bytes(content)
    refusal(load, path)


def test_bare_weights_are_refused_with_where_they_belong(tmp_path):
    torch.save(torch.nn.Linear(2, 2).state_dict(), tmp_path / "weights.pth")
    assert "--weights" in refusal(load_predictor, tmp_path / "weights.pth")
    assert "not written by flowerml" in refusal(load_cnn_model, tmp_path / "weights.pth")


@pytest.mark.slow
@pytest.mark.parametrize("content", [None, b"", b"<!doctype html><html></html>", b"\x89PNG\r\n\x1a\n half"])
def test_a_file_that_is_no_picture_is_one_line_with_its_path(files, tmp_path, content):
    predictor, path = load_cnn_model(files["cnn"]), tmp_path / "picture.jpg"
    if content is not None:
        path.write_bytes(content)
    refusal(lambda shown: predict(predictor, shown), path)


def test_pictures_of_every_mode_and_turned_by_exif_are_read_as_training_reads_them(files, tmp_path, pictures):
    """A grey copy, a palette copy and a copy stored sideways with the EXIF mark that turns it back."""
    predictor = load_cnn_model(files["cnn"])
    upright = Image.open(pictures[0]).convert("RGB")
    exif = Image.Exif()
    exif[0x0112] = 6
    upright.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "turned.png", exif=exif)
    assert predict(predictor, tmp_path / "turned.png") == predict(predictor, pictures[0])
    upright.convert("L").save(tmp_path / "grey.png")
    upright.convert("P").save(tmp_path / "palette.png")
    assert predict(predictor, tmp_path / "grey.png") in CLASSES
    assert predict(predictor, str(tmp_path / "palette.png")) in CLASSES


def test_two_loads_agree_and_loading_draws_no_weights_into_the_answer(files, pictures):
    image = Image.open(pictures[3]).convert("RGB")
    answers = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        answers.append(predict_proba(load_vit_model(files["vit"]), image))
        assert torch.initial_seed() == seed
        assert torch.rand(1) == torch.rand(1, generator=torch.Generator().manual_seed(seed)), "loading draws nothing"
    assert np.array_equal(*answers)


def test_the_package_offers_the_names_of_the_contract_as_functions():
    for name in ("load_cnn_model", "load_vit_model", "predict", "predict_proba"):
        assert getattr(flowerml, name) is getattr(flowerml.prediction, name)
        assert callable(getattr(flowerml, name))
        assert name in flowerml.__all__
    assert not hasattr(flowerml, "no_such_name")


def in_fresh_python(code: str) -> list[str]:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.split()


@pytest.mark.slow
def test_predicting_imports_neither_mlflow_nor_optuna_and_the_names_stay_functions_after_it():
    code = """
import sys
import flowerml
print("torch" in sys.modules)
import flowerml.prediction
from flowerml import load_cnn_model, load_vit_model, predict
functions = (load_cnn_model, load_vit_model, predict)
print(all(type(f).__name__ == "function" for f in functions), callable(flowerml.predict))
print(sorted(name for name in ("mlflow", "optuna") if name in sys.modules))
"""
    assert in_fresh_python(code) == ["False", "True", "True", "[]"]
