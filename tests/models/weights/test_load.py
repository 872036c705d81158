"""`--weights PATH`: accepted files, strict matching, and one error line for everything else."""

import pickle
from pathlib import Path

import open_clip
import pytest
import torch
from safetensors.torch import save_file
from torch.nn import functional as F

from flowerml.errors import UserError
from flowerml.models import build
from flowerml.settings import find_model
from flowerml.training.checkpoints.checkpoint import Checkpoint, save_checkpoint

CNN = "timm:mobilenetv2_050"
SIZES = {CNN: 32, "clip_vits32": 64, "convnextv2_atto": 64, "timm:test_vit": 96}


def backbone_state(name: str, img_size: int | None = None) -> dict[str, torch.Tensor]:
    """Weights that no builder starts with: random ones plus 1, so that a start at random can't pass for them."""
    built = build(find_model(name), 3, img_size=img_size or SIZES[name])
    return {key: tensor + 1 for key, tensor in built.model.backbone.state_dict().items()}


def saved(path: Path, content) -> Path:
    if path.suffix == ".safetensors":
        save_file(content, path)
    else:
        torch.save(content, path)
    return path


def loaded(name: str, path: Path, img_size: int | None = None):
    return build(find_model(name), 3, img_size=img_size or SIZES[name], weights=str(path))


def assert_holds(built, state: dict[str, torch.Tensor]) -> None:
    own = built.model.backbone.state_dict()
    assert own.keys() == state.keys()
    assert all(torch.equal(own[key], tensor) for key, tensor in state.items())


def refusal(name: str, path: Path, img_size: int | None = None) -> str:
    with pytest.raises(UserError) as caught:
        loaded(name, path, img_size)
    message = str(caught.value)
    assert "\n" not in message
    assert str(path) in message
    assert "--weights" in message
    return message


def under(prefix: str, state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {prefix + key: tensor for key, tensor in state.items()}


@pytest.mark.parametrize("suffix", [".safetensors", ".pth", ".pt", ".bin"])
def test_safetensors_and_pth_are_read(tmp_path, suffix):
    state = backbone_state(CNN)
    built = loaded(CNN, saved(tmp_path / f"w{suffix}", state))
    assert_holds(built, state)
    assert built.unused == ()


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "module._orig_mod.", "backbone."])
def test_prefixes_of_wrapped_and_compiled_models_are_removed(tmp_path, prefix):
    state = backbone_state(CNN)
    assert_holds(loaded(CNN, saved(tmp_path / "w.pth", under(prefix, state))), state)


@pytest.mark.parametrize("wrapper", ["state_dict", "model", "state_dict_ema", "model_ema"])
def test_nested_state_dicts_are_unwrapped(tmp_path, wrapper):
    state = backbone_state(CNN)
    assert_holds(loaded(CNN, saved(tmp_path / "w.pth", {wrapper: state, "epoch": 3})), state)


def test_of_a_timm_checkpoint_the_ema_weights_are_loaded(tmp_path):
    state = backbone_state(CNN)
    raw = {key: tensor + 1 for key, tensor in state.items()}
    assert_holds(loaded(CNN, saved(tmp_path / "w.pth", {"state_dict": raw, "state_dict_ema": state})), state)


def test_a_tower_under_visual_is_found(tmp_path):
    state = backbone_state("clip_vits32")
    built = loaded("clip_vits32", saved(tmp_path / "w.safetensors", under("visual.", state)))
    assert_holds(built, state)


@pytest.mark.slow
@pytest.mark.parametrize("wrapped", ["", "module."])
@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_of_a_full_clip_only_the_image_tower_is_loaded(tmp_path, suffix, wrapped):
    config = open_clip.get_model_config("ViT-S-32")
    text = {"context_length": 8, "vocab_size": 8, "width": 384, "heads": 6, "layers": 12}
    whole = open_clip.CLIP(config["embed_dim"], {**config["vision_cfg"], "image_size": 64}, text)
    state = {key: tensor.clone() for key, tensor in whole.state_dict().items()}
    tower = {key.removeprefix("visual."): tensor for key, tensor in state.items() if key.startswith("visual.")}
    rest = [key for key in state if not key.startswith("visual.")]
    shared = [key for key in rest if key in tower]
    assert len(shared) > 100  # the trap is really there
    built = loaded("clip_vits32", saved(tmp_path / f"w{suffix}", under(wrapped, state)))
    assert_holds(built, tower)
    assert sorted(built.unused) == sorted(rest)


@pytest.mark.parametrize("prefix", ["", "visual.", "module.visual."])
def test_a_position_embedding_of_another_size_is_interpolated(tmp_path, prefix):
    state = backbone_state("clip_vits32", 64)
    built = loaded("clip_vits32", saved(tmp_path / "w.pth", under(prefix, state)), 128)
    small, large = state.pop("positional_embedding"), built.model.backbone.state_dict()["positional_embedding"]
    assert (len(small), len(large)) == (1 + 2 * 2, 1 + 4 * 4)
    assert torch.equal(large[0], small[0])  # the class token's place is no place in the picture
    grid = small[1:].reshape(1, 2, 2, -1).permute(0, 3, 1, 2)
    finer = F.interpolate(grid, size=(4, 4), mode="bicubic", antialias=True, align_corners=False)
    assert torch.allclose(large[1:], finer.permute(0, 2, 3, 1).reshape(16, -1), atol=1e-5)
    others = built.model.backbone.state_dict()
    assert all(torch.equal(others[key], tensor) for key, tensor in state.items())


