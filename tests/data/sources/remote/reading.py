"""What a folder, a table or an address holds, as the tests of this folder ask for it."""

from functools import partial
from pathlib import Path

from flowerml.data.loader import Example
from flowerml.data.location import read_image_at
from flowerml.data.scan import scan_folder
from flowerml.data.sources.local import local_path
from flowerml.data.transforms import EvaluationTransform, InputDescription
from tests.data.sources.tables import read

EVALUATION = EvaluationTransform(InputDescription(16, (0.5, 0.4, 0.3), (0.2, 0.25, 0.3), "bicubic", 0.875))


def digest(path):
    """The digest of the pictures at a path or an address."""
    path = local_path(Path(path))
    return scan_folder(path, read(path)).digest


def examples_of(path):
    """The pictures as examples, all of class 0."""
    root = local_path(Path(path))
    return [Example(file.key, 0, partial(read_image_at, file.locate(root))) for file in read(path).files]


def locations(address):
    """Where each picture is read."""
    return [file.location for file in read(address).files]
