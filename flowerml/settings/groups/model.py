"""The model and what it takes as input."""

from typing import Literal

from flowerml.settings.groups.base import SettingsGroup
from flowerml.settings.spec import MODEL, RECIPE, setting
from flowerml.settings.values import Float, Int, RgbTriple, Text

SMALLEST_IMAGE, LARGEST_IMAGE = 16, 2048  # px


class ModelSettings(SettingsGroup):
    """The group `model` of `Settings`."""

    model: Text = setting(
        "convnextv2_large",
        group=MODEL,
        about="what to train",
        allowed="catalogue name, timm:NAME, openclip:ARCH[/TAG], relation:timm:NAME",
    )
    weights: Text = setting(
        "hub",
        group=MODEL,
        about="pretrained weights",
        allowed="hub, none, PATH of a .safetensors or .pth",
        identity=False,
        min_length=1,
    )
    img_size: Int = setting(
        group=MODEL,
        about="edge of the square the model sees",
        unit="px",
        auto=RECIPE,
        ge=SMALLEST_IMAGE,
        le=LARGEST_IMAGE,
    )
    mean: RgbTriple | None = setting(
        None, group=MODEL, about="channel means of the input, R,G,B", auto="the model's own"
    )
    std: RgbTriple | None = setting(
        None, group=MODEL, about="channel deviations of the input, R,G,B", auto="the model's own"
    )
    interpolation: Literal["bilinear", "bicubic"] | None = setting(
        None, group=MODEL, about="how pictures are resized", auto="the model's own"
    )
    crop_pct: Float | None = setting(
        None, group=MODEL, about="share of the short edge kept by the centre crop", auto="the model's own", gt=0.1, le=1
    )
    dropout: Float = setting(group=MODEL, about="dropout before the head", auto=RECIPE, ge=0, lt=1)
    head_init: Literal["random", "text"] = setting(
        "random",
        group=MODEL,
        about="start of the head: small random weights, or the embeddings of the class names by the text tower of"
        " open_clip weights",
        late=True,
    )
    drop_path: Float = setting(group=MODEL, about="stochastic depth of the backbone", auto=RECIPE, ge=0, lt=1)
