"""Files that are no weights: one line each that says what the file is and what to do."""

import os
import pickle
import tarfile
import zipfile

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from flowerml.errors import UserError
from flowerml.models.weights.file import read_weights_file

WHAT_IT_IS = {
    "a Git LFS pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n",
    "a web page": b"\n<!DOCTYPE html><html><body>Sign in</body></html>",
    "an HDF5 file": b"\x89HDF\r\n\x1a\n" + bytes(99),
    "a NumPy array": b"\x93NUMPY\x01\x00v\x00{}",
    "an ONNX file": b"\x08\x07\x12\x07pytorch\x1a\x051.0.0",
    "a TensorFlow SavedModel": b"\x08\x01\x12\xd2\x03\n\x01",
    "a TensorFlow Lite file": b"\x1c\x00\x00\x00TFL3" + bytes(99),
    "a GGUF file": b"GGUF\x03\x00\x00\x00",
    "a compressed archive": b"\x1f\x8b\x08\x00" + bytes(99),
    "text (JSON)": b'{"architectures": ["ViT"]}',
}


def refusal(path) -> str:
    with pytest.raises(UserError) as caught:
        read_weights_file(path)
    message = str(caught.value)
    assert message.startswith(f"--weights {path}: ")
    assert "\n" not in message
    return message


@pytest.mark.parametrize("suffix", [".pth", ".safetensors", ""])
@pytest.mark.parametrize(("kind", "content"), WHAT_IT_IS.items())
def test_a_file_of_another_kind_is_named_by_its_content(tmp_path, kind, content, suffix):
    path = tmp_path / f"w{suffix}"
    path.write_bytes(content)
    assert f"it is {kind}" in refusal(path)


@pytest.mark.parametrize("name", ["model.ckpt-7.index", "model.ckpt.data-00000-of-00001", "checkpoint"])
def test_parts_of_a_tensorflow_checkpoint_are_named(tmp_path, name):
    (tmp_path / name).write_bytes(b"\x00\x01 anything")
    assert "a part of a TensorFlow checkpoint" in refusal(tmp_path / name)


def test_archives_are_named(tmp_path):
    np.savez(tmp_path / "w.npz", a=np.zeros(2))
    assert "a NumPy .npz archive" in refusal(tmp_path / "w.npz")
    with zipfile.ZipFile(tmp_path / "w.zip", "w") as archive:
        archive.writestr("w.pth", b"x")
    assert "a zip archive: unpack it" in refusal(tmp_path / "w.zip")
    with zipfile.ZipFile(tmp_path / "w.keras", "w") as archive:
        archive.writestr("model.weights.h5", b"x")
    assert "a Keras file" in refusal(tmp_path / "w.keras")
    with tarfile.open(tmp_path / "w.pth", "w") as archive:
        archive.add(tmp_path / "w.zip", "w.zip")
    refusal(tmp_path / "w.pth")


def test_torchscript_is_named_with_the_command_that_converts_it(tmp_path):
    torch.jit.save(torch.jit.trace(torch.nn.Linear(2, 2), torch.zeros(1, 2)), tmp_path / "w.pth")
    message = refusal(tmp_path / "w.pth")
    assert "it is a TorchScript archive: save its tensors" in message
    assert "torch.jit.load(" in message


def test_classes_are_named_with_the_command_that_allows_them_alone(tmp_path):
    torch.save({"model": torch.nn.Linear(2, 2)}, tmp_path / "w.pth")
    message = refusal(tmp_path / "w.pth")
    assert "(it has torch.nn.modules.linear.Linear)" in message
    assert "add_safe_globals([torch.nn.modules.linear.Linear])" in message
    assert "weights_only=False" not in message


def test_for_functions_there_is_no_such_command(tmp_path):
    class Trap:
        def __reduce__(self):
            return (os.system, ("touch /tmp/executed",))

    torch.save({"state_dict": Trap()}, tmp_path / "w.pth")
    message = refusal(tmp_path / "w.pth")
    assert "(it has posix.system)" in message
    assert "python -c" not in message


def test_an_empty_file_a_folder_half_a_file_and_a_plain_pickle(tmp_path):
    (tmp_path / "empty.pth").touch()
    assert "the file is empty" in refusal(tmp_path / "empty.pth")
    (tmp_path / "folder").mkdir()
    assert "it is a folder" in refusal(tmp_path / "folder")
    torch.save({"w": torch.zeros(99)}, tmp_path / "w.pth")
    whole = (tmp_path / "w.pth").read_bytes()
    (tmp_path / "half.pth").write_bytes(whole[: len(whole) // 2])
    assert "cut off or damaged" in refusal(tmp_path / "half.pth")
    (tmp_path / "plain.pth").write_bytes(pickle.dumps({"w": [1, 2]}))
    refusal(tmp_path / "plain.pth")


def test_safetensors_are_read_under_any_suffix(tmp_path):
    state = {"w": torch.arange(4.0)}
    for name in ("w.pth", "w.bin", "w"):
        save_file(state, tmp_path / name)
        assert torch.equal(read_weights_file(tmp_path / name)["w"], state["w"])
    torch.save(state, tmp_path / "w.safetensors")
    assert torch.equal(read_weights_file(tmp_path / "w.safetensors")["w"], state["w"])
