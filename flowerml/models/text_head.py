"""Class embeddings from the text tower of an open_clip model, as the weight of a linear head.

CLIP classifies without training by the cosine between an image's embedding and those of texts that name the classes,
each the mean over several prompts (Radford et al., "Learning Transferable Visual Models From Natural Language
Supervision", ICML 2021, section 3.1.4). A linear head with these embeddings as its rows and no bias has the same
argmax, also for embeddings of images that are not normalised: their length scales all logits alike.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import open_clip
import torch
from torch import nn

from flowerml.errors import UserError
from flowerml.models.backbone import create_from_hub
from flowerml.models.open_clip_backbone import uses_quick_gelu
from flowerml.models.precision import plain_fp32
from flowerml.models.weights.file import read_weights_file
from flowerml.models.weights.state_dict import Tensors, match, state_dicts
from flowerml.settings import ModelSpec

# Of the 80 prompts that CLIP's authors use for ImageNet, those that describe plain photos.
PROMPTS = (
    "a photo of a {}.",
    "a good photo of a {}.",
    "a bad photo of a {}.",
    "a close-up photo of a {}.",
    "a cropped photo of a {}.",
    "a photo of a small {}.",
)
FLOWER_SUFFIX = ", a type of flower."  # their prompt for flowers is "a photo of a {}, a type of flower."
MAX_SCALE = 100.0  # the logit scale where the weights have none, and the limit that CLIP was trained with
_NO_VISION = {"image_size": 8, "patch_size": 8, "layers": 1, "width": 64}  # only the text tower is used


@dataclass(frozen=True)
class ClassEmbeddings:
    """Unit vectors (C, F), one per class, and the factor of the cosines in CLIP's own logits."""

    embeddings: torch.Tensor
    scale: float


def prompts_for(classes: Sequence[str], flowers: Sequence[str]) -> tuple[str, ...]:
    """The prompts: they say that it is a flower where all classes are among `flowers`."""
    if set(classes) <= set(flowers):
        return tuple(prompt.removesuffix(".") + FLOWER_SUFFIX for prompt in PROMPTS)
    return PROMPTS


def require_text_tower(spec: ModelSpec, weights: str) -> None:
    """Check that class embeddings can be computed from `weights` (hub or a path); nothing is downloaded.

    Raises:
        UserError: the architecture's text tower or tokenizer is not supported, or a file holds no text tower of it.
    """
    config = open_clip.get_model_config(spec.architecture)
    if config is None:
        return  # unknown: building the backbone says so
    text = config["text_cfg"]
    if any(text.get(name) for name in ("hf_model_name", "hf_tokenizer_name")) or "multimodal_cfg" in config:
        raise UserError(
            f"--head-init text: the texts of {spec.name} need a tokenizer or a model of the transformers library, or a"
            " captioning model, which flowerml does not use. Allowed: open_clip models with CLIP's own tokenizer; or"
            " --head-init random"
        )
    if weights != "hub":
        with torch.device("meta"):
            expected = _text_model(config, quick_gelu=False).text.state_dict()
        _text_tensors(read_weights_file(Path(weights)), expected, spec, weights)


@torch.inference_mode()
@plain_fp32()
def class_embeddings(spec: ModelSpec, weights: str, classes: Sequence[str], prompts: Sequence[str]) -> ClassEmbeddings:
    """Encode the class names in all `prompts` with the text tower of `weights` (hub or a path), on the CPU.

    Underscores in names are read as spaces. The weights from the hub are those that the image tower comes from.

    Raises:
        UserError: as `require_text_tower`, or the published weights can't be fetched.
    """
    with torch.random.fork_rng(devices=[]):  # the seeds of the training stay as they are without
        model, scale = _published(spec) if weights == "hub" else _from_file(spec, weights)
    names = [name.replace("_", " ") for name in classes]
    tokenizer = open_clip.get_tokenizer(spec.architecture)
    columns = open_clip.build_zero_shot_classifier(model.eval(), tokenizer, names, list(prompts))
    return ClassEmbeddings(columns.T.contiguous().float(), scale)


@torch.no_grad()
def set_text_head(head: nn.Linear, found: ClassEmbeddings, feature_norm: float) -> None:
    """Start a head from class embeddings. For features of length `feature_norm` its logits are those of CLIP."""
    head.weight.copy_(found.embeddings * (found.scale / feature_norm))
    head.bias.zero_()


def _text_model(config: dict[str, Any], *, quick_gelu: bool) -> open_clip.CustomTextCLIP:
    return open_clip.CustomTextCLIP(config["embed_dim"], _NO_VISION, config["text_cfg"], quick_gelu=quick_gelu)


def _published(spec: ModelSpec) -> tuple[nn.Module, float]:
    """The whole published model. Raises UserError where it can't be fetched."""
    model: nn.Module = create_from_hub(spec, lambda: open_clip.create_model(spec.architecture, spec.hub), hub=True)
    return model, _scale(model.get_parameter("logit_scale"))


def _from_file(spec: ModelSpec, weights: str) -> tuple[nn.Module, float]:
    """A model with the text tower of a file. Raises UserError where it holds none of this architecture."""
    content = read_weights_file(Path(weights))
    config = open_clip.get_model_config(spec.architecture)
    assert config is not None, "the backbone was built before"
    model = _text_model(config, quick_gelu=uses_quick_gelu(spec))
    model.text.load_state_dict(_text_tensors(content, model.text.state_dict(), spec, weights))
    scales = (
        tensor
        for _, tensors in state_dicts(content)
        for name, tensor in tensors.items()
        if name.rpartition(".")[2] == "logit_scale"
    )
    return model, _scale(next(scales, None))


def _text_tensors(content: object, expected: Tensors, spec: ModelSpec, weights: str) -> Tensors:
    """The text tower's tensors, alone or beside an image tower, under any prefix. Raises UserError."""
    found = match(content, expected)
    if found is None or any(found.tensors[name].shape != tensor.shape for name, tensor in expected.items()):
        raise UserError(
            f"--head-init text: --weights {weights} holds no text tower of {spec.name}. Allowed: a whole open_clip"
            " checkpoint, --weights hub, or --head-init random"
        )
    return {name: found.tensors[name] for name in expected}


def _scale(logarithm: torch.Tensor | None) -> float:
    """The factor of CLIP's logits from its trained logarithm."""
    return MAX_SCALE if logarithm is None else min(math.exp(float(logarithm.reshape(-1)[0])), MAX_SCALE)
