"""A run's folder: `run.json`, which says what it holds, and the check whether a run may be written into it."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from flowerml.errors import UserError
from flowerml.evaluation.tta import NO_VIEWS, TTA
from flowerml.files import remove_file, write_bytes, write_json
from flowerml.runs.lifecycle.attempts import ATTEMPTS
from flowerml.settings.differences import describe_differences

RUN_FILE = "run.json"
_PARTS = ("train", "val", "all", "test")


def evaluation_folder(part: str, tta: str, *, adjusted: bool) -> str:
    """The name of the folder with an evaluation of a part of the data, with these views and logit adjustment or not."""
    return f"eval_{part}{'_adjusted' if adjusted else ''}{'' if tta == NO_VIEWS else f'_{tta}'}"


EVALUATIONS = (
    "test",
    *(evaluation_folder(part, tta, adjusted=adjusted) for part in _PARTS for tta in TTA for adjusted in (False, True)),
)
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
    *("checks.txt", "baselines.json", "baselines.md", "calibration.json", "calibration.png"),
)


@dataclass(frozen=True)
class RunFile:
    """The content of `run.json`. `status` is RUNNING until the run has ended."""

    run_id: str
    config_id: str
    seed: int
    status: str


def write_run_file(folder: Path, run: RunFile) -> None:
    """Write `run.json`. Raises UserError as the atomic writer."""
    write_json(folder / RUN_FILE, asdict(run))


def restore_run_file(folder: Path, earlier: RunFile | None) -> None:
    """Write the earlier `run.json` again, or remove it where there was none. Raises UserError as the atomic writer."""
    if earlier is None:
        remove_file(folder / RUN_FILE)
    else:
        write_run_file(folder, earlier)


def read_run_file(folder: Path) -> RunFile | None:
    """The `run.json` of `folder`, None where there is none or it can't be read."""
    try:
        return RunFile(**json.loads((folder / RUN_FILE).read_text("utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def check_available(
    folder: Path, config_id: str, seed: int, shaping: Mapping[str, object], *, overwrite: bool
) -> RunFile | None:
    """Check that a run of this configuration and seed may write into `folder`; changes nothing there.

    Returns the unfinished run of the same settings that it holds (with `overwrite`: any run), or None. `shaping` is the
    configuration's `identity`, for the message that says what differs.

    Raises:
        UserError: it holds a finished run, a run of other settings, or somebody else's file of a run's name; or it
            can't be written to.
    """
    existing = read_run_file(folder)
    write_bytes(folder / ".writable", b"")  # fails now, before a run has been opened
    (folder / ".writable").unlink()
    if overwrite:
        return existing
    if existing is not None:
        same = (existing.config_id, existing.seed) == (config_id, seed)
        remedy = "choose another --output-dir, or replace it with --overwrite"
        if same and existing.status == "FINISHED":
            raise UserError(f"{folder} holds the finished run of just these settings (run {existing.run_id}): {remedy}")
        if not same:
            recorded = {**_recorded_identity(folder), "seed": existing.seed}
            differ = "which ones can't be read any more"
            if len(recorded) > 1:
                differ = describe_differences(recorded, {**shaping, "seed": seed})
            raise UserError(
                f"{folder} holds a run of other settings ({differ}; configuration {existing.config_id[:8]}): {remedy}"
            )
        return existing
    # Where an attempt has been, they are a run's that lost its run.json; best.pth is asked about all the same.
    names = ("best.pth",) if (folder / ATTEMPTS).is_dir() else RUN_FILES
    if found := next((name for name in names if (folder / name).exists()), None):
        raise UserError(
            f"{folder} holds a {found} of unknown origin: choose another --output-dir, or replace it with --overwrite"
        )
    return None


def _recorded_identity(folder: Path) -> dict[str, object]:
    """The `identity` in the folder's `settings.json`; empty where it can't be read."""
    try:
        return dict(json.loads((folder / "settings.json").read_text("utf-8"))["identity"])
    except (OSError, ValueError, TypeError, KeyError):
        return {}


def clear_folder(folder: Path) -> None:
    """Remove the files of an earlier run, all but `run.json`, which is the new run's already.

    By name, not the folder as a whole: it may hold other files, as with `--output-dir .`.
    """
    for path in (*(folder / name for name in EVALUATIONS), folder):
        for name in RUN_FILES:
            if name != RUN_FILE:
                remove_file(path / name)
        if path != folder and path.is_dir() and not any(path.iterdir()):
            path.rmdir()
