"""The checkpoint format: documented keys, plain values, atomic writes, and one error line for any other file."""

import pickle
import zipfile

import pytest
import torch

from flowerml.data.transforms import InputDescription
from flowerml.errors import UserError
from flowerml.settings import Settings, find_model, resolve
from flowerml.training.checkpoints.checkpoint import FORMAT, Checkpoint, load_checkpoint, save_checkpoint

CONTRACT = {"format", "state_dict", "model", "family", "classes", "input", "epoch", "metrics", "settings"}
PLAIN = (str, int, float, bool, type(None), torch.Tensor)


def checkpoint(model: str = "convnextv2_atto", *, split=None, prefix: str = "", size: int = 64) -> Checkpoint:
    generator = torch.Generator().manual_seed(0)
    state = {
        f"{prefix}backbone.weight": torch.randn(size, size, generator=generator)
        .to(memory_format=torch.contiguous_format)
        .t(),
        f"{prefix}head.weight": torch.nn.Parameter(torch.randn(3, size, generator=generator)),
        f"{prefix}backbone.num_batches_tracked": torch.tensor(7),
    }
    settings, _ = resolve({"model": model, "classes": "rose,daisy,tulip", "seed": 0, "lr_head": "1e-4"})
    return Checkpoint(
        state_dict=state,
        spec=find_model(model),
        classes=("daisy", "rose", "tulip"),
        description=InputDescription(64, (0.5, 0.4, 0.3), (0.2, 0.25, 0.3), "bilinear", 0.9),
        epoch=3,
        metrics={"val_accuracy": 0.75, "val_macro_f1": 0.7, "val_loss": 0.6},
        settings=settings.model_dump(mode="json"),
        split=split,
    )


def written(path, **options):
    made = checkpoint(**options)
    save_checkpoint(path, made)
    return made


def plain(value) -> bool:
    if isinstance(value, dict):
        return all(type(key) is str and plain(item) for key, item in value.items())
    return all(map(plain, value)) if type(value) is list else type(value) in PLAIN


def refusal(path) -> str:
    with pytest.raises(UserError) as caught:
        load_checkpoint(path)
    message = str(caught.value)
    assert "\n" not in message
    assert str(path) in message
    return message


@pytest.mark.parametrize(
    "model", ["convnextv2_atto", "clip_vits32", "timm:mobilenetv2_050", "openclip:ViT-B-32/laion2b_s34b_b79k"]
)
def test_a_checkpoint_round_trips(tmp_path, model):
    split = {"seed": 11, "val": ["rose/1.jpg"], "train": ["rose/2.jpg"], "sha256": {"rose/1.jpg": "00"}}
    before = written(tmp_path / "best.pth", model=model, split=split)
    after = load_checkpoint(tmp_path / "best.pth")
    assert after.state_dict.keys() == before.state_dict.keys()
    assert all(torch.equal(after.state_dict[name], tensor) for name, tensor in before.state_dict.items())
    for name in ("spec", "classes", "description", "epoch", "metrics", "settings", "split"):
        assert getattr(after, name) == getattr(before, name), name
        assert type(getattr(after, name)) is type(getattr(before, name)), name
    assert type(after.spec.family) is type(before.spec.family)
    assert type(after.spec.library) is type(before.spec.library)


def test_stored_settings_are_valid(tmp_path):
    before = written(tmp_path / "best.pth")
    settings = Settings.model_validate(load_checkpoint(tmp_path / "best.pth").settings)
    assert settings.model_dump(mode="json") == before.settings
    assert (settings.seed, settings.lr_head) == (0, 1e-4)


def test_the_file_has_the_documented_keys_and_only_plain_values(tmp_path):
    written(tmp_path / "best.pth", split={"seed": 11})
    content = torch.load(tmp_path / "best.pth", weights_only=True)
    assert set(content) == CONTRACT | {"split"}
    assert plain(content)
    assert content["format"] == FORMAT
    assert (content["family"], content["classes"], content["epoch"]) == ("cnn", ["daisy", "rose", "tulip"], 3)
    assert set(content["input"]) == {"size", "mean", "std", "interpolation", "crop_pct"}
    assert content["model"]["name"] == "convnextv2_atto"


def test_a_delivered_file_has_no_split(tmp_path):
    written(tmp_path / "delivered.pth", split=None)
    assert set(torch.load(tmp_path / "delivered.pth", weights_only=True)) == CONTRACT
    assert load_checkpoint(tmp_path / "delivered.pth").split is None


def test_the_activation_is_stored(tmp_path):
    """QuickGELU is part of the architecture's name, and that is stored."""
    written(tmp_path / "best.pth", model="clip_vitb32")
    assert load_checkpoint(tmp_path / "best.pth").spec.architecture == "ViT-B-32-quickgelu"


def test_the_prefix_of_compiled_models_is_removed(tmp_path):
    written(tmp_path / "best.pth", prefix="_orig_mod.")
    state = load_checkpoint(tmp_path / "best.pth").state_dict
    assert set(state) == {"backbone.weight", "head.weight", "backbone.num_batches_tracked"}


