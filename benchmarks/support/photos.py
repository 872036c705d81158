"""Photos of one folder in the layouts of several scripts."""

import shutil
from pathlib import Path

from flowerml.data.folders import read_layout
from flowerml.data.synthetic.flowers import CLASSES

VAL_SPLIT = 0.2


def copy_photos(root: Path, target: Path, count: int) -> tuple[Path, Path]:
    """`count` pictures, evenly over the classes, as one folder for flowerml and one with train/ and validation/."""
    layout = read_layout(root, CLASSES, {})
    whole, parted = target / "whole", target / "parted"
    for label in layout.classes:
        files = [found.file for found in layout.files if found.label == label]
        wanted = max(2, count // len(layout.classes))
        chosen = files[:: max(1, len(files) // wanted)][:wanted]
        held_out = max(1, round(VAL_SPLIT * len(chosen)))
        for index, file in enumerate(chosen):
            part = "validation" if index < held_out else "train"
            for folder in (whole / label, parted / part / label):
                folder.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(root / file, folder / f"{index:05}{Path(file).suffix.lower()}")
    return whole, parted
