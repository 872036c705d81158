"""`--set NAME=VALUE`: what a plan is run with instead of what it says."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from flowerml.campaign.plan.model import FinalMode
from flowerml.errors import UserError
from flowerml.settings import Family
from flowerml.settings.declaration import fields
from flowerml.settings.errors import did_you_mean

MODE = "final.mode"
# What the command itself says of every run; value: how it says so.
OWN = {
    "train_dir": "the campaign's own folder: --train-dir",
    "output_dir": "the run's name in the campaign's folder: --runs-root",
    "runs_root": "the campaign's own: --runs-root",
    "run_name": "the name of the run in the plan",
    "experiment": "the campaign's own: --experiment",
    "resume": "always `last` in a campaign",
    "overwrite": "never in a campaign: choose another --runs-root",
    "seed": "given with the runs of a plan, as seeds are what its phases are about",
    "stop_epoch": "found out by the campaign for its final runs",
}
_NEXT = re.compile(r"\s+(?=[a-z_]+(?:\.[a-z]+)?=)")


@dataclass(frozen=True)
class Overrides:
    """Settings by name for every run, by family and name for one family's, and how final models are made (None: as the
    plan says).
    """

    words: tuple[str, ...] = ()
    every: Mapping[str, str] = field(default_factory=dict)
    families: Mapping[Family, Mapping[str, str]] = field(default_factory=dict)
    mode: FinalMode | None = None

    def of(self, family: Family) -> dict[str, str]:
        """The settings for a family's runs; what is said of the family counts before what is said of all."""
        return {**self.every, **self.families.get(family, {})}


def read_overrides(texts: Sequence[str]) -> Overrides:
    """From `NAME=VALUE`, `NAME.FAMILY=VALUE` and `final.mode=MODE`; a text may hold several, with spaces between
    (`mlflow run -P set=…`).

    The later of two of a name counts. Whether values fit is found out with the plan.

    Raises:
        UserError: not of this form, or an unknown name.
    """
    words = [word for text in texts for word in _NEXT.split(text.strip())]
    every: dict[str, str] = {}
    families: dict[Family, dict[str, str]] = {}
    mode: FinalMode | None = None
    for word in words:
        name, equals, value = word.partition("=")
        if not equals or not value.strip():
            raise UserError(
                f"--set {word!r}: wanted is NAME=VALUE, NAME.cnn=VALUE or NAME.vit=VALUE, for example --set epochs=2"
            )
        if name == MODE:
            if value not in list(FinalMode):
                raise UserError(
                    f"--set {word}: {MODE} is {value!r}.{did_you_mean(value, tuple(FinalMode))} Allowed: {', '.join(FinalMode)}"
                )
            mode = FinalMode(value)
            continue
        setting, dot, family = name.partition(".")
        setting = setting.replace("-", "_")
        _require_known(setting, word)
        if not dot:
            every[setting] = value
            continue
        if family not in list(Family):
            raise UserError(
                f"--set {word}: family {family!r} is unknown.{did_you_mean(family, tuple(Family))} Allowed:"
                f" {', '.join(Family)}"
            )
        families.setdefault(Family(family), {})[setting] = value
    return Overrides(tuple(words), every, families, mode)


def _require_known(setting: str, word: str) -> None:
    if setting in OWN:
        raise UserError(f"--set {word}: {setting} is {OWN[setting]}")
    if setting not in fields():
        raise UserError(
            f"--set {word}: setting {setting!r} is unknown.{did_you_mean(setting, (*fields(), MODE))} `flowerml train"
            " --help` lists them"
        )
