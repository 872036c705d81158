"""Model names: the catalogue, `timm:NAME`, `openclip:ARCH[/TAG]`, and the nearest name for a mistyped one."""

import pytest

from flowerml.errors import UserError
from flowerml.settings import Family, Library, ModelSpec, find_model, known_models

CONVNEXTS = {
    "convnextv2_atto": "fcmae_ft_in1k",
    "convnextv2_femto": "fcmae_ft_in1k",
    "convnextv2_pico": "fcmae_ft_in1k",
    "convnextv2_nano": "fcmae_ft_in22k_in1k",
    "convnextv2_tiny": "fcmae_ft_in22k_in1k",
    "convnextv2_base": "fcmae_ft_in22k_in1k",
    "convnextv2_large": "fcmae_ft_in22k_in1k",
    "convnextv2_huge": "fcmae_ft_in1k",
}
# name: (open_clip's architecture, patch, size, published weights)
CLIPS = {
    "clip_vitl14": ("ViT-L-14-quickgelu", 14, 224, "openai"),
    "clip_vitl14_336": ("ViT-L-14-336-quickgelu", 14, 336, "openai"),
    "clip_vitb16": ("ViT-B-16-quickgelu", 16, 224, "openai"),
    "clip_vitb32": ("ViT-B-32-quickgelu", 32, 224, "openai"),
    "clip_vits16": ("ViT-S-16", 16, 224, ""),
    "clip_vits32": ("ViT-S-32", 32, 224, ""),
}
RELATIONS = {"relation_resnet18": "resnet18", "relation_resnet50": "resnet50"}
ALLOWED = (
    f"Allowed: {', '.join([*CONVNEXTS, *CLIPS, *RELATIONS])}, timm:NAME, openclip:ARCH[/TAG] or relation:timm:NAME"
)


def refusal(name):
    with pytest.raises(UserError) as caught:
        find_model(name)
    return str(caught.value)


def test_catalogue_is_the_designs():
    assert known_models() == (*CONVNEXTS, *CLIPS, *RELATIONS)


@pytest.mark.parametrize("name", CONVNEXTS)
def test_convnextv2_is_a_cnn_of_timm(name):
    assert find_model(name) == ModelSpec(name, Family.CNN, Library.TIMM, name, CONVNEXTS[name], 224, None)


@pytest.mark.parametrize("name", CLIPS)
def test_clip_tower_is_a_vit_of_open_clip(name):
    """OpenAI's weights need QuickGELU: the architecture's name says so wherever their tag stands."""
    architecture, patch, size, hub = CLIPS[name]
    assert find_model(name) == ModelSpec(name, Family.VIT, Library.OPEN_CLIP, architecture, hub, size, patch)
    assert ("quickgelu" in architecture) == (hub == "openai")
    assert size % patch == 0


@pytest.mark.parametrize("name", RELATIONS)
def test_a_relation_model_has_torchvisions_first_weights_and_crops_of_128(name):
    assert find_model(name) == ModelSpec(name, Family.RELATION, Library.TIMM, RELATIONS[name], "tv_in1k", 128, None)


def test_any_backbone_of_timm_makes_a_relation_model():
    spec = find_model("relation:timm:vit_small_patch16_224.augreg_in1k")
    assert (spec.family, spec.architecture, spec.hub, spec.img_size) == (
        Family.RELATION,
        "vit_small_patch16_224",
        "augreg_in1k",
        128,
    )
    assert find_model("relation:timm:mobilenetv2_100").hub == "default"


def test_families_are_spelled_as_in_tags_and_registry():
    assert [family.value for family in Family] == ["cnn", "vit", "relation"]


