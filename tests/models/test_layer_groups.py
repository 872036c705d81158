"""Layer groups for layer-wise learning-rate decay, and which parameters get no weight decay."""

import re

import pytest
import torch

from flowerml.models import build
from flowerml.models.layer_groups import is_decay_free, lr_multipliers, no_decay_names
from flowerml.settings import find_model
from flowerml.training.optimizer import learning_rates, make_optimizer, parameter_groups

SMALL = ["convnextv2_atto", "clip_vits32", "timm:resnet10t", "timm:mobilenetv2_050", "timm:test_vit"]
OTHERS = ["openclip:RN50", "openclip:ViT-B-16-SigLIP", "openclip:convnext_base", "timm:swin_tiny_patch4_window7_224"]
RATES = {"lr_head": 1e-2, "lr_backbone": 1e-3, "weight_decay": 0.05}


def on_meta(name: str, img_size: int = 224):
    with torch.device("meta"):
        return build(find_model(name), 5, img_size=img_size)


def size_of(name: str) -> int:
    return 96 if name == "timm:test_vit" else 64 if name in SMALL else 224


def authors_layer(name: str) -> int:
    """The ConvNeXt authors' own numbering (12 groups between stem and closing), with timm's names. Holds for 27 middle
    blocks.
    """
    if name.startswith("stem."):
        return 0
    found = re.match(r"stages\.(\d)\.(downsample|blocks\.(\d+))\.", name)
    if not found:
        return 13
    stage, block = int(found[1]), found[3]
    if stage == 3:
        return 12
    if stage < 2 or block is None:
        return stage + 1
    return 3 + int(block) // 3


@pytest.mark.parametrize("name", ["convnextv2_large", "convnextv2_base", "convnextv2_huge"])
def test_convnextv2_has_the_authors_12_groups_between_stem_and_norm(name):
    built = on_meta(name)
    expected = [[] for _ in range(14)]
    for parameter, _ in built.model.backbone.named_parameters():
        expected[authors_layer(parameter)].append(parameter)
    assert built.layer_groups == expected


def test_layer_decay_075_leaves_convnextv2_large_more_than_two_percent_at_the_bottom():
    factors = lr_multipliers(on_meta("convnextv2_large").layer_groups, 0.75)
    assert len(factors) == 14
    assert min(factors) == factors[0] == pytest.approx(0.75**13)
    assert min(factors) == pytest.approx(2.4e-2, rel=0.02)


def test_clip_vitl14_has_one_group_per_block_an_embedding_and_a_final_group():
    stages = on_meta("clip_vitl14").layer_groups
    assert len(stages) == 26
    assert {"class_embedding", "positional_embedding", "conv1.weight", "ln_pre.weight"} <= set(stages[0])
    for block, names in enumerate(stages[1:25]):
        assert all(name.startswith(f"transformer.resblocks.{block}.") for name in names)
    assert set(stages[25]) == {"proj", "ln_post.weight", "ln_post.bias"}
    assert min(lr_multipliers(stages, 0.75)) == pytest.approx(7.5e-4, rel=0.01)


@pytest.mark.parametrize("name", ["convnextv2_atto", "convnextv2_nano", "convnextv2_tiny"])
def test_shorter_convnexts_keep_the_order_from_the_input_up(name):
    depths = {"convnextv2_atto": 6, "convnextv2_nano": 8, "convnextv2_tiny": 9}
    stages = on_meta(name).layer_groups
    assert len(stages) == 5 + depths[name]
    blocks = [int(re.match(r"stages\.2\.blocks\.(\d+)", names[-1])[1]) for names in stages[3:-2]]
    assert blocks == sorted(blocks)
    assert all(name.startswith("stem.") for name in stages[0])
    assert all(name.startswith("stages.3.") for name in stages[-2])
    assert stages[-1] == ["head.norm.weight", "head.norm.bias"]


@pytest.mark.parametrize("name", [*SMALL, *OTHERS])
def test_every_backbone_parameter_is_in_exactly_one_group(name):
    built = on_meta(name, size_of(name))
    grouped = [parameter for names in built.layer_groups for parameter in names]
    assert sorted(grouped) == sorted(parameter for parameter, _ in built.model.backbone.named_parameters())


@pytest.mark.parametrize("name", [*SMALL, *OTHERS])
def test_no_group_is_empty_or_the_top_layers_would_not_get_the_full_backbone_rate(name):
    assert all(on_meta(name, size_of(name)).layer_groups)