def test_a_timm_transformers_position_embedding_is_interpolated_too(tmp_path):
    state = backbone_state("timm:test_vit", 96)
    built = loaded("timm:test_vit", saved(tmp_path / "w.pth", state), 160)
    small, large = state["pos_embed"], built.model.backbone.state_dict()["pos_embed"]
    assert (small.shape[1], large.shape[1]) == (1 + 6 * 6, 1 + 10 * 10)
    assert torch.equal(large[:, 0], small[:, 0])
    assert built.model.eval()(torch.zeros(1, 3, 160, 160)).shape == (1, 3)


def our_checkpoint(path: Path, name: str, img_size: int) -> dict[str, torch.Tensor]:
    spec = find_model(name)
    built = build(spec, 4, img_size=img_size)
    state = {key: tensor + 1 for key, tensor in built.model.state_dict().items()}
    classes = ("a", "b", "c", "d")
    save_checkpoint(path, Checkpoint(state, spec, classes, built.description, 1, {}, {"model": name}, None))
    return {key.removeprefix("backbone."): tensor for key, tensor in state.items() if key.startswith("backbone.")}


@pytest.mark.parametrize("name", ["clip_vits32", "convnextv2_atto", CNN, "timm:test_vit"])
def test_best_pth_loads_as_weights_without_its_head(tmp_path, name):
    backbone = our_checkpoint(tmp_path / "best.pth", name, SIZES[name])
    built = loaded(name, tmp_path / "best.pth")
    assert_holds(built, backbone)
    assert sorted(built.unused) == ["head.bias", "head.weight"]


@pytest.mark.parametrize(
    ("name", "size", "key"), [("clip_vits32", 128, "positional_embedding"), ("timm:test_vit", 160, "pos_embed")]
)
def test_best_pth_loads_as_weights_at_another_image_size(tmp_path, name, size, key):
    backbone = our_checkpoint(tmp_path / "best.pth", name, SIZES[name])
    own = loaded(name, tmp_path / "best.pth", size).model.backbone.state_dict()
    assert own[key].shape != backbone[key].shape
    assert all(torch.equal(own[other], tensor) for other, tensor in backbone.items() if other != key)


@pytest.mark.parametrize(
    ("name", "head"), [("convnextv2_atto", "head.fc."), (CNN, "classifier."), ("timm:test_vit", "head.")]
)
def test_the_published_classifier_is_listed_as_unused(tmp_path, name, head):
    state = backbone_state(name)
    classifier = {f"{head}weight": torch.zeros(1000, 8), f"{head}bias": torch.zeros(1000)}
    built = loaded(name, saved(tmp_path / "w.safetensors", {**state, **classifier}))
    assert_holds(built, state)
    assert sorted(built.unused) == sorted(classifier)


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_a_missing_tensor_is_named(tmp_path, suffix):
    state = backbone_state(CNN)
    del state["conv_stem.weight"]
    message = refusal(CNN, saved(tmp_path / f"w{suffix}", state))
    assert "'conv_stem.weight'" in message
    assert f"1 of {len(state) + 1}" in message


def test_a_shape_mismatch_names_both_shapes(tmp_path):
    state = backbone_state(CNN)
    state["conv_stem.weight"] = torch.zeros(7, 3, 3, 3)
    message = refusal(CNN, saved(tmp_path / "w.pth", state))
    assert "conv_stem.weight" in message
    assert "(7, 3, 3, 3)" in message
    assert "(16, 3, 3, 3)" in message


@pytest.mark.parametrize("key", ["extra.weight", "backbone.extra.weight", "blocks.99.conv.weight"])
def test_an_unexpected_tensor_is_named(tmp_path, key):
    message = refusal(CNN, saved(tmp_path / "w.pth", {**backbone_state(CNN), key: torch.zeros(3)}))
    assert repr(key.removeprefix("backbone.")) in message, "our own prefix aside, the name as it stands in the file"


def test_a_file_of_another_model_is_refused(tmp_path):
    assert "another model" in refusal("convnextv2_atto", saved(tmp_path / "w.pth", backbone_state(CNN)))


class _Trap:
    """Unpickling it would leave a file behind."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self):
        return (Path.touch, (self.mark,))


@pytest.mark.parametrize("how", ["torch", "pickle"])
def test_a_pickled_object_is_refused_and_not_executed(tmp_path, how):
    path, mark = tmp_path / "w.pth", tmp_path / "executed"
    if how == "torch":
        torch.save({"state_dict": _Trap(mark)}, path)
    else:
        path.write_bytes(pickle.dumps({"state_dict": _Trap(mark)}, protocol=2))
    refusal(CNN, path)
    assert not mark.exists()


def test_a_pickled_module_is_refused(tmp_path):
    path = tmp_path / "w.pth"
    torch.save(torch.nn.Linear(2, 2), path)
    refusal(CNN, path)


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
@pytest.mark.parametrize("content", [b"<!DOCTYPE html>\n<html><body>404</body></html>\n", b"", b"\x00" * 64])
def test_html_empty_and_random_files_are_refused(tmp_path, suffix, content):
    path = tmp_path / f"w{suffix}"
    path.write_bytes(content)
    refusal(CNN, path)


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_half_a_file_is_refused(tmp_path, suffix):
    path = saved(tmp_path / f"w{suffix}", backbone_state(CNN))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    refusal(CNN, path)


@pytest.mark.parametrize("content", [[1, 2], {"epoch": 3, "loss": 0.5}, torch.zeros(3)])
def test_plain_values_without_a_state_dict_are_refused(tmp_path, content):
    assert "state dict" in refusal(CNN, saved(tmp_path / "w.pth", content))


def test_a_path_that_is_no_file_is_refused_with_what_is_allowed(tmp_path):
    for path in (tmp_path / "nothing.pth", tmp_path):
        message = refusal(CNN, path)
        assert "hub" in message
        assert "none" in message