@pytest.mark.parametrize(
    ("name", "family", "library", "architecture", "hub"),
    [
        ("timm:mobilenetv2_100", "cnn", "timm", "mobilenetv2_100", "default"),
        ("timm:resnet50.a1_in1k", "cnn", "timm", "resnet50", "a1_in1k"),
        ("timm:convnextv2_atto", "cnn", "timm", "convnextv2_atto", "default"),
        ("timm:vit_small_patch16_224", "vit", "timm", "vit_small_patch16_224", "default"),
        ("timm:vit_base_patch16_clip_224.openai", "vit", "timm", "vit_base_patch16_clip_224", "openai"),
        ("timm:deit3_small_patch16_224", "vit", "timm", "deit3_small_patch16_224", "default"),
        ("timm:eva02_base_patch14_224", "vit", "timm", "eva02_base_patch14_224", "default"),
        ("timm:swin_tiny_patch4_window7_224", "vit", "timm", "swin_tiny_patch4_window7_224", "default"),
        ("timm:tiny_vit_5m_224", "vit", "timm", "tiny_vit_5m_224", "default"),
        ("timm:mobilevit_s", "cnn", "timm", "mobilevit_s", "default"),
        ("timm:efficientnet_b0", "cnn", "timm", "efficientnet_b0", "default"),
        ("openclip:ViT-B-32-quickgelu", "vit", "open_clip", "ViT-B-32-quickgelu", "openai"),
        ("openclip:ViT-B-32/laion2b_s34b_b79k", "vit", "open_clip", "ViT-B-32", "laion2b_s34b_b79k"),
        ("openclip:ViT-B-16-SigLIP/webli", "vit", "open_clip", "ViT-B-16-SigLIP", "webli"),
        ("openclip:coca_ViT-L-14/laion2b_s13b_b90k", "vit", "open_clip", "coca_ViT-L-14", "laion2b_s13b_b90k"),
        ("openclip:EVA02-B-16/merged2b_s8b_b131k", "vit", "open_clip", "EVA02-B-16", "merged2b_s8b_b131k"),
        ("openclip:RN50-quickgelu/openai", "cnn", "open_clip", "RN50-quickgelu", "openai"),
        ("openclip:convnext_base_w/laion2b_s13b_b82k", "cnn", "open_clip", "convnext_base_w", "laion2b_s13b_b82k"),
    ],
)
def test_library_names(name, family, library, architecture, hub):
    """The name is kept as typed, the part behind the colon is the library's, family by the words of the architecture."""
    spec = find_model(name)
    assert spec == ModelSpec(name, Family(family), Library(library), architecture, hub, 224, None)


@pytest.mark.parametrize(
    "name",
    [
        "timm:naflexvit_base_patch16_gap",
        "timm:samvit_base_patch16",
        "timm:crossvit_9_240",
        "timm:aimv2_large_patch14_224",
        "timm:volo_d1_224",
        "openclip:PE-Core-L-14-336",
    ],
)
def test_plain_transformers_without_a_leading_vit_are_of_family_vit(name):
    """A family decides recipe, ranking and registered name: a transformer among the CNNs would be the CNN champion."""
    assert find_model(name).family is Family.VIT


@pytest.mark.parametrize(
    ("typed", "near"),
    [
        ("convnextv2_lareg", "convnextv2_large"),
        ("convnextv2-large", "convnextv2_large"),
        ("convnext_atto", "convnextv2_atto"),
        ("clip_vitl", "clip_vitl14"),
        ("clip_vitl14_33", "clip_vitl14_336"),
        ("clip-vitb-32", "clip_vitb32"),
        ("clip_vit_s32", "clip_vits32"),
        ("timm:", "timm:NAME"),
        ("openclip:", "openclip:ARCH"),
        ("relation_resnet5", "relation_resnet50"),
        ("relation:timm:", "relation:timm:NAME"),
    ],
)
def test_mistyped_name_gets_the_nearest_and_the_whole_list(typed, near):
    assert refusal(typed) == f"--model {typed!r} is unknown. Did you mean {near}? {ALLOWED}"


@pytest.mark.parametrize("typed", ["", "zzz", "densenet", "hf:something"])
def test_name_like_no_other_gets_the_list_alone(typed):
    assert refusal(typed) == f"--model {typed!r} is unknown. {ALLOWED}"


def test_message_is_one_line_even_for_a_name_that_is_not():
    assert "\n" not in refusal("clip\nvitl14")
