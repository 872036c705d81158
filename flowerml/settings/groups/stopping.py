"""The best epoch, early stopping, and limits in epochs and minutes."""

from typing import Annotated, Literal

from pydantic import BeforeValidator

from flowerml.settings.groups.base import SettingsGroup
from flowerml.settings.spec import STOPPING, setting
from flowerml.settings.values import Float, Int, parse_none


class StoppingSettings(SettingsGroup):
    """The group `stopping and the best epoch` of `Settings`."""

    monitor: Literal["val_accuracy", "val_macro_f1", "val_mean_recall", "val_loss"] = setting(
        "val_accuracy", group=STOPPING, about="what decides the best epoch and early stopping"
    )
    patience: Int = setting(
        10, group=STOPPING, about="stop after this many epochs without a better one; 0 never stops", ge=0, le=10_000
    )
    min_epochs: Int = setting(
        0, group=STOPPING, about="never stop early before this epoch", unit="epochs", ge=0, le=10_000
    )
    stop_epoch: Annotated[Int | None, BeforeValidator(parse_none)] = setting(
        None, group=STOPPING, about="end after this epoch of the schedule", unit="epochs", auto="none", ge=1, le=10_000
    )
    max_minutes: Float = setting(
        0.0,
        group=STOPPING,
        about="shorten the schedule to the steps that fit into so many minutes, by measured speed; 0 is off",
        unit="minutes",
        ge=0,
        le=100_000,
        late=True,
    )
    fitted_steps: str = setting(
        "none",
        group=STOPPING,
        about="repeat a run of --max-minutes: the length in steps that it has recorded, in place of a limit",
        allowed='none or "STEPS,STEPS@STEP,...", for example "412,405@92"',
        late=True,
        pattern=r"^(none|[1-9]\d{0,8}(,[1-9]\d{0,8}@[1-9]\d{0,8})*)$",
    )
