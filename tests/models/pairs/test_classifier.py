"""The pair classifier: parameter counts, shapes, cached features, and logits as cosine over temperature."""

import pytest
import torch

from flowerml.models.builders import set_channels_last
from flowerml.models.layer_groups import lr_multipliers
from flowerml.models.pairs.classifier import PairHead, build_pair_classifier
from flowerml.models.resources.cost import multiply_adds
from flowerml.settings import find_model
from flowerml.training.optimizer import parameter_groups


def head(features: int, numbers: int = 8) -> PairHead:
    return PairHead(features, numbers, 10, embedding=128, temperature=0.07, dropout=0.3, spatial_dropout=0.2)


def size(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def small(name: str = "relation:timm:test_resnet", **options):
    torch.manual_seed(0)
    return build_pair_classifier(find_model(name), 10, 8, img_size=64, embedding=128, temperature=0.07, **options)


def inputs(count: int = 4, side: int = 64) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    pictures = torch.randn(2, count, 3, side, side, generator=generator)
    return pictures[0], pictures[1], torch.rand(count, 8, generator=generator)


def test_parameter_counts_follow_from_the_widths():
    """4096 -> 1024 -> 128 is 4,326,528, not 4.7 million; 1024 -> 512 -> 128 and the spatial MLP are the 615 thousand of
    Experiment 1.
    """
    fifty, eighteen = head(2048), head(512)
    assert size(fifty.visual) == 4096 * 1024 + 1024 + 1024 * 128 + 128 == 4_326_528
    assert size(fifty.spatial) == 8 * 64 + 64 + 64 * 128 + 128 + 128 * 128 + 128 == 25_408
    assert fifty.embeddings.numel() == 1_280
    assert size(fifty) == 4_353_216
    assert size(eighteen.visual) + size(eighteen.spatial) == 590_464 + 25_408 == 615_872


@pytest.mark.parametrize(
    ("name", "features", "backbone"), [("relation_resnet18", 512, 11_176_512), ("relation_resnet50", 2048, 23_508_032)]
)
def test_the_catalog_models_have_the_size_of_torchvisions_resnets(name, features, backbone):
    with torch.device("meta"):
        built = build_pair_classifier(find_model(name), 10, 8, img_size=128, embedding=128, temperature=0.07)
    assert size(built.model.backbone) == backbone
    assert built.model.head.visual[0].in_features == 2 * features
    assert built.parameters == backbone + built.head_parameters
    assert built.description.size == 128


def test_logits_of_a_batch():
    built = small()
    logits = built.model(inputs())
    assert logits.shape == (4, 10)
    assert logits.dtype == torch.float32
    assert logits.abs().max() <= 1 / 0.07 + 1e-4, "a cosine, divided by the temperature"


def test_logits_are_the_cosine_of_the_pair_to_each_embedding():
    built = small()
    model = built.model.eval()
    model.head.embeddings.data[3] = 7 * model.head.embeddings.data[5]  # the length of an embedding means nothing
    logits = model(inputs())
    assert torch.allclose(logits[:, 3], logits[:, 5], atol=1e-5)


def test_swapping_subject_and_object_changes_the_logits():
    model = small().model.eval()
    subject, other, numbers = inputs()
    assert not torch.allclose(model((subject, other, numbers)), model((other, subject, numbers)), atol=1e-3)


def test_each_input_matters():
    model = small().model.eval()
    given = inputs()
    logits = model(given)
    for place in range(3):
        changed = tuple(torch.roll(part, 1, 0) if place == at else part for at, part in enumerate(given))
        assert not torch.allclose(model(changed), logits, atol=1e-4)


def test_cached_features_give_the_same_logits():
    model = small().model.eval()
    subject, other, numbers = inputs()
    with torch.inference_mode():
        pooled = model.extract_features(subject), model.extract_features(other)
        assert torch.allclose(model((*pooled, numbers)), model((subject, other, numbers)), atol=1e-5)


def test_under_bf16_autocast_the_head_stays_in_fp32():
    """A gap of a pixel between two boxes has no digit left in bf16."""
    model = small().model.eval()
    subject, other, numbers = inputs()
    with torch.inference_mode():
        features = torch.cat([model.extract_features(subject), model.extract_features(other)], dim=1)
        plain = model.head(features, numbers)
        with torch.autocast("cpu", torch.bfloat16):
            assert torch.equal(model.head(features, numbers), plain)


def test_a_frozen_backbone_gets_no_gradient_and_keeps_its_statistics():
    built = small()
    model = built.model
    model.set_frozen(frozen=True)
    model.train()
    before = {name: value.clone() for name, value in model.backbone.state_dict().items()}
    model(inputs()).sum().backward()
    assert all(parameter.grad is None for parameter in model.backbone.parameters())
    assert all(parameter.grad is not None for parameter in model.head.parameters())
    assert all(torch.equal(value, before[name]) for name, value in model.backbone.state_dict().items())


def test_every_parameter_is_in_one_optimizer_group():
    built = small()
    groups = parameter_groups(
        built.model, built.layer_groups, lr_head=1e-3, lr_backbone=1e-4, weight_decay=0.1, llrd=0.9
    )
    assert sum(len(group["params"]) for group in groups) == len(list(built.model.parameters()))
    assert min(lr_multipliers(built.layer_groups, 0.9)) < 1


def test_the_cost_is_twice_the_backbone_plus_the_head():
    built = small()
    model = built.model
    both, one = multiply_adds(model, model.example_inputs(64)), multiply_adds(model.backbone, torch.zeros(1, 3, 64, 64))
    assert (
        both
        == 2 * one
        + sum(
            layer.weight.numel()
            for part in (model.head.visual, model.head.spatial)
            for layer in part
            if hasattr(layer, "weight")
        )
        + 1_280
    )


@pytest.mark.parametrize("name", ["relation:timm:test_vit", "relation:timm:test_convnext"])
def test_any_timm_backbone_works(name):
    torch.manual_seed(0)
    built = build_pair_classifier(find_model(name), 4, 12, img_size=96, embedding=16, temperature=1.0)
    memory_format = set_channels_last(built.model, find_model(name))
    assert memory_format == torch.channels_last
    assert built.model(
        tuple(part.repeat(2, *[1] * (part.ndim - 1)) for part in built.model.example_inputs(96))
    ).shape == (2, 4)