@pytest.mark.parametrize("decay", [0.65, 0.85, 1.0])
def test_factors_rise_to_one_at_the_top(decay):
    factors = lr_multipliers([["a"], ["b"], ["c"], ["d"]], decay)
    assert factors[-1] == 1
    assert factors == pytest.approx([decay**3, decay**2, decay, 1])
    assert factors == sorted(factors)


@pytest.mark.parametrize("name", SMALL)
def test_each_parameter_gets_its_rate_and_biases_norms_grn_and_embeddings_no_decay(name):
    built = build(find_model(name), 5, img_size=size_of(name))
    groups = parameter_groups(built.model, built.layer_groups, **RATES, llrd=0.5)
    by_parameter = {id(parameter): group for group in groups for parameter in group["params"]}
    assert len(by_parameter) == sum(len(group["params"]) for group in groups) == len(list(built.model.parameters()))
    depth = {
        parameter: len(built.layer_groups) - 1 - place
        for place, names in enumerate(built.layer_groups)
        for parameter in names
    }
    embeddings = {"class_embedding", "positional_embedding", "cls_token", "pos_embed"}
    for parameter, tensor in built.model.backbone.named_parameters():
        group = by_parameter[id(tensor)]
        assert group["base_lr"] == pytest.approx(1e-3 * 0.5 ** depth[parameter]), parameter
        spared = tensor.ndim <= 1 or ".grn." in parameter or parameter in embeddings
        assert group["weight_decay"] == (0.0 if spared else 0.05), parameter
    assert by_parameter[id(built.model.head.weight)]["weight_decay"] == 0.05
    assert by_parameter[id(built.model.head.bias)]["weight_decay"] == 0.0
    assert {by_parameter[id(p)]["base_lr"] for p in built.model.head.parameters()} == {1e-2}


def test_grn_gets_no_weight_decay():
    built = on_meta("convnextv2_atto", 64)
    groups = parameter_groups(built.model, built.layer_groups, **RATES, llrd=1.0)
    spared = {id(parameter) for group in groups if group["weight_decay"] == 0 for parameter in group["params"]}
    grn = [parameter for name, parameter in built.model.backbone.named_parameters() if ".grn." in name]
    assert len(grn) == 2 * 12
    assert all(id(parameter) in spared for parameter in grn)


def test_grn_gets_no_weight_decay_also_with_four_axes():
    """As the authors' own GRN has them; timm's have one."""
    four_axes = torch.nn.Parameter(torch.zeros(1, 1, 1, 8))
    assert is_decay_free("stages.0.blocks.0.mlp.grn.weight", four_axes)
    assert not is_decay_free("stages.0.blocks.0.mlp.fc1.weight", four_axes)


@pytest.mark.parametrize(
    ("name", "embedding"),
    [
        ("openclip:ViT-B-16-SigLIP", "trunk.pos_embed"),
        ("openclip:EVA02-B-16", "trunk.cls_token"),
        ("openclip:RN50", "attnpool.positional_embedding"),
    ],
)
def test_embeddings_of_other_open_clip_towers_get_no_weight_decay(name, embedding):
    built = on_meta(name)
    groups = parameter_groups(built.model, built.layer_groups, **RATES, llrd=1.0)
    spared = {id(parameter) for group in groups if group["weight_decay"] == 0 for parameter in group["params"]}
    assert id(dict(built.model.backbone.named_parameters())[embedding]) in spared


def test_exempt_names_are_names_of_the_backbone():
    for name in ("clip_vits32", "timm:test_vit"):
        backbone = on_meta(name, size_of(name)).model.backbone
        found = [parameter for parameter, _ in backbone.named_parameters() if parameter in no_decay_names(backbone)]
        assert len(found) == 2


@pytest.mark.parametrize(("kind", "expected"), [("adamw", torch.optim.AdamW), ("sgd", torch.optim.SGD)])
def test_the_optimizer_uses_each_groups_rate_and_decay(kind, expected):
    built = build(find_model("clip_vits32"), 5, img_size=64)
    optimizer = make_optimizer(kind, parameter_groups(built.model, built.layer_groups, **RATES, llrd=0.5))
    assert type(optimizer) is expected
    assert {group["lr"] for group in optimizer.param_groups} == {group["base_lr"] for group in optimizer.param_groups}
    assert learning_rates(optimizer) == pytest.approx({"lr_head": 1e-2, "lr_backbone": 1e-3})
    if kind == "sgd":
        assert all(group["momentum"] == 0.9 for group in optimizer.param_groups)
