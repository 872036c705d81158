"""The catalog of model names, and what is known of each without building it (for `--help` and plan checks)."""

import difflib
import re
from dataclasses import dataclass
from enum import StrEnum

from flowerml.errors import UserError


class Family(StrEnum):
    """Model families: each has its own recipe, selection and registered model."""

    CNN = "cnn"
    VIT = "vit"
    RELATION = "relation"


class Library(StrEnum):
    """The library that builds the backbone."""

    TIMM = "timm"
    OPEN_CLIP = "open_clip"


@dataclass(frozen=True)
class ModelSpec:
    """The specification of a model to build.

    `hub` is the tag of the published weights in timm or open_clip; "" if there are none. `patch` is the edge of a ViT's
    patch in pixels (the image size must be a multiple of it); None if any size is valid or only the library knows.
    """

    name: str
    family: Family
    library: Library
    architecture: str
    hub: str
    img_size: int = 224
    patch: int | None = None


def _convnextv2_spec(size: str, tag: str) -> ModelSpec:
    return ModelSpec(f"convnextv2_{size}", Family.CNN, Library.TIMM, f"convnextv2_{size}", tag)


def _clip_spec(name: str, architecture: str, patch: int, hub: str = "openai", img_size: int = 224) -> ModelSpec:
    # OpenAI's weights were trained with QuickGELU and are silently worse without it: the architecture must name it.
    return ModelSpec(name, Family.VIT, Library.OPEN_CLIP, architecture, hub, img_size, patch)


def _relation_spec(name: str, architecture: str, hub: str) -> ModelSpec:
    return ModelSpec(name, Family.RELATION, Library.TIMM, architecture, hub, img_size=128)


_KNOWN = {
    spec.name: spec
    for spec in (
        _convnextv2_spec("atto", "fcmae_ft_in1k"),
        _convnextv2_spec("femto", "fcmae_ft_in1k"),
        _convnextv2_spec("pico", "fcmae_ft_in1k"),
        _convnextv2_spec("nano", "fcmae_ft_in22k_in1k"),
        _convnextv2_spec("tiny", "fcmae_ft_in22k_in1k"),
        _convnextv2_spec("base", "fcmae_ft_in22k_in1k"),
        _convnextv2_spec("large", "fcmae_ft_in22k_in1k"),
        _convnextv2_spec("huge", "fcmae_ft_in1k"),
        _clip_spec("clip_vitl14", "ViT-L-14-quickgelu", 14),
        _clip_spec("clip_vitl14_336", "ViT-L-14-336-quickgelu", 14, img_size=336),
        _clip_spec("clip_vitb16", "ViT-B-16-quickgelu", 16),
        _clip_spec("clip_vitb32", "ViT-B-32-quickgelu", 32),
        # Small towers for tests and demos, without published weights.
        _clip_spec("clip_vits16", "ViT-S-16", 16, hub=""),
        _clip_spec("clip_vits32", "ViT-S-32", 32, hub=""),
        # 128 px crops and the ImageNet weights of torchvision's first recipe: see docs/relations.md.
        _relation_spec("relation_resnet18", "resnet18", "tv_in1k"),
        _relation_spec("relation_resnet50", "resnet50", "tv_in1k"),
    )
}

_RELATION_OF = "relation:timm:"
# Architecture names of transformers in timm; the rest count as CNNs (RepViT, FastViT and MobileViT are CNNs).
_TIMM_VIT = re.compile(
    r"(?<!rep)(?<!fast)(?<!mobile)vit|(^|_)(deit|beit|eva|swin|cait|xcit|twins|siglip|pit|volo|tnt|hiera|aimv2|visformer|coat|sequencer|mixer)",
    re.IGNORECASE,
)
# In open_clip only a few image towers are CNNs.
_OPEN_CLIP_CNN = re.compile(r"^RN\d|convnext|resnet|^MobileCLIP", re.IGNORECASE)


def known_models() -> tuple[str, ...]:
    """The names in the catalog, smallest model first within a family."""
    return tuple(_KNOWN)


def find_model(name: str) -> ModelSpec:
    """The specification of a catalogue name, of `timm:NAME`, `openclip:ARCH[/TAG]` or `relation:timm:NAME`.

    The builder checks whether timm or open_clip know the part after the colon.

    Raises:
        UserError: the name is unknown; the message suggests the nearest one.
    """
    if name in _KNOWN:
        return _KNOWN[name]
    if name.startswith(_RELATION_OF) and len(name) > len(_RELATION_OF):
        architecture, _, tag = name.removeprefix(_RELATION_OF).partition(".")
        return _relation_spec(name, architecture, tag or "default")
    prefix, colon, rest = name.partition(":")
    if colon and rest and prefix in ("timm", "openclip"):
        return _library_spec(name, prefix, rest)
    near = difflib.get_close_matches(name, [*_KNOWN, "timm:NAME", "openclip:ARCH", "relation:timm:NAME"], n=1)
    hint = f" Did you mean {near[0]}?" if near else ""
    raise UserError(
        f"--model {name!r} is unknown.{hint} Allowed: {', '.join(_KNOWN)}, timm:NAME, openclip:ARCH[/TAG] or"
        " relation:timm:NAME"
    )


def _library_spec(name: str, prefix: str, rest: str) -> ModelSpec:
    if prefix == "timm":
        family = Family.VIT if _TIMM_VIT.search(rest) else Family.CNN
        architecture, _, tag = rest.partition(".")
        return ModelSpec(name, family, Library.TIMM, architecture, tag or "default")
    family = Family.CNN if _OPEN_CLIP_CNN.search(rest) else Family.VIT
    architecture, _, tag = rest.partition("/")
    return ModelSpec(name, family, Library.OPEN_CLIP, architecture, tag or "openai")
