"""The smallest batch of a model: two where a BatchNorm would see one value per channel, else one."""

import pytest
import torch

from flowerml.models import build
from flowerml.models.resources.smallest_batch import smallest_batch
from flowerml.settings import find_model


def built(name, size):
    torch.manual_seed(0)
    return build(find_model(name), 3, img_size=size).model


@pytest.mark.parametrize(
    ("name", "size", "frozen", "smallest"),
    [
        ("timm:mobilenetv2_050", 32, False, 2),
        ("timm:mobilenetv2_050", 64, False, 1),  # 2x2 values per channel in its last layers
        ("timm:mobilenetv2_050", 32, True, 1),  # a frozen backbone is in evaluation mode
        ("convnextv2_atto", 32, False, 1),
    ],
)
def test_it_depends_on_the_normalization_and_the_size(name, size, frozen, smallest):
    assert smallest_batch(built(name, size), size, frozen=frozen) == smallest


def test_finding_out_changes_nothing():
    model = built("timm:mobilenetv2_050", 64)
    before, draws = {name: tensor.clone() for name, tensor in model.state_dict().items()}, torch.get_rng_state()
    smallest_batch(model, 64, frozen=False)
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), draws)
    assert model.training
    assert not model.frozen
