"""Read labelled pictures in any of their forms; what comes of them is the same as of a folder per class."""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path

from flowerml.data.decode import BadImage
from flowerml.data.folders import FolderLayout, read_layout
from flowerml.data.folders.finder import PictureFinder
from flowerml.data.location import PictureLocation, location_state
from flowerml.data.sources.forms import Form, files_of, form_of
from flowerml.data.sources.listing import PictureList, list_layout, locations_by_key
from flowerml.data.sources.local import local_path
from flowerml.data.sources.parquet import read_parquet_list
from flowerml.data.sources.table.csv_table import read_table_list
from flowerml.data.sources.tar_shards import read_shard_list
from flowerml.errors import UserError

_READERS = {Form.TABLE: read_table_list, Form.SHARDS: read_shard_list, Form.PARQUET: read_parquet_list}


def read_source(
    root: Path, classes: Sequence[str], aliases: Mapping[str, str], *, may_lack: bool = False
) -> FolderLayout:
    """The pictures at `root` by class; parameters and errors as those of `read_layout`. Raises UserError."""
    root = local_path(root)
    if form_of(root) is Form.FOLDERS:
        return read_layout(root, classes, aliases, may_lack=may_lack)
    return list_layout(root, _read_list(root), classes, aliases, may_lack=may_lack)


def find_picture(root: Path, key: str, aliases: Mapping[str, str]) -> PictureLocation:
    """Where the picture `key` of the pictures at `root` is; of a folder, a file that may not exist.

    Raises:
        BadImage: the list has no such picture, or can't be read; or as `PictureFinder.path`.
    """
    root = local_path(root)
    if form_of(root) is Form.FOLDERS:
        return PictureFinder(root).path(key)
    try:
        states = tuple(tuple(location_state(path) or ()) for path in files_of(root))
        return _locations(root, states, tuple(sorted(aliases.items())))[key]
    except KeyError:
        raise BadImage(f"not in {root}") from None
    except UserError as error:
        raise BadImage(str(error)) from error


@lru_cache(maxsize=4)
def _locations(
    root: Path, _states: tuple[tuple[int, ...], ...], aliases: tuple[tuple[str, str], ...]
) -> dict[str, PictureLocation]:
    """The pictures of a list by key, as long as its files do not change: a page asks for one after the other."""
    return locations_by_key(root, _read_list(root), dict(aliases))


def _read_list(root: Path) -> PictureList:
    return _READERS[form_of(root)](root)
