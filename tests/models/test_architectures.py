"""Model builders: published parameter counts, activations, input descriptions, and unknown names."""

import huggingface_hub.constants
import open_clip
import pytest
import torch

from flowerml.errors import UserError
from flowerml.models import build
from flowerml.models.backbone import create_from_hub
from flowerml.settings import find_model, known_models

REMEDIES = ("--weights PATH", "cache", "--weights none")


def on_meta(name: str, classes: int, img_size: int = 224):
    """A model without memory for its weights: enough to count them."""
    with torch.device("meta"):
        return build(find_model(name), classes, img_size=img_size)


def refusal(name: str, **options) -> str:
    with pytest.raises(UserError) as caught:
        build(find_model(name), 5, **{"img_size": 64, **options})
    message = str(caught.value)
    assert "\n" not in message
    return message


def quick_gelus(module: torch.nn.Module) -> int:
    return sum(type(part).__name__ == "QuickGELU" for part in module.modules())


def test_convnextv2_large_with_1000_classes_has_the_published_number_of_parameters():
    built = on_meta("convnextv2_large", 1000)
    assert built.parameters == 197_956_840
    assert built.model.head.in_features == 1536


def test_clip_vitl14_tower_with_projection_has_the_published_number_of_parameters():
    built = on_meta("clip_vitl14", 5)
    assert sum(p.numel() for p in built.model.backbone.parameters()) == 303_966_208
    assert built.parameters == 303_966_208 + 768 * 5 + 5


def test_clip_vitl14_336_differs_from_vitl14_only_in_its_position_embedding():
    small, large = on_meta("clip_vitl14", 5), on_meta("clip_vitl14_336", 5, 336)
    assert large.parameters - small.parameters == (24 * 24 - 16 * 16) * 1024


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in known_models() if not name.startswith("relation")])
def test_every_catalogue_name_can_be_built_at_its_own_size(name):
    spec = find_model(name)
    built = on_meta(name, 5, spec.img_size)
    assert built.model.head.out_features == 5
    assert built.description.size == spec.img_size
    assert built.unused == ()


@pytest.mark.parametrize("name", ["clip_vitl14", "clip_vitl14_336", "clip_vitb16", "clip_vitb32"])
def test_names_with_openai_weights_are_built_with_quickgelu(name):
    spec = find_model(name)
    assert spec.hub == "openai"
    assert spec.architecture.endswith("-quickgelu")
    blocks = len(on_meta(name, 5, spec.img_size).layer_groups) - 2
    assert quick_gelus(on_meta(name, 5, spec.img_size).model) == blocks


@pytest.mark.parametrize(
    ("name", "blocks"),
    [
        ("openclip:ViT-B-32-quickgelu", 12),
        ("openclip:ViT-B-32/openai", 12),  # OpenAI's weights need it also where the name does not say so
        ("openclip:ViT-B-32/laion2b_s34b_b79k", 0),
        ("clip_vits32", 0),
    ],
)
def test_quickgelu_is_there_exactly_where_the_name_or_the_weights_ask_for_it(name, blocks):
    assert quick_gelus(on_meta(name, 5, 64).model) == blocks


@pytest.mark.parametrize(
    ("name", "size"), [("convnextv2_atto", 64), ("convnextv2_atto", 96), ("clip_vits32", 64), ("clip_vits32", 96)]
)
def test_pooled_features_give_one_row_of_logits_per_picture(name, size):
    built = build(find_model(name), 4, img_size=size)
    model = built.model.eval()
    with torch.no_grad():
        inputs = torch.randn(2, 3, size, size)
        assert model.backbone(inputs).shape == (2, model.head.in_features)
        assert model(inputs).shape == (2, 4)


def test_a_timm_transformer_is_built_for_the_asked_size():
    model = build(find_model("timm:test_vit"), 3, img_size=96).model.eval()
    assert model(torch.zeros(1, 3, 96, 96)).shape == (1, 3)


def test_an_open_clip_tower_on_a_timm_trunk_takes_another_picture_size_than_its_own():
    with torch.device("meta"):
        model = build(find_model("openclip:ViT-B-16-SigLIP"), 3, img_size=64).model.eval()
        assert model(torch.zeros(1, 3, 64, 64)).shape == (1, 3)


def test_the_fresh_head_starts_near_uniform_predictions():
    head = build(find_model("timm:resnet10t"), 5, img_size=32).model.head
    assert head.bias.abs().max() == 0
    assert 0 < head.weight.std() < 0.02


def test_the_same_generator_state_gives_the_same_random_start():
    starts = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        starts.append(build(find_model("clip_vits32"), 3, img_size=64).model.state_dict())
    assert all(torch.equal(starts[0][name], tensor) for name, tensor in starts[1].items())
    assert not torch.equal(starts[0]["backbone.conv1.weight"], starts[2]["backbone.conv1.weight"])
    assert not torch.equal(starts[0]["head.weight"], starts[2]["head.weight"])


