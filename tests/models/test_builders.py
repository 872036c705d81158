"""The weights part of a config id, and the channels-last memory format."""

import torch

from flowerml.models import build, weights_digest
from flowerml.models.builders import set_channels_last
from flowerml.settings import find_model


def test_weights_digest_differs_between_none_hub_and_files(tmp_path):
    spec = find_model("convnextv2_atto")
    first, copy, other = tmp_path / "a.pth", tmp_path / "b.pth", tmp_path / "c.pth"
    first.write_bytes(b"one")
    copy.write_bytes(b"one")
    other.write_bytes(b"two")
    assert weights_digest(str(first), spec) == weights_digest(str(copy), spec)
    digests = {weights_digest(what, spec) for what in ("none", "hub", str(first), str(other))}
    assert len(digests) == 4
    assert weights_digest("hub", find_model("convnextv2_femto")) not in digests


def test_channels_last_is_for_cnns_only_and_changes_no_result():
    built = build(find_model("timm:resnet10t"), 3, img_size=32)
    model, inputs = built.model.eval(), torch.randn(2, 3, 32, 32)
    before = model(inputs)
    assert set_channels_last(model, find_model("timm:resnet10t")) is torch.channels_last
    assert torch.allclose(model(inputs.to(memory_format=torch.channels_last)), before, atol=1e-5)
    assert set_channels_last(torch.nn.Conv2d(3, 4, 3), find_model("clip_vits32")) is torch.contiguous_format
