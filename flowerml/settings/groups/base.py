"""What all groups of settings have in common."""

from pydantic import BaseModel, ConfigDict


class SettingsGroup(BaseModel):
    """Some of the fields of `Settings`: frozen, and no others are taken.

    A group is never validated by itself, so that its validator is not built: that would cost time at each start.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, defer_build=True)
