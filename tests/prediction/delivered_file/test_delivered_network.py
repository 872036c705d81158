"""The network that the single file builds for given weights: that of training, without random numbers."""

from dataclasses import asdict

import pytest
import torch

from flowerml.models import build_for_weights
from flowerml.prediction import as_predictor
from flowerml.settings.families.model_catalog import Family, find_model, known_models
from flowerml.training.checkpoints.checkpoint import load_checkpoint
from tests.prediction.delivered import CLASSES, NAMES, deliver
from tests.prediction.single_file import load_single_file

fc = load_single_file()


SMALL = (
    "convnextv2_atto",
    "convnextv2_femto",
    "convnextv2_pico",
    "clip_vits16",
    "clip_vits32",
    "timm:test_resnet",
    "timm:test_vit",
)


WITH_TABLES = (
    "timm:test_vit_relpos",
    "timm:test_maxvit",
    "openclip:RN50",
)  # the first two keep values outside their weights


@pytest.mark.slow
@pytest.mark.parametrize("name", [*SMALL, *WITH_TABLES])
def test_a_model_answers_as_the_one_that_was_trained_bit_for_bit(tmp_path, name):
    size = {"timm:test_vit": 96, "timm:test_maxvit": 160, "openclip:RN50": 64, "timm:test_vit_relpos": 160}.get(
        name, 64
    )
    trained = deliver(tmp_path / "best.pth", name, size)
    inputs = torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        wanted = trained(inputs)
        assert torch.equal(fc.load_model(tmp_path / "best.pth")(inputs), wanted)
        package = as_predictor(load_checkpoint(tmp_path / "best.pth"), "cpu", "best.pth")
        assert torch.equal(package(inputs), wanted)
    assert package.family == fc.load_model(tmp_path / "best.pth").family


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in known_models() if find_model(name).family is not Family.RELATION])
def test_no_catalogue_model_keeps_values_outside_its_weights(name):
    """So each of them, the large ones too, is built once and without memory."""
    spec = find_model(name)
    with torch.device("meta"):
        backbone, features = fc.make_backbone(asdict(spec), spec.img_size)
        head = torch.nn.Linear(features, 2)
    module = fc.FlowersClassifier(
        backbone, head, ("a", "b"), spec.family, fc.Input(spec.img_size, (0.5,) * 3, (0.5,) * 3, "bicubic", 1.0)
    )
    state = {key: torch.empty(1, dtype=own.dtype).expand(own.shape) for key, own in module.state_dict().items()}
    module.load_state_dict(state, strict=True, assign=True)
    assert not fc._has_meta_tensors(module)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [*known_models(), "openclip:ViT-B-32/openai", "openclip:ViT-B-32-quickgelu/own", "timm:vit_small_patch16_224.dino"],
)
def test_every_network_is_layer_for_layer_that_of_training(name):
    """What weights can't show: activations (QuickGELU, where the weights or the name ask for it), norms, pooling."""
    spec = find_model(name)
    with torch.device("meta"):
        delivered, features = fc.make_backbone(asdict(spec), spec.img_size)
        trained = build_for_weights(spec, 2, img_size=spec.img_size)
    assert repr(delivered) == repr(trained.backbone)
    assert features == trained.head.in_features
    assert ("QuickGELU" in repr(delivered)) == (spec.hub == "openai" or "quickgelu" in spec.architecture)


@pytest.mark.parametrize("family", NAMES)
def test_nothing_is_drawn_and_nothing_is_built_twice_before_the_weights_land(files, family, monkeypatch):
    monkeypatch.setattr(fc, "_build_on_cpu", lambda *_: pytest.fail("built with memory"))
    monkeypatch.setattr(
        torch.Tensor, "normal_", lambda self, *_, **__: self if self.is_meta else pytest.fail("random numbers drawn")
    )
    torch.manual_seed(3)
    model = fc.load_model(files[family])
    assert torch.equal(torch.rand(2), torch.rand(2, generator=torch.Generator().manual_seed(3)))
    assert model.family == family
    assert model.classes == CLASSES
    assert not any(part.training for part in model.modules())
    stored = torch.load(files[family], weights_only=True)["state_dict"]
    assert stored.keys() == model.state_dict().keys()
    assert all(torch.equal(own, stored[key]) for key, own in model.state_dict().items())


def test_a_model_with_tables_is_built_for_real_without_drawing_the_callers_numbers(tmp_path):
    deliver(tmp_path / "best.pth", "timm:test_vit_relpos", 160)
    torch.manual_seed(3)
    fc.load_model(tmp_path / "best.pth")
    assert torch.equal(torch.rand(2), torch.rand(2, generator=torch.Generator().manual_seed(3)))
