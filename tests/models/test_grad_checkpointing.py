"""Gradient checkpointing: the same gradients, dropped paths included, with fewer activations kept."""

import pytest
import torch

from flowerml.errors import UserError
from flowerml.models import build
from flowerml.models.resources.memory import enable_grad_checkpointing
from flowerml.settings import find_model
from tests.training.conftest import same_weights


def gradients(name, size, *, checkpointing, drop_path, frozen=False):
    """Gradients by name, and the bytes of the activations that the forward pass keeps."""
    torch.manual_seed(5)
    spec = find_model(name)
    built = build(spec, 3, img_size=size, drop_path=drop_path)
    if checkpointing:
        enable_grad_checkpointing(built.model.backbone, spec)
    built.model.set_frozen(frozen=frozen)
    built.model.train()
    kept = {}

    def keep(tensor):
        kept[tensor.data_ptr()] = tensor.nbytes
        return tensor

    torch.manual_seed(6)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        loss = built.model(torch.randn(2, 3, size, size)).square().sum()
    weights = {parameter.data_ptr() for parameter in built.model.parameters()}
    loss.backward()
    found = {key: weight.grad for key, weight in built.model.named_parameters() if weight.grad is not None}
    return found, sum(size for pointer, size in kept.items() if pointer not in weights)


@pytest.mark.parametrize(
    ("name", "size", "drop_path"),
    [("timm:test_convnext2", 64, 0.3), ("timm:test_vit2", 64, 0.3), ("clip_vits32", 64, 0.0)],
)
def test_the_gradients_are_the_same_and_fewer_activations_are_kept(name, size, drop_path):
    plain, kept = gradients(name, size, checkpointing=False, drop_path=drop_path)
    again, fewer = gradients(name, size, checkpointing=True, drop_path=drop_path)
    assert same_weights(plain, again)
    assert fewer < 0.6 * kept


def test_a_frozen_backbone_has_none(recwarn):
    found, _ = gradients("timm:test_convnext2", 64, checkpointing=True, drop_path=0.0, frozen=True)
    assert set(found) == {"head.weight", "head.bias"}
    assert not [warning for warning in recwarn if "checkpoint" in str(warning.message)]


@pytest.mark.parametrize(("name", "size"), [("timm:crossvit_tiny_240", 240), ("openclip:RN50", 224)])
def test_a_model_that_has_none_is_refused_in_one_line(name, size):
    """The second has the method, which does nothing."""
    spec = find_model(name)
    with pytest.raises(UserError) as caught:
        enable_grad_checkpointing(build(spec, 3, img_size=size).model.backbone, spec)
    assert str(caught.value).startswith(f"--grad-checkpointing: {spec.name} has none. ")
    assert "\n" not in str(caught.value)