def test_tensors_are_stored_without_gradient_contiguous_and_on_the_cpu(tmp_path):
    written(tmp_path / "best.pth")
    for tensor in load_checkpoint(tmp_path / "best.pth").state_dict.values():
        assert tensor.is_contiguous()
        assert not tensor.requires_grad
        assert tensor.device.type == "cpu"


def test_a_failed_write_leaves_the_older_file(tmp_path):
    path = tmp_path / "best.pth"
    written(path)
    before = path.read_bytes()
    broken = checkpoint()
    broken.metrics["unpicklable"] = lambda: None
    with pytest.raises(Exception, match="pickle"):
        save_checkpoint(path, broken)
    assert path.read_bytes() == before
    assert [found.name for found in tmp_path.iterdir()] == ["best.pth"]


def test_an_unwritable_folder_is_one_error_line(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UserError) as caught:
        save_checkpoint(tmp_path / "file" / "best.pth", checkpoint())
    assert "\n" not in str(caught.value)


def test_a_missing_file_and_a_folder_are_refused(tmp_path):
    assert "no such file" in refusal(tmp_path / "best.pth")
    refusal(tmp_path)


@pytest.mark.parametrize("left", [0, 10, 1000, 0.5, 0.99])
def test_a_truncated_file_is_refused(tmp_path, left):
    path = tmp_path / "best.pth"
    written(path)
    data = path.read_bytes()
    path.write_bytes(data[: left if isinstance(left, int) else int(left * len(data))])
    assert "can't be read" in refusal(path)


@pytest.mark.parametrize("place", ["weights", "pickle"])
def test_a_flipped_byte_is_refused(tmp_path, place):
    """torch itself checks no sums: one flipped byte of a weight would pass, and the model would be another one than was
    evaluated.
    """
    path = tmp_path / "best.pth"
    made = written(path)
    data = bytearray(path.read_bytes())
    wanted = made.state_dict["head.weight"].detach().numpy().tobytes() if place == "weights" else b"val_macro_f1"
    where = data.find(wanted)
    assert where > 0
    data[where + 7] ^= 0x01
    path.write_bytes(data)
    refusal(path)


@pytest.mark.parametrize(
    "content",
    [
        [1, 2],
        {},
        {"state_dict": {}},
        {"format": FORMAT},
        {"weight": torch.zeros(2)},
        "text",
        {"format": "flowerml-checkpoint-9"},
    ],
)
def test_files_of_other_programs_are_refused(tmp_path, content):
    torch.save(content, tmp_path / "other.pth")
    assert "not written by flowerml" in refusal(tmp_path / "other.pth")


def test_another_version_of_the_format_is_refused(tmp_path):
    written(tmp_path / "best.pth")
    content = torch.load(tmp_path / "best.pth", weights_only=True)
    torch.save({**content, "format": "flowerml-checkpoint-9"}, tmp_path / "best.pth")
    assert FORMAT in refusal(tmp_path / "best.pth")


@pytest.mark.parametrize(
    "change", [{"model": {"name": "x"}}, {"model": "x"}, {"input": {"size": 64}}, {"state_dict": [1]}, {"classes": 3}]
)
def test_a_file_with_invalid_parts_is_refused(tmp_path, change):
    written(tmp_path / "best.pth")
    content = torch.load(tmp_path / "best.pth", weights_only=True)
    torch.save({**content, **change}, tmp_path / "best.pth")
    refusal(tmp_path / "best.pth")


class _Trap:
    def __init__(self, mark) -> None:
        self.mark = mark

    def __reduce__(self):
        return (type(self.mark).touch, (self.mark,))


@pytest.mark.parametrize("how", ["torch", "pickle", "html", "empty"])
def test_pickled_code_is_refused_and_not_executed(tmp_path, how):
    path, mark = tmp_path / "best.pth", tmp_path / "executed"
    if how == "torch":
        torch.save({"format": FORMAT, "state_dict": _Trap(mark)}, path)
    else:
        path.write_bytes(
            {"pickle": pickle.dumps(_Trap(mark), protocol=2), "html": b"<!doctype html>\n<html></html>", "empty": b""}[
                how
            ]
        )
    refusal(path)
    assert not mark.exists()


def test_a_compressed_file_is_refused(tmp_path):
    """Its sums are right, but its tensors are compressed: their bytes, mapped, would be other weights."""
    written(tmp_path / "best.pth")
    with zipfile.ZipFile(tmp_path / "best.pth") as source, zipfile.ZipFile(tmp_path / "packed.pth", "w") as target:
        for part in source.namelist():
            target.writestr(
                part, source.read(part), zipfile.ZIP_DEFLATED if part.endswith("/data/0") else zipfile.ZIP_STORED
            )
    assert "can't be read" in refusal(tmp_path / "packed.pth")
