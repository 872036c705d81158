"""Features of whole images: computed once, kept by the image's content, and keyed by model and preprocessing."""

import shutil
from dataclasses import replace

import pytest
import torch

from flowerml.data.transforms import EvaluationTransform
from flowerml.settings import find_model, resolve
from flowerml.tasks import backbone_features
from flowerml.tasks.flowers import FlowersTask
from flowerml.tasks.image_features import ImageFeatures

MODEL = "timm:test_convnext2"
CPU = torch.device("cpu")


@pytest.fixture
def folder(flowers, tmp_path, monkeypatch):
    """A copy of the pictures, and a cache of its own."""
    monkeypatch.setenv("FLOWERML_CACHE_DIR", str(tmp_path / "cache"))
    return shutil.copytree(flowers, tmp_path / "pictures")


def make_features(folder, *, start=0, **given):
    """The examples, their features, and how many images went through the backbone for them."""
    values = {"model": MODEL, "weights": "none", "img_size": 32, "probe": True, "train_dir": str(folder), **given}
    settings, _ = resolve(values)
    task = FlowersTask()
    data = task.prepare(settings)
    torch.manual_seed(start)
    built = task.build(find_model(MODEL), settings, data.classes)
    seen = []
    built.model.backbone.register_forward_hook(lambda _module, inputs, _output: seen.append(len(inputs[0])))
    features = ImageFeatures(built, find_model(MODEL), EvaluationTransform(built.description), CPU, 0)
    return [*data.train, *data.val], features, features([*data.train, *data.val]), seen


def test_computed_once_and_equal_to_the_backbones(folder):
    examples, features, first, seen = make_features(folder)
    assert sum(seen) == len(examples)
    assert torch.equal(features(examples[:3]), first[:3])
    built = features._built
    with torch.inference_mode():
        images = torch.stack([EvaluationTransform(built.description)(example.read()) for example in examples])
        assert torch.allclose(built.model.eval().extract_features(images), first, atol=1e-5)
    _, _, second, seen = make_features(folder, split_seed=5, lr_head=0.1)
    assert sum(seen) == 0
    assert sorted(map(tuple, second.tolist())) == sorted(map(tuple, first.tolist()))


def test_only_a_changed_picture_is_computed_again(folder, capsys):
    make_features(folder)
    changed, other = sorted(folder.glob("daisy/*"))[:2]
    changed.write_bytes(other.read_bytes() + b"\0")  # the same pixels in a file of another content
    capsys.readouterr()
    examples, _, _, seen = make_features(folder, duplicates="keep")
    assert sum(seen) == 1
    assert f"1 pictures are computed ({len(examples) - 1} are there from before)" in capsys.readouterr().err


def test_damaged_features_are_computed_again(folder):
    examples, features, first, _ = make_features(folder)
    (file,) = features.folder.glob("*.npz")
    file.write_bytes(file.read_bytes()[:-100])
    _, _, again, seen = make_features(folder)
    assert sum(seen) == len(examples)
    assert torch.equal(again, first)


@pytest.mark.parametrize("change", [{"start": 1}, {"mean": "0.1,0.2,0.3"}, {"img_size": 48}])
def test_other_weights_or_input_descriptions_have_features_of_their_own(folder, change):
    _, features, _, _ = make_features(folder)
    examples, others, _, seen = make_features(folder, **change)
    assert others.folder != features.folder
    assert sum(seen) == len(examples)


def test_features_in_another_precision_are_kept_apart(folder):
    examples, features, first, seen = make_features(folder)
    transform, spec = EvaluationTransform(features._built.description), find_model(MODEL)
    in_bf16 = ImageFeatures(features._built, spec, transform, CPU, 0, dtype=torch.bfloat16)
    assert in_bf16.folder != features.folder
    rounded = in_bf16(examples)
    assert sum(seen) == 2 * len(examples)
    assert rounded.dtype == torch.float32
    assert torch.allclose(rounded, first, atol=0.05)
    assert not torch.allclose(rounded, first, atol=1e-5)


def test_an_interrupted_pass_keeps_what_it_has_computed(folder, monkeypatch):
    monkeypatch.setattr(backbone_features, "_BATCH_SIZE", 16)
    examples, features, _, _ = make_features(folder)
    shutil.rmtree(features.folder)
    features._rows.clear()

    def interrupt():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        features([*examples[:40], replace(examples[40], read=interrupt), *examples[41:]])
    _, _, _, seen = make_features(folder)
    assert sum(seen) == len(examples) - 32