def test_drop_path_and_dropout_reach_the_model():
    built = build(find_model("convnextv2_atto"), 3, img_size=64, dropout=0.25, drop_path=0.3)
    rates = [part.drop_prob for part in built.model.modules() if type(part).__name__ == "DropPath"]
    assert max(rates) == pytest.approx(0.3)
    assert built.model.dropout.p == 0.25


def test_drop_path_where_the_builder_has_none_is_refused_not_ignored():
    assert "--drop-path" in refusal("clip_vits32", drop_path=0.1)
    assert "--drop-path" in refusal("timm:vgg11", drop_path=0.1)


def test_clip_and_imagenet_descriptions_differ_and_travel_with_the_model():
    clip, cnn = on_meta("clip_vitb32", 5).description, on_meta("convnextv2_atto", 5).description
    assert clip.mean == pytest.approx((0.48145466, 0.4578275, 0.40821073))
    assert clip.std == pytest.approx((0.26862954, 0.26130258, 0.27577711))
    assert (clip.interpolation, clip.crop_pct) == ("bicubic", 1.0)
    assert cnn.mean == pytest.approx((0.485, 0.456, 0.406))
    assert cnn.std == pytest.approx((0.229, 0.224, 0.225))
    assert cnn.crop_pct == pytest.approx(0.875)


def test_what_the_user_sets_overrides_the_description_and_none_leaves_it():
    spec = find_model("timm:mobilenetv2_050")
    own = build(spec, 5, img_size=32).description
    halves = (0.5, 0.5, 0.5)
    overrides = {"mean": halves, "std": None, "interpolation": "bilinear", "crop_pct": 1.0}
    changed = build(spec, 5, img_size=32, overrides=overrides).description
    assert (changed.mean, changed.interpolation, changed.crop_pct) == (halves, "bilinear", 1.0)
    assert (changed.std, changed.size) == (own.std, 32)
    assert own.mean != halves


def test_open_clip_models_keep_the_interpolation_they_were_published_with():
    description = on_meta("openclip:MobileCLIP-S1/datacompdr", 5, 256).description
    assert (description.mean, description.std) == ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    assert description.interpolation == "bilinear"


@pytest.mark.parametrize("name", ["timm:no_such_network", "openclip:No-Such-Tower"])
def test_a_name_the_library_does_not_know_is_one_line_with_that_name(name):
    message = refusal(name)
    assert name in message
    assert "--model" in message


def test_a_near_name_of_the_library_is_offered():
    assert "resnet18" in refusal("timm:resnet188")
    assert "ViT-B-32" in refusal("openclip:ViT-B-99")


def test_a_tag_nobody_published_is_refused_also_where_no_weights_are_wanted():
    assert "nosuchtag" in refusal("timm:resnet18.nosuchtag", weights="none")


def test_a_picture_size_the_model_cannot_take_is_refused_before_training():
    assert "50" in refusal("timm:test_vit", img_size=50)


@pytest.fixture
def _no_network(monkeypatch, tmp_path):
    """What a machine without a network and with an empty cache is to the hub's client (which reads the environment only
    once).
    """
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))


@pytest.mark.usefixtures("_no_network")
@pytest.mark.parametrize("name", ["convnextv2_atto", "clip_vitb32", "timm:mobilenetv2_050"])
def test_an_unreachable_hub_names_the_three_remedies_and_never_starts_at_random(name):
    message = refusal(name, weights="hub")
    assert name in message
    assert all(remedy in message for remedy in REMEDIES)


@pytest.mark.parametrize(
    "error", [OSError("name or service not known"), RuntimeError("first\nsecond"), ValueError(""), KeyError("tag")]
)
def test_whatever_a_hub_client_raises_becomes_one_line_with_the_remedies(error):
    def fail():
        raise error

    with pytest.raises(UserError) as caught:
        create_from_hub(find_model("convnextv2_atto"), fail, hub=True)
    assert "\n" not in str(caught.value)
    assert all(remedy in str(caught.value) for remedy in REMEDIES)


def test_a_tower_nobody_published_weights_for_says_so():
    message = refusal("clip_vits32", weights="hub")
    assert "no published weights" in message
    assert "--weights PATH" in message
    assert "--weights none" in message


def test_published_clip_weights_reach_the_tower(monkeypatch):
    """The hub is stood in for by a random model of the same kind; the tower must become exactly that one."""
    made = {}

    def create_model(architecture, tag, **options):
        config = open_clip.get_model_config(architecture)
        vision = {**config["vision_cfg"], "image_size": options["force_image_size"]}
        made.update(
            asked=(architecture, tag),
            whole=open_clip.CLIP(config["embed_dim"], vision, config["text_cfg"], quick_gelu=True),
        )
        return made["whole"]

    monkeypatch.setattr(open_clip, "create_model", create_model)
    tower = build(find_model("clip_vitb32"), 5, img_size=64, weights="hub").model.backbone.state_dict()
    assert made["asked"] == ("ViT-B-32-quickgelu", "openai")
    assert all(torch.equal(tower[name], tensor) for name, tensor in made["whole"].visual.state_dict().items())
