"""What the other settings mean with `probe`: the backbone and the augmentation have nothing to set."""

from collections.abc import Collection
from typing import Any

from flowerml.errors import UserError
from flowerml.settings.declaration import Settings
from flowerml.settings.errors import flag_name
from flowerml.settings.families.model_catalog import Family, ModelSpec
from flowerml.settings.serialization import as_text

_FROZEN = "the backbone is frozen for the whole run"
_ONE_VIEW = "features are computed once, from the picture without augmentation"
# The only value that goes with `probe`, and why; `freeze_backbone_epochs` must be the length of the run.
_FIXED: dict[str, tuple[Any, str]] = {
    "lr_backbone": (0.0, _FROZEN),
    "llrd": (1.0, _FROZEN),
    "lora_rank": (0, _FROZEN),
    "drop_path": (0.0, _FROZEN),
    "freeze_views": (0, _ONE_VIEW),
    "cutmix": (0.0, "features have no boxes to exchange; --mixup mixes them"),
    "randaugment": (0, _ONE_VIEW),
    "random_erasing": (0.0, _ONE_VIEW),
    "crop_scale": (0.35, _ONE_VIEW),
    "color_jitter": (0.0, _ONE_VIEW),
    "trivialaugment": (False, _ONE_VIEW),
    "augment_backend": ("torchvision", _ONE_VIEW),
    "cache_images": ("off", "each picture is read once"),
    "keep_epochs": (0, "it keeps the best epoch's head alone"),
    "max_minutes": (0.0, "the features take its time, and all its epochs little"),
    "fitted_steps": ("none", "it has no time limit"),
}
# Instead of the family's recipe: a step costs little more for 256 features than for one, and with eight times the batch
# three times the rate reaches the same loss.
PROBE_RECIPE: dict[str, Any] = {"batch_size": 256, "lr_head": 3e-3, "mixup": 0.0}


def as_probe(settings: Settings, spec: ModelSpec, given: Collection[str]) -> Settings:
    """The settings of a linear probe: its own recipe, and what has no effect set to the value that says so.

    `given` are the names of settings that do not come from the family's recipe. A mixup that is given mixes features.

    Raises:
        UserError: one of the given settings contradicts `probe`, or the model is one of pairs of boxed objects.
    """
    if spec.family is Family.RELATION:
        raise UserError(
            f"--probe is for whole pictures, and {spec.name} takes pairs of boxed objects: leave it out, as such a"
            " model trains its head alone anyway, on cached features (--cache-features)"
        )
    fixed = {"freeze_backbone_epochs": (settings.epochs, _FROZEN), **_FIXED}
    for name, (value, reason) in fixed.items():
        found = getattr(settings, name)
        if name in given and found != value:
            raise UserError(
                f"{flag_name(name)} {as_text(found)} does not go with --probe: {reason}. Leave out one of the two"
            )
    values = {name: value for name, (value, _) in fixed.items()}
    return settings.replace(**values, **{name: value for name, value in PROBE_RECIPE.items() if name not in given})
