"""A model that is built for given weights: on "meta" no first weights are drawn, on the CPU they are as ever."""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from flowerml.models.builders import build_for_weights, create_backbone
from flowerml.models.classifier import Classifier
from flowerml.settings import find_model


class Fills(TorchDispatchMode):
    """Counts the operations that draw random values or fill tensors in place."""

    count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.count += func.overloadpacket.__name__ in ("uniform_", "normal_", "erfinv_", "fill_", "zero_", "mul_")
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("name", ["timm:test_convnext2", "convnextv2_atto", "clip_vits32"])
def test_on_meta_nothing_is_drawn_and_the_shapes_are_those_of_the_cpu(name):
    spec = find_model(name)
    with torch.device("meta"), Fills() as fills:
        built = build_for_weights(spec, 5, img_size=64)
    assert fills.count == 0
    expected = build_for_weights(spec, 5, img_size=64).state_dict()
    assert {key: tensor.shape for key, tensor in built.state_dict().items()} == {
        key: tensor.shape for key, tensor in expected.items()
    }


def test_on_the_cpu_the_same_seed_draws_the_same_weights():
    spec = find_model("timm:test_convnext2")
    torch.manual_seed(3)
    built = build_for_weights(spec, 5, img_size=32).state_dict()
    torch.manual_seed(3)
    backbone = create_backbone(spec, 32, 0.0, hub=False)
    expected = Classifier(backbone.module, backbone.features, 5, 0.0).state_dict()
    assert built.keys() == expected.keys()
    assert all(torch.equal(built[key], expected[key]) for key in expected)
