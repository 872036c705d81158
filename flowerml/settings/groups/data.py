"""The pictures: folders, classes, split, folds, what can't be read or stands twice."""

from typing import Annotated, Literal

from pydantic import BeforeValidator

from flowerml.settings.groups.base import SettingsGroup
from flowerml.settings.spec import TASK, setting
from flowerml.settings.values import ClassNames, DataPath, Float, Int, parse_none

_PLACE = "a path, or s3://… or https://… without user, password and query"


class DataSettings(SettingsGroup):
    """The group `data` of `Settings`."""

    train_dir: DataPath = setting(
        "data/train",
        group=TASK,
        about="folder with one sub-folder of pictures per class, or a list of pictures",
        allowed=_PLACE,
        identity=False,
        min_length=1,
    )
    test_dir: Annotated[DataPath | None, BeforeValidator(parse_none)] = setting(
        None,
        group=TASK,
        about="untouched folder, evaluated once with the best weights",
        auto="none",
        allowed=_PLACE,
        identity=False,
        min_length=1,
    )
    classes: ClassNames | None = setting(
        None,
        group=TASK,
        about="class names, or `folders`: every sub-folder, or every label of a list",
        auto="the task's own",
        allowed="names, comma-separated, each once",
    )
    val_split: Float = setting(
        0.2, group=TASK, about="share held out of every class; 0 trains on everything", ge=0, lt=1, identity=False
    )
    split_seed: Int = setting(
        11, group=TASK, about="seed of the split, which stays while --seed varies", ge=0, le=2**31, identity=False
    )
    folds: Int = setting(
        0,
        group=TASK,
        about="cross-validation: every picture is held out in one of so many runs; 0: one split by --val-split",
        ge=0,
        le=20,
        identity=False,
    )
    fold: Annotated[Int | None, BeforeValidator(parse_none)] = setting(
        None,
        group=TASK,
        about="the fold that this run holds out, from 1; left out: all, one run after the other",
        auto="all",
        ge=1,
        identity=False,
    )
    bad_images: Literal["stop", "skip"] = setting(
        "stop", group=TASK, about="pictures that can't be read: stop, or go on without them", identity=False
    )
    duplicates: Literal["stop", "keep", "drop"] = setting(
        "stop",
        group=TASK,
        about="one photo under two labels: stop, train on all its copies, or on none",
        identity=False,
    )
