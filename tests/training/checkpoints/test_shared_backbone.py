"""Checkpoints that hold a head alone: whole when they are read, from a file that many of them share."""

import shutil

import pytest
import torch

from flowerml.errors import UserError
from flowerml.training.checkpoints.checkpoint import load_checkpoint, save_checkpoint
from flowerml.training.checkpoints.plain_file import save_plain
from flowerml.training.checkpoints.shared_backbone import BackboneMissing, share_backbone
from flowerml.training.checkpoints.weights_digest import weights_digest
from tests.training.checkpoints.test_checkpoint import checkpoint


@pytest.fixture
def head_file(tmp_path):
    """A head in a folder beside that of the sweep, which has its backbone."""
    made = checkpoint()
    state = {
        name.removeprefix("backbone."): tensor
        for name, tensor in made.state_dict.items()
        if name.startswith("backbone.")
    }
    (tmp_path / "sweep").mkdir()
    (tmp_path / "sweep-trial-0000").mkdir()
    shared = share_backbone(tmp_path / "sweep", state, weights_digest(state))
    path = tmp_path / "sweep-trial-0000" / "best.pth"
    save_checkpoint(path, made, shared)
    return path


def backbone_of(head_file):
    (path,) = head_file.parent.parent.glob("sweep/backbone-*.pth")
    return path


def test_it_is_read_as_the_whole_model(head_file):
    assert set(torch.load(head_file, weights_only=True)["state_dict"]) == {"head.weight"}
    loaded, whole = load_checkpoint(head_file), checkpoint()
    assert set(loaded.state_dict) == set(whole.state_dict)
    assert all(torch.equal(loaded.state_dict[name], tensor) for name, tensor in whole.state_dict.items())
    assert loaded.metrics == whole.metrics


def test_both_files_in_one_folder_can_be_moved(head_file, tmp_path):
    for path in (head_file, backbone_of(head_file)):
        shutil.copy(path, tmp_path)
    shutil.rmtree(tmp_path / "sweep")
    assert weights_digest(load_checkpoint(tmp_path / "best.pth").state_dict) == weights_digest(checkpoint().state_dict)


def test_without_its_backbone_the_line_says_which_file_it_needs(head_file):
    backbone = backbone_of(head_file)
    backbone.unlink()
    with pytest.raises(BackboneMissing, match=f"put {backbone.name} beside it, from the folder sweep") as caught:
        load_checkpoint(head_file)
    assert caught.value.file_name == backbone.name


def test_the_backbone_is_written_once(head_file):
    backbone = backbone_of(head_file)
    before = backbone.stat().st_mtime_ns
    state = torch.load(backbone, weights_only=True)["state_dict"]
    share_backbone(backbone.parent, state, weights_digest(state))
    assert backbone.stat().st_mtime_ns == before


def test_another_backbone_under_its_name_is_refused(head_file):
    content = torch.load(backbone_of(head_file), weights_only=True)
    save_plain(backbone_of(head_file), {**content, "digest": "0" * 64})
    with pytest.raises(UserError, match="not the backbone that is asked for"):
        load_checkpoint(head_file)


def test_a_damaged_backbone_is_refused(head_file):
    backbone = backbone_of(head_file)
    data = bytearray(backbone.read_bytes())
    data[len(data) // 2] ^= 1
    backbone.write_bytes(data)
    with pytest.raises(UserError, match=f"{backbone.name}: can't be read"):
        load_checkpoint(head_file)


@pytest.mark.parametrize(
    "reference",
    [
        {"folder": "../../etc", "digest": "0" * 64},
        {"folder": "..", "digest": "0" * 64},
        {"folder": "sweep", "digest": "../../passwd"},
        {"folder": "sweep"},
        "sweep",
    ],
)
def test_a_reference_to_other_places_is_refused(head_file, reference):
    content = torch.load(head_file, weights_only=True)
    save_plain(head_file, {**content, "backbone": reference})
    with pytest.raises(UserError, match="a part is not what"):
        load_checkpoint(head_file)
