"""A head from class names: open_clip's own zero-shot classifier, from files of all forms; what has none is refused."""

import numpy as np
import open_clip
import pytest
import torch
from torch import nn

from flowerml.errors import UserError
from flowerml.models import build
from flowerml.models.text_head import (
    MAX_SCALE,
    PROMPTS,
    class_embeddings,
    prompts_for,
    require_text_tower,
    set_text_head,
)
from flowerml.settings import find_model
from tests.models import small_clip

CLASSES = ("daisy", "dandelion", "rose", "sunflower", "black_eyed_susan", "tulip")


@pytest.fixture(scope="module", autouse=True)
def _registered(tmp_path_factory):
    small_clip.register(tmp_path_factory.mktemp("configs"))


@pytest.fixture(scope="module")
def whole():
    return small_clip.make()


@pytest.fixture(scope="module")
def file(whole, tmp_path_factory):
    return small_clip.save(tmp_path_factory.mktemp("weights"), whole)


def own_classifier(model) -> torch.Tensor:
    """Unit vectors (C, F), as open_clip computes them."""
    names = [name.replace("_", " ") for name in CLASSES]
    tokenizer = open_clip.get_tokenizer(small_clip.NAME)
    return open_clip.build_zero_shot_classifier(model, tokenizer, names, list(PROMPTS)).T


def test_the_head_has_the_argmax_of_open_clips_own_zero_shot_classification(whole, file):
    """On features that are not normalised: their length alone changes the logits, and never the argmax."""
    spec = find_model(small_clip.MODEL)
    built = build(spec, len(CLASSES), img_size=small_clip.SIZE, weights=str(file))
    images = torch.randn(64, 3, small_clip.SIZE, small_clip.SIZE, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        cosines = whole.encode_image(images, normalize=True) @ own_classifier(whole).T
        features = built.model.eval().extract_features(images)
    assert features.norm(dim=1).std() > 0.01, "features are not normalised"
    found = class_embeddings(spec, str(file), CLASSES, PROMPTS)
    norm = float(features.norm(dim=1).mean())
    set_text_head(built.model.head, found, norm)
    with torch.inference_mode():
        logits = built.model(images)
    assert len(set(cosines.argmax(1).tolist())) > 1
    assert torch.equal(logits.argmax(1), cosines.argmax(1))
    scaled = np.exp(whole.logit_scale.item()) * cosines * features.norm(dim=1, keepdim=True) / norm
    assert torch.allclose(logits, scaled, atol=1e-4)
    assert not built.model.head.bias.any()


def test_embeddings_are_unit_vectors_and_draw_no_random_numbers(whole, file):
    torch.manual_seed(3)
    before = torch.random.get_rng_state()
    found = class_embeddings(find_model(small_clip.MODEL), str(file), CLASSES, PROMPTS)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert torch.allclose(found.embeddings, own_classifier(whole), atol=1e-5)
    assert torch.allclose(found.embeddings.norm(dim=1), torch.ones(len(CLASSES)))
    assert found.scale == pytest.approx(1 / 0.07)


def _as_custom_text(state):
    """With `text.` before the text tower's names, as open_clip stores its newer models."""
    return {
        name if name.startswith(("visual.", "logit_scale")) else f"text.{name}": tensor
        for name, tensor in state.items()
    }


FORMS = {
    "custom text": _as_custom_text,
    "of a trainer": lambda state: {
        "epoch": 3,
        "state_dict": {f"module.{name}": tensor for name, tensor in state.items()},
    },
    "fp16": lambda state: {name: tensor.half() for name, tensor in state.items()},
}


@pytest.mark.parametrize("form", FORMS)
def test_files_of_all_forms(form, whole, tmp_path):
    path = tmp_path / "w.pth"
    torch.save(FORMS[form](whole.state_dict()), path)
    spec = find_model(small_clip.MODEL)
    require_text_tower(spec, str(path))
    found = class_embeddings(spec, str(path), CLASSES, PROMPTS)
    assert torch.allclose(found.embeddings, own_classifier(whole), atol=2e-3 if form == "fp16" else 1e-5)
    assert found.scale == pytest.approx(1 / 0.07, rel=1e-2)


@pytest.mark.parametrize(("logarithm", "scale"), [(None, MAX_SCALE), (7.0, MAX_SCALE), (np.log(20), 20.0)])
def test_scale_is_that_of_the_weights_up_to_clips_limit(whole, tmp_path, logarithm, scale):
    state = {name: tensor for name, tensor in whole.state_dict().items() if name != "logit_scale"}
    if logarithm is not None:
        state["logit_scale"] = torch.tensor([logarithm])
    torch.save(state, tmp_path / "w.pth")
    found = class_embeddings(find_model(small_clip.MODEL), str(tmp_path / "w.pth"), CLASSES, PROMPTS)
    assert found.scale == pytest.approx(scale)


def test_a_file_without_a_text_tower_is_refused_in_one_line(whole, tmp_path):
    state = whole.state_dict()
    image_tower = {name: tensor for name, tensor in state.items() if name.startswith("visual.")}
    narrower = {**state, "text_projection": torch.zeros(16, 24)}
    for number, content in enumerate((image_tower, narrower, {"head.weight": torch.zeros(2)})):
        path = tmp_path / f"{number}.pth"
        torch.save(content, path)
        with pytest.raises(
            UserError, match=r"--weights .*\.pth holds no text tower of openclip:.* Allowed: "
        ) as caught:
            require_text_tower(find_model(small_clip.MODEL), str(path))
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "name", ["openclip:ViT-B-16-SigLIP/webli", "openclip:coca_ViT-B-32/x", "openclip:roberta-ViT-B-32/x"]
)
def test_texts_that_need_another_library_are_refused_before_anything_is_fetched(name):
    with pytest.raises(UserError, match="need a tokenizer or a model of the transformers library"):
        require_text_tower(find_model(name), "hub")


def test_published_weights_are_never_replaced_by_random_ones(monkeypatch):
    def unreachable(*_, **__):
        raise OSError("no network")

    monkeypatch.setattr(open_clip, "create_model", unreachable)
    spec = find_model("clip_vitb32")
    require_text_tower(spec, "hub")
    with pytest.raises(UserError, match=r"the pretrained weights of clip_vitb32 can't be fetched \(no network\)"):
        class_embeddings(spec, "hub", CLASSES, PROMPTS)


def test_published_weights_give_their_own_texts(whole, monkeypatch):
    monkeypatch.setattr(open_clip, "create_model", lambda *_, **__: whole)
    found = class_embeddings(find_model(small_clip.MODEL), "hub", CLASSES, PROMPTS)
    assert torch.allclose(found.embeddings, own_classifier(whole), atol=1e-5)


def test_prompts_are_those_of_clips_authors_and_name_the_kind_of_flowers():
    theirs = {template("{}") for template in open_clip.OPENAI_IMAGENET_TEMPLATES}
    assert set(PROMPTS) <= theirs
    flowers = ("daisy", "rose", "tulip")
    assert prompts_for(("rose", "daisy"), flowers)[0] == "a photo of a {}, a type of flower."
    assert prompts_for(("rose", "cat"), flowers) == PROMPTS


def test_a_head_keeps_its_parameters(file):
    """They are set in place: an optimizer or a shared head sees the new values."""
    head = nn.Linear(24, len(CLASSES))
    weight = head.weight
    set_text_head(head, class_embeddings(find_model(small_clip.MODEL), str(file), CLASSES, PROMPTS), 1.0)
    assert head.weight is weight
    assert weight.requires_grad
