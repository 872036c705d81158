"""A delivered file on the disk: where it is, its checksum, and the description of a model's input in it."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path

from PIL import Image

from flowerml.errors import UserError
from flowerml.prediction.standalone.messages import single_line

# sha256 (hex) of the delivered weights by file name; `export` fills them in. A file of another name is loaded without.
SHA256: dict[str, str] = {}


class BadWeights(UserError):
    """A weights file that is missing, damaged, changed, of another kind, or that does not fit its model. One line."""


def find_file(path: str | os.PathLike[str]) -> Path:
    """The file, relative to the working directory or else to this module's folder. Raises BadWeights."""
    given, module_folder = Path(path), Path(__file__).resolve().parent
    for candidate in (given, module_folder / given):
        if candidate.is_file():
            return candidate
    searched = "" if given.is_absolute() else f", neither from {Path.cwd()} nor from {module_folder}"
    raise BadWeights(single_line(f"{path}: no such file{searched}"))


def check_digest(path: Path, name: str) -> bool:
    """Compare the sha256 of a file with the delivered one; False where none is known for a file of that name.

    Raises:
        BadWeights: it is another one; `name` is what the message calls the file.
        OSError: the file can't be read.
    """
    expected = SHA256.get(path.name)
    if expected is not None and _sha256_of(path) != expected:
        raise BadWeights(
            single_line(f"{name}: not the file that was delivered (its sha256 is another one); copy it again")
        )
    return expected is not None


def _sha256_of(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as handle:
        while chunk := handle.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def is_input_description(description: Mapping) -> bool:
    """Whether plain values describe a model's input: size, mean, std, interpolation and crop_pct, all usable."""
    size, crop = description.get("size"), description.get("crop_pct")
    channels = [description.get("mean"), description.get("std")]
    return (
        type(size) is int
        and 0 < size <= 4096
        and isinstance(crop, (int, float))
        and 0 < crop <= 1
        and all(
            isinstance(values, list) and len(values) == 3 and all(isinstance(value, (int, float)) for value in values)
            for values in channels
        )
        and all(description["std"])
        and str(description.get("interpolation")).upper() in Image.Resampling.__members__
    )
