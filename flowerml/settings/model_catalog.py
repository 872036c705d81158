"""Which model names exist, and what is known of each without building it. Pure: `--help` and plan checks read it."""

import difflib
import re
from dataclasses import dataclass
from enum import StrEnum

from flowerml.errors import UserError


class Family(StrEnum):
    """What a recipe, a selection and a registered model are kept for."""

    CNN = "cnn"
    VIT = "vit"
    RELATION = "relation"


class Library(StrEnum):
    """Who builds the backbone."""

    TIMM = "timm"
    OPEN_CLIP = "open_clip"


@dataclass(frozen=True)
class ModelSpec:
    """What to build.

    `hub` names the published weights: a timm tag or an open_clip tag; "" where none are published. `patch` is the ViT's
    patch edge in pixels (the image size must be a multiple of it), None where any size goes or where only the library
    knows.
    """

    name: str
    family: Family
    library: Library
    architecture: str
    hub: str
    img_size: int = 224
    patch: int | None = None


def _convnextv2(size: str, tag: str) -> ModelSpec:
    return ModelSpec(f"convnextv2_{size}", Family.CNN, Library.TIMM, f"convnextv2_{size}", tag)


def _clip(name: str, architecture: str, patch: int, hub: str = "openai", img_size: int = 224) -> ModelSpec:
    # OpenAI trained with QuickGELU; without it the same weights are silently worse, so the architecture's name carries
    # it.
    return ModelSpec(name, Family.VIT, Library.OPEN_CLIP, architecture, hub, img_size, patch)


def _relation(name: str, architecture: str, hub: str) -> ModelSpec:
    return ModelSpec(name, Family.RELATION, Library.TIMM, architecture, hub, img_size=128)


_KNOWN = {
    spec.name: spec
    for spec in (
        _convnextv2("atto", "fcmae_ft_in1k"),
        _convnextv2("femto", "fcmae_ft_in1k"),
        _convnextv2("pico", "fcmae_ft_in1k"),
        _convnextv2("nano", "fcmae_ft_in22k_in1k"),
        _convnextv2("tiny", "fcmae_ft_in22k_in1k"),
        _convnextv2("base", "fcmae_ft_in22k_in1k"),
        _convnextv2("large", "fcmae_ft_in22k_in1k"),
        _convnextv2("huge", "fcmae_ft_in1k"),
        _clip("clip_vitl14", "ViT-L-14-quickgelu", 14),
        _clip("clip_vitl14_336", "ViT-L-14-336-quickgelu", 14, img_size=336),
        _clip("clip_vitb16", "ViT-B-16-quickgelu", 16),
        _clip("clip_vitb32", "ViT-B-32-quickgelu", 32),
        # Small towers for tests and demos: nobody has published OpenAI weights for them.
        _clip("clip_vits16", "ViT-S-16", 16, hub=""),
        _clip("clip_vits32", "ViT-S-32", 32, hub=""),
        # Crops of 128 px through the ImageNet weights of torchvision's first recipe, as in the experiments these names
        # come from.
        _relation("relation_resnet18", "resnet18", "tv_in1k"),
        _relation("relation_resnet50", "resnet50", "tv_in1k"),
    )
}

_RELATION_OF = "relation:timm:"
# Names by which transformers go in timm; everything else counts as a CNN (RepViT, FastViT and MobileViT are, for all
# their names).
_TIMM_VIT = re.compile(
    r"(?<!rep)(?<!fast)(?<!mobile)vit|(^|_)(deit|beit|eva|swin|cait|xcit|twins|siglip|pit|volo|tnt|hiera|aimv2|visformer|coat|sequencer|mixer)",
    re.IGNORECASE,
)
# In open_clip it is the other way round: few towers are CNNs.
_OPEN_CLIP_CNN = re.compile(r"^RN\d|convnext|resnet|^MobileCLIP", re.IGNORECASE)


def known_models() -> tuple[str, ...]:
    """The catalogue's own names, smallest first within a family."""
    return tuple(_KNOWN)


def find_model(name: str) -> ModelSpec:
    """The specification of a catalogue name, of `timm:NAME`, `openclip:ARCH[/TAG]` or `relation:timm:NAME`.

    Whether timm or open_clip know the part after the colon is found out by the builder.

    Raises:
        UserError: the name is neither; names the nearest one.
    """
    if name in _KNOWN:
        return _KNOWN[name]
    if name.startswith(_RELATION_OF) and len(name) > len(_RELATION_OF):
        architecture, _, tag = name.removeprefix(_RELATION_OF).partition(".")
        return _relation(name, architecture, tag or "default")
    prefix, colon, rest = name.partition(":")
    if colon and rest and prefix in ("timm", "openclip"):
        return _library_model(name, prefix, rest)
    near = difflib.get_close_matches(name, [*_KNOWN, "timm:NAME", "openclip:ARCH", "relation:timm:NAME"], n=1)
    hint = f" Did you mean {near[0]}?" if near else ""
    raise UserError(
        f"--model {name!r} is unknown.{hint} Allowed: {', '.join(_KNOWN)}, timm:NAME, openclip:ARCH[/TAG] or"
        " relation:timm:NAME"
    )


def _library_model(name: str, prefix: str, rest: str) -> ModelSpec:
    if prefix == "timm":
        family = Family.VIT if _TIMM_VIT.search(rest) else Family.CNN
        architecture, _, tag = rest.partition(".")
        return ModelSpec(name, family, Library.TIMM, architecture, tag or "default")
    family = Family.CNN if _OPEN_CLIP_CNN.search(rest) else Family.VIT
    architecture, _, tag = rest.partition("/")
    return ModelSpec(name, family, Library.OPEN_CLIP, architecture, tag or "openai")
