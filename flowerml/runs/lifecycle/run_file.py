"""A run's folder: who may write into it, and the small `run.json` that says what it holds."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from flowerml.errors import UserError
from flowerml.files import remove_file, write_bytes, write_json
from flowerml.settings.differences import describe_differences

RUN_FILE = "run.json"
_PARTS = ("train", "val", "all", "test")
EVALUATIONS = ("test", *(f"eval_{part}" for part in _PARTS), *(f"eval_{part}_adjusted" for part in _PARTS))
RUN_FILES = (
    *(
        "best.pth",
        "history.csv",
        "curves.png",
        "confusion_matrix.png",
        "confusion_matrix.json",
        "per_class.json",
        "predictions.csv",
    ),
    *(
        "errors.html",
        "split.json",
        "settings.json",
        "balance.json",
        "environment.txt",
        "bad_images.txt",
        "probe.npz",
        RUN_FILE,
    ),
    *("checks.txt", "baselines.json", "baselines.md"),
)


@dataclass(frozen=True)
class RunFile:
    """What a folder holds. `status` is RUNNING until the run has ended."""

    run_id: str
    config_id: str
    seed: int
    status: str


def write_run_file(folder: Path, run: RunFile) -> None:
    """Write `run.json`. Raises UserError as the atomic writer."""
    write_json(folder / RUN_FILE, asdict(run))


def read_run_file(folder: Path) -> RunFile | None:
    """What stands in `folder`, None where no run does (or where its `run.json` can't be read)."""
    try:
        return RunFile(**json.loads((folder / RUN_FILE).read_text("utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def check_available(
    folder: Path, config_id: str, seed: int, shaping: Mapping[str, object], *, overwrite: bool
) -> RunFile | None:
    """Make sure a run of this configuration and seed may, and can, write here; touches nothing yet. Returns the
    unfinished run of the same settings that stands there (with `overwrite`: any run), or None.

    `shaping` is the configuration's `identity`, for the line that says what differs.

    Raises:
        UserError: a finished run, or a run of other settings, stands there; or the folder can't be made.
    """
    standing = read_run_file(folder)
    write_bytes(
        folder / ".writable", b""
    )  # a folder that can't be written to shows now, not when a run has been opened
    (folder / ".writable").unlink()
    if overwrite:
        return standing
    if standing is not None:
        same = (standing.config_id, standing.seed) == (config_id, seed)
        remedy = "choose another --output-dir, or replace it with --overwrite"
        if same and standing.status == "FINISHED":
            raise UserError(f"{folder} holds the finished run of just these settings (run {standing.run_id}): {remedy}")
        if not same:
            there = {**_shaping(folder), "seed": standing.seed}
            differ = (
                describe_differences(there, {**shaping, "seed": seed})
                if len(there) > 1
                else "which ones can't be read any more"
            )
            raise UserError(
                f"{folder} holds a run of other settings ({differ}; configuration {standing.config_id[:8]}): {remedy}"
            )
        return standing
    if (folder / "best.pth").exists():
        raise UserError(
            f"{folder} holds a best.pth of unknown origin: choose another --output-dir, or replace it with --overwrite"
        )
    return None


def _shaping(folder: Path) -> dict[str, object]:
    """The identity that the run in `folder` has written down; empty where that can't be read."""
    try:
        return dict(json.loads((folder / "settings.json").read_text("utf-8"))["identity"])
    except (OSError, ValueError, TypeError, KeyError):
        return {}


def clear_folder(folder: Path) -> None:
    """Remove what an earlier run has left, all but `run.json`, which is the new run's already.

    By name, not the folder as a whole: it may hold somebody's other files, and `--output-dir .` is easily typed.
    """
    for place in (*(folder / name for name in EVALUATIONS), folder):
        for name in RUN_FILES:
            if name != RUN_FILE:
                remove_file(place / name)
        if place != folder and place.is_dir() and not any(place.iterdir()):
            place.rmdir()
