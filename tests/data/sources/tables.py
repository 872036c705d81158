"""Tables of the pictures of a folder."""

from pathlib import Path

from flowerml.data.sources.reading import read_source
from flowerml.tasks.flowers import ALIASES
from tests.data.pictures import put

ALL = ("folders",)


def rows_of(root, base=None):
    """A row per picture of the folder of classes `root`, in reverse order; paths relative to `base` (its parent)."""
    files = sorted(root.rglob("*.jpg"), reverse=True)
    return [f"{file.relative_to(base or root.parent).as_posix()},{file.relative_to(root).parts[0]}" for file in files]


def table_of(root, path=None):
    """A CSV of the folder `root`, beside it."""
    path = path or root.with_suffix(".csv")
    return put(path, "\n".join(["path,label", *rows_of(root, path.parent), ""]).encode())


def read(path, classes=ALL, **options):
    """The layout of the pictures at `path`."""
    return read_source(Path(path), classes, ALIASES, **options)
