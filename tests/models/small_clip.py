"""A small open_clip model with a text tower, of random weights: no trained text tower is at hand in the tests."""

import json
from pathlib import Path

import open_clip
import torch
from torch import nn

NAME = "tests-small-clip"  # its name in open_clip
MODEL = f"openclip:{NAME}"  # and in flowerml
SIZE = 32  # px
CONFIG = {
    "embed_dim": 24,
    "vision_cfg": {"image_size": SIZE, "layers": 2, "width": 64, "patch_size": 16, "head_width": 32},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 2},
}


def register(folder: Path) -> None:
    """Make it known to open_clip, as one of its own architectures."""
    (folder / f"{NAME}.json").write_text(json.dumps(CONFIG))
    open_clip.add_model_config(folder)


def make(seed: int = 0) -> open_clip.CLIP:
    """The whole model, in evaluation mode."""
    torch.manual_seed(seed)
    model = open_clip.CLIP(CONFIG["embed_dim"], CONFIG["vision_cfg"], CONFIG["text_cfg"]).eval()
    # As it is initialised, all texts have nearly one embedding.
    for parameter in (model.token_embedding.weight, model.positional_embedding):
        nn.init.normal_(parameter, std=1.0)
    return model


def save(folder: Path, model: open_clip.CLIP) -> Path:
    """Its state dict as a file."""
    torch.save(model.state_dict(), folder / "small_clip.pth")
    return folder / "small_clip.pth"
