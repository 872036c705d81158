"""Multiply-adds of one image, against hand-computed and published values."""

import pytest
import torch
from torch import nn

from flowerml.models import build
from flowerml.models.resources.cost import multiply_adds
from flowerml.settings import find_model


class Attention(nn.Module):
    """Pictures of 8 x 8 as 64 tokens of width 4, one head, no projection of the heads counted twice."""

    def __init__(self):
        super().__init__()
        self.widen = nn.Linear(3, 4)
        self.attention = nn.MultiheadAttention(4, 1, batch_first=True)

    def forward(self, inputs):
        tokens = self.widen(inputs.flatten(2).transpose(1, 2))
        return self.attention(tokens, tokens, tokens, need_weights=False)[0].mean(1)


def test_a_convolution_and_a_linear_layer():
    model = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.Flatten(), nn.Linear(4 * 64, 5))
    assert multiply_adds(model, torch.zeros(1, 3, 8, 8)) == 64 * 4 * 27 + 256 * 5


def test_attention_counts_too():
    """Projections in and out (4 of 4 x 4 for 64 tokens), and 64 x 64 products of width 4, twice."""
    assert multiply_adds(Attention(), torch.zeros(1, 3, 8, 8)) == 64 * 3 * 4 + 4 * 64 * 16 + 2 * 64 * 64 * 4


@pytest.mark.parametrize(("name", "published"), [("convnextv2_atto", 0.55e9), ("timm:resnet50", 4.1e9)])
def test_published_numbers(name, published):
    """From the papers, for 1,000 classes at 224 px; the head is of no account."""
    assert multiply_adds(build(find_model(name), 5, img_size=224).model, torch.zeros(1, 3, 224, 224)) == pytest.approx(
        published, rel=0.02
    )


def test_smaller_patches_cost_more_though_the_model_has_fewer_parameters():
    coarse, fine = (build(find_model(name), 5, img_size=64) for name in ("clip_vitb32", "clip_vitb16"))
    assert coarse.parameters > fine.parameters
    assert multiply_adds(coarse.model, coarse.model.example_inputs(64)) < multiply_adds(
        fine.model, fine.model.example_inputs(64)
    )


def test_model_state_and_generators_are_unchanged():
    model = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.5), nn.Flatten(), nn.Linear(4 * 36, 5)
    ).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = torch.get_rng_state()
    multiply_adds(model, torch.zeros(1, 3, 8, 8))
    assert model.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.backends.mha.get_fastpath_enabled()
