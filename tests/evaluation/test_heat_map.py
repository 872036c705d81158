"""Heat maps: a model that looks at one place only, real architectures, and deletion on a trained model."""

import numpy as np
import pytest
import timm
import torch
from torch import nn

from flowerml.data.decode import read_image
from flowerml.data.transforms import EvaluationTransform
from flowerml.errors import UserError
from flowerml.evaluation.heat_map import heat_maps
from flowerml.events import MemoryRecorder
from flowerml.prediction import load_network
from flowerml.runs.train import run_training
from flowerml.settings import resolve
from flowerml.training.checkpoints.checkpoint import load_checkpoint
from tests.runs.conftest import SMALL


class RedDetector(nn.Module):
    """Class 1 by the mean of the red channel over a grid of 4 x 4 cells; class 0 never above it."""

    def __init__(self):
        super().__init__()
        self.pool = nn.AvgPool2d(8)

    def forward(self, inputs):
        red = self.pool(inputs)[:, :1].clamp_min(0)
        return torch.cat([-red.mean(dim=(2, 3)), red.mean(dim=(2, 3))], dim=1)


def test_the_map_is_where_the_evidence_is():
    inputs = torch.zeros(2, 3, 32, 32)
    inputs[0, 0, :8, 24:] = 1.0  # the upper right cell is red
    inputs[1, 0, 24:, :8] = 1.0
    inputs[:, 1:] = 5.0  # no evidence
    found = heat_maps(RedDetector(), inputs)
    assert found.targets.tolist() == [1, 1]
    assert found.maps.shape == (2, 32, 32)
    assert np.unravel_index(found.maps[0].argmax(), (32, 32))[0] < 8 <= 24 <= found.maps[0].argmax() % 32
    assert found.maps[1][24:, :8].mean() > 0.7
    assert found.maps[0][16:].max() == 0
    assert found.maps.max() == 1


@pytest.mark.parametrize("name", ["test_resnet", "test_convnext2", "test_vit", "test_vit2", "test_efficientnet"])
def test_real_architectures_have_a_map(name):
    torch.manual_seed(0)
    model = timm.create_model(name, num_classes=4).eval()
    inputs = torch.randn(3, 3, 160, 160)
    with torch.no_grad():
        logits = model(inputs).numpy()
    found = heat_maps(model, inputs)
    assert np.allclose(found.logits, logits, atol=1e-5)
    assert (found.targets == logits.argmax(1)).all()
    assert found.maps.shape == (3, 160, 160)
    assert found.maps.min() >= 0
    assert found.maps.max() == pytest.approx(1)
    assert found.maps.std() > 0.01
    alone = heat_maps(model, inputs[1:2])
    assert np.allclose(alone.maps[0], found.maps[1], atol=1e-3), "pictures of a batch don't mix"
    assert not any(parameter.grad is not None for parameter in model.parameters())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


def test_open_clip_tower_has_a_map():
    import open_clip

    vision = {"image_size": 64, "layers": 3, "width": 64, "patch_size": 16, "head_width": 32}
    text = {"context_length": 8, "vocab_size": 8, "width": 64, "heads": 1, "layers": 1}
    torch.manual_seed(0)
    model = nn.Sequential(open_clip.CLIP(32, vision, text).visual, nn.Linear(32, 3)).eval()
    found = heat_maps(model, torch.randn(2, 3, 64, 64))
    assert found.maps.max(axis=(1, 2)) == pytest.approx([1, 1])


def test_a_model_without_maps_is_refused():
    with pytest.raises(UserError, match="no feature map and no tokens were found"):
        heat_maps(nn.Sequential(nn.Flatten(), nn.Linear(3 * 64, 2)), torch.zeros(1, 3, 8, 8))


@pytest.mark.slow
@pytest.mark.parametrize("model", ["timm:test_resnet", "timm:test_vit"])
def test_deletion_of_what_is_bright_costs_more_than_of_as_much_at_random(model, flowers, tmp_path):
    """Masking the top 30 % of a map lowers the predicted class's logit more than masking random squares of 30 %."""
    plain = dict.fromkeys(("mixup", "cutmix", "randaugment", "random_erasing", "freeze_backbone_epochs"), 0)
    rates = {"lr_head": 5e-3, "lr_backbone": 5e-3, "batch_size": 8, "epochs": 12, "ema": False, "img_size": 160}
    if model.endswith("vit"):
        rates |= {"lr_head": 1e-3, "lr_backbone": 1e-3}
    given = {**SMALL, "model": model, **plain, **rates, "train_dir": str(flowers), "output_dir": str(tmp_path / "out")}
    run_training(resolve(given)[0], lambda *_: MemoryRecorder())
    checkpoint = load_checkpoint(tmp_path / "out" / "best.pth")
    network, transform = load_network(tmp_path / "out" / "best.pth"), EvaluationTransform(checkpoint.description)
    inputs = torch.stack([transform(read_image(flowers / name)) for name in checkpoint.split["train"]])
    found = heat_maps(network, inputs)
    count, rng = int(0.3 * 160 * 160), np.random.default_rng(0)

    def drop(scores):
        masked = inputs.clone()
        for place, score in enumerate(scores):
            top = np.argsort(-score.ravel(), kind="stable")[:count]
            masked[place].view(3, -1)[:, top] = 0.0  # the mean's colour
        with torch.inference_mode():
            logits = network(masked).numpy()
        rows = np.arange(len(inputs))
        return float((found.logits[rows, found.targets] - logits[rows, found.targets]).mean())

    cells = rng.random((5, len(inputs), 10, 10)).repeat(16, axis=2).repeat(16, axis=3)
    at_random = np.mean([drop(scores) for scores in cells])
    assert drop(found.maps) > at_random
    assert drop(found.maps) > drop(1 - found.maps)
