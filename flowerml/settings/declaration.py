"""The declaration of every training setting: name, type, default, range, unit, help, part of the identity or not.

Command line, MLproject parameters, MLflow params, `settings.json` and plan files derive from this class, or are tested
against it. Each group of settings is declared in a module of `groups/`.
"""

from collections.abc import Mapping
from typing import Any

from pydantic import ConfigDict
from pydantic.fields import FieldInfo

from flowerml.settings.groups.augmentation import AugmentationSettings
from flowerml.settings.groups.class_imbalance import ClassImbalanceSettings
from flowerml.settings.groups.data import DataSettings
from flowerml.settings.groups.model import ModelSettings
from flowerml.settings.groups.optimizer import OptimizerSettings
from flowerml.settings.groups.relations import RelationSettings
from flowerml.settings.groups.run import RunSettings
from flowerml.settings.groups.stopping import StoppingSettings

AUTO = "auto"


# Pydantic collects fields from the last base to the first: the groups stand here in reverse of the order in which
# `--help`, the settings page and `settings.json` show them.
class Settings(
    RunSettings,
    StoppingSettings,
    ClassImbalanceSettings,
    AugmentationSettings,
    OptimizerSettings,
    RelationSettings,
    DataSettings,
    ModelSettings,
):
    """The settings of one training run: frozen, typed, validated. No field is `auto` once the run has been prepared.

    None means "determined later" (the model's input description, the device, names; `compile` on a GPU, while it
    trains) or "not used" (`test_dir`, `stop_epoch`).
    """

    model_config = ConfigDict(defer_build=False)

    def replace(self, **changes: Any) -> "Settings":  # noqa: ANN401 - values of the fields' types
        """A validated copy with some settings changed."""
        return Settings.model_validate({**self.model_dump(), **changes})


def fields() -> Mapping[str, FieldInfo]:
    """Every setting's declaration by name, in the order of the declaration."""
    return Settings.model_fields
