"""Class imbalance: loss weights, focal loss, logit adjustment, oversampling."""

from typing import Literal

from flowerml.settings.groups.base import SettingsGroup
from flowerml.settings.spec import BALANCE, setting
from flowerml.settings.values import Float


class ClassImbalanceSettings(SettingsGroup):
    """The group `class imbalance` of `Settings`."""

    class_weights: Literal["none", "balanced", "effective"] = setting(
        "none",
        group=BALANCE,
        about="loss weights; balanced is N/(C n_c), effective counts overlapping pictures once (--effective-beta)",
    )
    effective_beta: Float = setting(
        0.999,
        group=BALANCE,
        about="effective weights: 0 weighs all classes alike, near 1 is balanced",
        ge=0,
        lt=1,
        late=True,
    )
    focal_gamma: Float = setting(
        0.0, group=BALANCE, about="focal loss: how little easy pictures count; 0 is off", ge=0, le=10, late=True
    )
    logit_adjustment: Float = setting(
        0.0,
        group=BALANCE,
        about="times the log share of each class, added to its logit in the loss; 0 is off",
        ge=0,
        le=10,
        late=True,
    )
    oversample: str = setting(
        "none",
        group=BALANCE,
        about='repeat rare classes: "100:3,500:2" is x3 below 100 training pictures, x2 below 500',
        allowed='none or "COUNT:TIMES,..." with TIMES up to 100, for example "100:3,500:2"',
        pattern=r"^(none|[1-9]\d*:([1-9]\d?|100)(,[1-9]\d*:([1-9]\d?|100))*)$",
    )
