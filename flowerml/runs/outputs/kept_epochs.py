"""The weights of a run's last epochs, kept beside `best.pth` for averages (`--keep-epochs`)."""

import re
from pathlib import Path

from flowerml.files import remove_file
from flowerml.training.checkpoints.checkpoint import Checkpoint, save_checkpoint

EPOCHS = "epochs"
_NAME = re.compile(r"epoch(\d+)\.pth")


def keep_epoch(folder: Path, checkpoint: Checkpoint, keep: int) -> None:
    """Save an epoch's weights in the run's folder, and remove those of all but the last `keep`.

    Raises:
        UserError: a file can't be written or removed.
    """
    save_checkpoint(folder / EPOCHS / f"epoch{checkpoint.epoch:03d}.pth", checkpoint)
    for path in kept_epochs(folder):
        if not checkpoint.epoch - keep < _number(path) <= checkpoint.epoch:
            remove_file(path)


def kept_epochs(folder: Path) -> list[Path]:
    """The files of the epochs that a run's folder has, the first one first."""
    found = [path for path in (folder / EPOCHS).glob("epoch*.pth") if _NAME.fullmatch(path.name)]
    return sorted(found, key=_number)


def clear_epochs(folder: Path) -> None:
    """Remove all kept epochs of a run's folder. Raises UserError as `remove_file`."""
    for path in kept_epochs(folder):
        remove_file(path)
    if (folder / EPOCHS).is_dir() and not any((folder / EPOCHS).iterdir()):
        (folder / EPOCHS).rmdir()


def run_folder_of(weights: Path) -> Path:
    """The folder of the run whose `best.pth`, or kept epoch, a file is."""
    return weights.parent.parent if weights.parent.name == EPOCHS else weights.parent


def _number(path: Path) -> int:
    found = _NAME.fullmatch(path.name)
    assert found is not None
    return int(found[1])
