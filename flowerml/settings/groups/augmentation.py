"""Augmentation and regularisation: mixing, crops, colours, erasing, label smoothing."""

from typing import Literal

from flowerml.settings.groups.base import SettingsGroup
from flowerml.settings.spec import AUGMENT, RECIPE, setting
from flowerml.settings.values import Bool, Float, Int


class AugmentationSettings(SettingsGroup):
    """The group `augmentation and regularisation` of `Settings`."""

    label_smoothing: Float = setting(
        group=AUGMENT, about="share of the target spread over all classes", auto=RECIPE, ge=0, lt=1
    )
    mixup: Float = setting(group=AUGMENT, about="alpha of mixup; 0 is off", auto=RECIPE, ge=0, le=10)
    cutmix: Float = setting(group=AUGMENT, about="alpha of cutmix; 0 is off", auto=RECIPE, ge=0, le=10)
    unmixed_epochs: Int = setting(
        0,
        group=AUGMENT,
        about="last epochs of the schedule without mixup and cutmix",
        unit="epochs",
        ge=0,
        le=10_000,
        late=True,
    )
    randaugment: Int = setting(
        group=AUGMENT, about="magnitude of RandAugment (2 operations); 0 is off", auto=RECIPE, ge=0, le=30
    )
    trivialaugment: Bool = setting(
        False,
        group=AUGMENT,
        about="TrivialAugment (wide) in place of RandAugment: one operation, at a strength drawn for each picture",
        late=True,
    )
    random_erasing: Float = setting(
        group=AUGMENT, about="share of pictures with an erased box", auto=RECIPE, ge=0, le=1
    )
    crop_scale: Float = setting(
        0.35,
        group=AUGMENT,
        about="smallest share of a picture's area that a training crop keeps; ImageNet's usual one is 0.08",
        ge=0.01,
        le=1,
        late=True,
    )
    color_jitter: Float = setting(
        0.0,
        group=AUGMENT,
        about="brightness, contrast and saturation times 1 - this to 1 + this, drawn for each picture; 0 is off",
        ge=0,
        le=1,
        late=True,
    )
    augment_backend: Literal["torchvision", "opencv"] = setting(
        "torchvision",
        group=AUGMENT,
        about="library of the augmentation; opencv is several times as fast, and differs by its resizing and rounding",
        late=True,
    )
