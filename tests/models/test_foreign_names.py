"""Files of original repositories and of other image sizes: mapped by timm's own filters, or refused in a line."""

import re

import pytest
import timm
import torch
from timm.layers import resample_abs_pos_embed

from flowerml.errors import UserError
from flowerml.models import build
from flowerml.settings import find_model


def published(name: str) -> dict[str, torch.Tensor]:
    """timm's whole state dict at the model's own image size, with values that no random start has."""
    return {key: tensor + 1 for key, tensor in timm.create_model(name).state_dict().items()}


def loaded(name: str, size: int, state: dict[str, torch.Tensor], path) -> dict[str, torch.Tensor]:
    torch.save(state, path)
    return build(find_model(f"timm:{name}"), 3, img_size=size, weights=str(path)).model.backbone.state_dict()


@pytest.mark.parametrize(
    ("name", "size", "prefix_tokens"),
    [("deit3_small_patch16_224", 96, 0), ("convit_tiny", 96, 0), ("test_vit", 64, 1)],
)
def test_position_embeddings_with_and_without_a_class_token_are_interpolated(tmp_path, name, size, prefix_tokens):
    state = published(name)
    own = loaded(name, size, state, tmp_path / "w.pth")
    grid = int((own["pos_embed"].shape[1] - prefix_tokens) ** 0.5)
    expected = resample_abs_pos_embed(state["pos_embed"], [grid, grid], num_prefix_tokens=prefix_tokens)
    assert state["pos_embed"].shape != own["pos_embed"].shape
    assert torch.equal(own["pos_embed"], expected)
    assert all(torch.equal(tensor, state[key]) for key, tensor in own.items() if key != "pos_embed")


def original_convnext_name(name: str) -> str:
    """The name in Meta's repository."""
    name = re.sub(r"^stem\.", "downsample_layers.0.", name)
    name = re.sub(r"^stages\.(\d+)\.downsample\.", r"downsample_layers.\1.", name)
    name = re.sub(r"^stages\.(\d+)\.blocks\.", r"stages.\1.", name)
    for ours, theirs in (("conv_dw", "dwconv"), ("mlp.fc1", "pwconv1"), ("mlp.fc2", "pwconv2")):
        name = name.replace(ours, theirs)
    return re.sub(r"^head\.(norm|fc)\.", lambda found: "norm." if found[1] == "norm" else "head.", name)


@pytest.mark.parametrize("prefix", ["", "module."])
def test_names_of_the_original_repository_are_mapped(tmp_path, prefix):
    state = published("convnext_atto")
    renamed = {original_convnext_name(name): tensor for name, tensor in state.items()}
    assert "downsample_layers.0.0.weight" in renamed
    wrapped = {"model": {prefix + name: tensor for name, tensor in renamed.items()}}
    own = loaded("convnext_atto", 64, wrapped, tmp_path / "w.pth")
    assert all(torch.equal(tensor.reshape(-1), state[key].reshape(-1)) for key, tensor in own.items())


def test_positions_that_nobody_can_interpolate_are_one_line_with_the_remedy(tmp_path):
    state = published("test_vit")
    state["pos_embed"] = torch.zeros(1, 6, state["pos_embed"].shape[2])
    with pytest.raises(UserError, match=r"pos_embed is .* in the file and .* take the --img-size that the file was"):
        loaded("test_vit", 64, state, tmp_path / "w.pth")
