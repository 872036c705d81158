"""Overrides of a plan's settings: `--set NAME=VALUE`."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from flowerml.campaign.plan.model import FinalMode
from flowerml.errors import UserError
from flowerml.settings import Family
from flowerml.settings.declaration import fields
from flowerml.settings.errors import did_you_mean, nearest_names

MODE = "final.mode"
# Settings that the campaign itself gives to every run, and how.
CAMPAIGN_SETTINGS = {
    "train_dir": "the campaign's own folder: --train-dir",
    "output_dir": "the run's name in the campaign's folder: --runs-root",
    "runs_root": "the campaign's own: --runs-root",
    "run_name": "the name of the run in the plan",
    "experiment": "the campaign's own: --experiment",
    "resume": "always `last` in a campaign",
    "overwrite": "never in a campaign: choose another --runs-root",
    "seed": "given with the runs of a plan, as seeds are what its phases are about",
    "folds": "what a phase confirms by: `confirm: {of: …, folds: N}`",
    "fold": "what a phase confirms by: `confirm: {of: …, folds: N}`",
    "gpus": "how many of this machine a run takes: --gpus-per-run",
    "stop_epoch": "found out by the campaign for its final runs",
    "fitted_steps": "what repeats a single run of max_minutes",
}
_SEPARATOR = re.compile(r"\s+(?=[a-z_]+(?:\.[a-z]+)?=)")


@dataclass(frozen=True)
class Overrides:
    """Settings for all runs, for the runs of a family, and how final models are made (None: as the plan says).

    `assignments` are the texts they were parsed from.
    """

    assignments: tuple[str, ...] = ()
    every: Mapping[str, str] = field(default_factory=dict)
    families: Mapping[Family, Mapping[str, str]] = field(default_factory=dict)
    mode: FinalMode | None = None

    def of(self, family: Family) -> dict[str, str]:
        """The settings for the runs of a family; those of the family precede those for all."""
        return {**self.every, **self.families.get(family, {})}


def read_overrides(texts: Sequence[str]) -> Overrides:
    """Parse `NAME=VALUE`, `NAME.FAMILY=VALUE` and `final.mode=MODE`.

    A text may hold several, separated by spaces (`mlflow run -P set=…`). The last of a name counts. Values are checked
    with the plan.

    Raises:
        UserError: not of this form, or an unknown name.
    """
    assignments = [word for text in texts for word in _SEPARATOR.split(text.strip())]
    every: dict[str, str] = {}
    families: dict[Family, dict[str, str]] = {}
    mode: FinalMode | None = None
    for word in assignments:
        name, equals, value = word.partition("=")
        if not equals or not value.strip():
            raise UserError(
                f"--set {word!r}: wanted is NAME=VALUE, NAME.cnn=VALUE or NAME.vit=VALUE, for example --set epochs=2"
            )
        if name == MODE:
            if value not in list(FinalMode):
                raise UserError(
                    f"--set {word}: {MODE} is {value!r}.{did_you_mean(value, tuple(FinalMode))}"
                    f" Allowed: {', '.join(FinalMode)}"
                )
            mode = FinalMode(value)
            continue
        setting, dot, family = name.partition(".")
        setting = setting.replace("-", "_")
        _check_setting_name(setting, word)
        if not dot:
            every[setting] = value
            continue
        if family not in list(Family):
            raise UserError(
                f"--set {word}: family {family!r} is unknown.{did_you_mean(family, tuple(Family))} Allowed:"
                f" {', '.join(Family)}"
            )
        families.setdefault(Family(family), {})[setting] = value
    return Overrides(tuple(assignments), every, families, mode)


def _check_setting_name(setting: str, word: str) -> None:
    if setting in CAMPAIGN_SETTINGS:
        raise UserError(f"--set {word}: {setting} is {CAMPAIGN_SETTINGS[setting]}")
    if setting not in fields():
        raise UserError(
            f"--set {word}: setting {setting!r} is unknown.{nearest_names(setting, (*fields(), MODE))} `flowerml train"
            " --help` lists them"
        )
