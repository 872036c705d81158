"""Runs with `--lora-rank`: files as any run's, small changes of low rank, and what it does not go with."""

import numpy as np
import pytest
import torch

from flowerml.errors import UserError
from flowerml.prediction import load_network, load_vit_model, predict_proba
from flowerml.settings import resolve
from flowerml.training.checkpoints.checkpoint import load_checkpoint
from tests.runs.conftest import SMALL

pytestmark = pytest.mark.slow

VIT = {"model": "timm:test_vit", "img_size": 160, "cutmix": 0, "mixup": 0, "randaugment": 0}


@pytest.fixture(scope="module")
def runs(train_small):
    """A ViT whose backbone was trained by LoRA, and one whose head alone was."""
    frozen = {"freeze_backbone_epochs": 2, "warmup_epochs": 0, "epochs": 2, "ema": False}
    lora = {**frozen, "freeze_backbone_epochs": 0, "lora_rank": 2, "lr_backbone": 1e-2}
    return [train_small(**VIT, **changes)[0].folder for changes in (lora, frozen)]


def test_only_linear_layers_have_changed_by_matrices_of_that_rank(runs):
    tuned, start = (load_checkpoint(folder / "best.pth").state_dict for folder in runs)
    changed = {
        name for name, tensor in tuned.items() if name.startswith("backbone.") and not torch.equal(tensor, start[name])
    }
    assert changed
    for name in changed:
        assert name.endswith(("qkv.weight", "proj.weight", "fc1.weight", "fc2.weight"))
        assert torch.linalg.matrix_rank(tuned[name] - start[name], atol=1e-6) <= 2


def test_the_file_is_an_ordinary_models(runs, flowers):
    """Merged: it has the keys of any run, and loads and predicts through every loader."""
    tuned, start = (load_checkpoint(folder / "best.pth").state_dict for folder in runs)
    assert tuned.keys() == start.keys()
    probe = np.load(runs[0] / "probe.npz")
    with torch.inference_mode():
        logits = load_network(runs[0] / "best.pth")(torch.from_numpy(probe["inputs"]))
    np.testing.assert_array_equal(logits.numpy(), probe["logits"])
    photo = next((flowers / "rose").glob("*.jpg"))
    assert predict_proba(load_vit_model(runs[0] / "best.pth"), photo).sum() == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"sam_rho": 0.05}, "--lora-rank 4 does not go with --sam-rho 0.05"),
        ({"gpus": 2}, "--gpus 2 does not go with --lora-rank 4"),
        (
            {"probe": True, "freeze_backbone_epochs": "auto", "lr_backbone": "auto"},
            "--lora-rank 4 does not go with --probe",
        ),
        ({"model": "relation:timm:test_convnext2"}, "--lora-rank 4: only for whole pictures"),
    ],
)
def test_what_it_does_not_go_with(flowers, given, message):
    with pytest.raises(UserError) as caught:
        resolve({**SMALL, "train_dir": str(flowers), "lora_rank": 4, **given})
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_backbone_without_linear_layers_is_refused(train_small):
    with pytest.raises(UserError, match="the backbone of timm:mobilenetv2_050 has no linear layers") as caught:
        train_small(model="timm:mobilenetv2_050", lora_rank=4)
    assert "\n" not in str(caught.value)
