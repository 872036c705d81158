"""The settings of `flowerml train`: flags over those of a file or of another run, and these over the defaults."""

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from flowerml.errors import UserError
from flowerml.settings import Settings, resolve, resolve_setting
from flowerml.settings.declaration import AUTO, fields
from flowerml.settings.differences import describe_digests
from flowerml.settings.errors import flag_name
from flowerml.settings.families.recipes import EPOCH_COUNTS
from flowerml.settings.serialization import as_text
from flowerml.settings.spec import metadata

if TYPE_CHECKING:
    from flowerml.runs.prepare import Prepared
    from flowerml.tracking import TrainingRun

# The parameters that MLproject declares for `train`: `mlflow run` gives each as a flag, with its default if need be.
PROJECT_PARAMETERS = ("model", "train_dir", "val_split", "seed", "split_seed")

# Of a run that is repeated, what belongs to its place: folders, names, the machine, and what to do with an older run.
_OF_ITS_PLACE = frozenset(
    (
        *("output_dir", "runs_root", "run_name", "experiment", "resume", "overwrite"),
        *("device", "workers", "compile", "gpus", "cache_images_gb"),
    )
)
_OF_ITS_MODEL = frozenset(("mean", "std", "interpolation", "crop_pct"))


def repeated_settings(like: "TrainingRun", flags: Mapping[str, str]) -> dict[str, Any]:
    """The settings of a run that another one takes over: all but those of its place.

    With another `--model` also without the input description of its own.
    """
    values = like.settings.model_dump()
    is_other = flags.get("model", like.settings.model) != like.settings.model
    left_out = _OF_ITS_PLACE | _OF_ITS_MODEL if is_other else _OF_ITS_PLACE
    return {name: value for name, value in values.items() if name not in left_out}


def difference_from(like: "TrainingRun", run: "Prepared", flags: Mapping[str, str]) -> str:
    """In one line, which digests of a run differ from those of the one it repeats; empty where none does.

    Where only the configurations' ids differ, and no flag says why, the line says that.
    """
    here = {"data": run.digests.data, "split": run.shared_split_digest, "weights": run.digests.weights}
    config_ids = f"config_id {like.config_id[:8]} there, {run.shared_config_id[:8]} here"
    if digests := describe_digests(like.digests, here):
        return f"not the same as run {like.run_id} (--like): {digests}; {config_ids}"
    is_changed = any(metadata(fields()[name], "identity") for name in flags)
    if is_changed or like.config_id == run.shared_config_id:
        return ""
    return (
        f"not the same as run {like.run_id} (--like): {config_ids}, although data, split and settings are its own: the"
        " starting weights or the version of flowerml differ"
    )


def resolve_over(base: Mapping[str, Any], source: str, flags: Mapping[str, str]) -> tuple[Settings, list[str]]:
    """Complete settings from `flags` over the values in `base`, and warnings; `source` names where `base` is from.

    A freeze, warm-up or unmixed epochs of `base` that are longer than `--epochs` are shortened, with a warning, and a
    freeze for its whole length lasts for the new length.

    Raises:
        UserError: as `settings.resolve`; or a flag is a default of MLproject that differs from `base`, so that nobody
            can tell whether it was given.
    """
    _refuse_project_defaults(base, source, flags)
    fitted, warnings = _fit_lengths(base, source, flags)
    try:
        settings, more = resolve({**fitted, **flags})
    except UserError as error:
        resolve(flags)  # a flag that is wrong by itself is told of as without the file
        raise UserError(f"with {source}: {error}") from error
    return settings, [*warnings, *more]


def _refuse_project_defaults(base: Mapping[str, Any], source: str, flags: Mapping[str, str]) -> None:
    if not os.environ.get("MLFLOW_RUN_ID"):
        return
    for name in PROJECT_PARAMETERS:
        default, there = fields()[name].default, as_text(base.get(name, AUTO))
        if flags.get(name) == as_text(default) and resolve_setting(name, there) != default:
            raise UserError(
                f"{source} has {name} {there}, and `mlflow run` gives {flag_name(name)} {as_text(default)}, the"
                f" project's default, where it is left out: say which with -P {name}=…, or run `flowerml train`"
            )


def _fit_lengths(base: Mapping[str, Any], source: str, flags: Mapping[str, str]) -> tuple[dict[str, Any], list[str]]:
    """`base` with lengths that fit `--epochs`, and a warning for each that was changed."""
    values = dict(base)
    warnings: list[str] = []
    epochs = flags.get("epochs", AUTO)
    if not epochs.isdecimal():
        return values, warnings
    for name in EPOCH_COUNTS:
        length = as_text(values.get(name, AUTO))
        if name in flags or not length.isdecimal():
            continue
        is_whole = name == "freeze_backbone_epochs" and length == as_text(values.get("epochs"))
        if int(length) > int(epochs) or (is_whole and length != epochs):
            values[name] = epochs
            warnings.append(f"{name} {length} ({source}) does not fit --epochs {epochs}: {epochs} is used")
    return values, warnings
