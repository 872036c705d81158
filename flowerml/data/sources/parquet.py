"""Parquet files: pictures in a column `image`, as Hugging Face's datasets write them, or paths in a column `path`.

A row of a Parquet file can't be read alone, only its group of rows. So the pictures are copied once, a group at a time,
into one file of the cache folder, and then read by offset as those of a tar file. Those of a file that stays on a
server are read from there, a group at a time.
"""

import json
import posixpath
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from flowerml.data.location import Span, location_state
from flowerml.data.scan_cache import cache_folder
from flowerml.data.sources.class_names import name_classes
from flowerml.data.sources.listing import ListedPicture, PictureList
from flowerml.data.sources.packed import Row, packed_file, read_rows, write_packed
from flowerml.data.sources.remote.row_groups import RemoteRow, RowGroup
from flowerml.data.sources.remote.streamed_index import StreamedIndex, read_index
from flowerml.data.sources.shard_files import require_files
from flowerml.data.sources.table.file_rows import FileRow, list_files
from flowerml.data.sources.tar_shards import MAX_PICTURE_BYTES
from flowerml.errors import UserError

IMAGE, PATH, LABEL = "image", "path", "label"
_KIND = "parquet-1"
_BATCH = 64  # rows that are in memory at a time, beside their group
_MEND = "bring it again, or write it with datasets or pandas"


def read_parquet_list(root: Path) -> PictureList:
    """The pictures of all Parquet files at `root`: a file, a pattern `a-{000..003}.parquet`, or a folder of them.

    Raises:
        UserError: pyarrow is not installed; a file can't be read, or lacks a column or rows; a label is none, or
            several; a row has no picture; or as `require_files` and `list_files`.
    """
    files = require_files(root)
    lists = [_read_file(path) for path in files]
    pictures = [picture for listed in lists for picture in listed.pictures]
    return PictureList(name_classes(root if root.is_dir() else root.parent, pictures), lists[0].remarks)


def _read_file(path: Path) -> PictureList:
    if (streamed := read_index(path)) is not None:
        return _read_streamed(path, streamed)
    state = location_state(path)
    packed, rows = _rows(path, tuple(state or ()), cache_folder())
    pictures: list[ListedPicture] = []
    external: list[FileRow] = []
    for number, (offset, size, name, label) in enumerate(rows):
        where = f"{path.name}, row {number}"
        if offset < 0:
            external.append(FileRow(name, label, where))
        else:
            pictures.append(ListedPicture(name, label, Span(packed, offset, size), where, row_name(path, number)))
    listed = list_files(path, external)
    return PictureList([*pictures, *listed.pictures], listed.remarks)


def _read_streamed(path: Path, streamed: StreamedIndex) -> PictureList:
    """As `_read_file`, of a file that stays on the server: rows [size (-1: a path), name or path, label, group]."""
    pictures: list[ListedPicture] = []
    external: list[FileRow] = []
    groups: dict[int, RowGroup] = {}
    for number, (size, name, label, group) in enumerate(streamed.rows):
        rows = groups.get(group) or groups.setdefault(group, RowGroup(streamed.file, IMAGE, group, number))
        where = f"{path.name}, row {number}"
        if size < 0:
            external.append(FileRow(name, label, where))
        else:
            pictures.append(ListedPicture(name, label, RemoteRow(rows, number, size), where, row_name(path, number)))
    listed = list_files(path, external)
    return PictureList([*pictures, *listed.pictures], listed.remarks)


def row_name(path: Path, number: int) -> str:
    """The name of a row's picture in messages, and in what a scan keeps."""
    return f"{path}, row {number}"


@lru_cache(maxsize=256)
def _rows(path: Path, _state: tuple[int, ...], _cache: Path) -> tuple[Path, list[Row]]:
    """The packed file of the pictures, and [offset, size, name or path, label] of every row."""
    packed = packed_file(path, _KIND)
    rows = read_rows(packed)
    return packed, write_packed(packed, pictures_of(path, path), path.stat().st_size) if rows is None else rows


def require_pyarrow(where: Path | str) -> None:
    """Raise UserError where pyarrow is not installed."""
    try:
        import pyarrow.parquet  # noqa: F401 - whether it is there
    except ImportError as error:
        raise UserError(f"{where}: reading Parquet needs pyarrow: pip install pyarrow") from error


def group_sizes(source: Path) -> list[int]:
    """The number of rows of each group of a file that `pictures_of` has read."""
    from pyarrow.parquet import read_metadata

    metadata = read_metadata(source)
    return [metadata.row_group(number).num_rows for number in range(metadata.num_row_groups)]


def pictures_of(path: Path, source: Path) -> Iterator[tuple[bytes | None, Row]]:
    """The bytes of each row, with its name or path and its label; None where the picture is the file `path`.

    `source` has the bytes of the file that is called `path`. Raises UserError as `read_parquet_list`.
    """
    require_pyarrow(path)
    import pyarrow
    from pyarrow.parquet import ParquetFile

    try:
        with ParquetFile(source, memory_map=False, pre_buffer=False) as file:
            column, label_of = _columns(path, file.schema_arrow)
            if not file.metadata.num_rows:
                raise UserError(f"{path}: no rows in it: add a row per picture")
            number = 0
            for batch in file.iter_batches(_BATCH, columns=[column, LABEL], use_threads=False):
                values, labels = (batch.column(name).to_pylist() for name in (column, LABEL))
                for value, label in zip(values, labels, strict=True):
                    where = row_name(path, number)
                    data, name = (None, value) if column == PATH else _image(value, where)
                    yield data, [_name(path, number, data, name, where), label_of(label, where)]
                    number += 1
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise UserError(f"{path}: can't be read as Parquet ({reason}): {_MEND}") from error


def _image(value: Any, where: str) -> tuple[bytes | None, str | None]:  # noqa: ANN401
    """The bytes of a value of the column `image`, and its path."""
    data, name = (value.get("bytes"), value.get("path")) if isinstance(value, Mapping) else (value, None)
    if data is None and not name:
        raise UserError(f"{where}: no picture in it: take the row out")
    if data is not None and len(data) > MAX_PICTURE_BYTES:
        raise UserError(f"{where}: the picture has {len(data):,} bytes (allowed: {MAX_PICTURE_BYTES:,})")
    return data, name


def _name(path: Path, number: int, data: bytes | None, name: str | None, where: str) -> str:
    """The path that the picture's key is made of; of one in the file, without what leads out of a folder."""
    if data is None:
        return name or ""
    if not name:
        return f"{path.stem}-{number:07d}"
    plain = posixpath.normpath(name.replace("\\", "/"))
    if "\0" in plain:
        raise UserError(f"{where}: the path is {name!r}: write that of a picture")
    return plain


def _columns(path: Path, schema: Any) -> tuple[str, Callable[[Any, str], str]]:  # noqa: ANN401 - pyarrow has no types
    """The column with the pictures or paths, and a function from a label and its place to its text."""
    from pyarrow import types

    if LABEL not in schema.names or schema.names.count(LABEL) > 1 or not {IMAGE, PATH} & {*schema.names}:
        raise UserError(
            f"{path}: needs the columns {IMAGE} (or {PATH}) and {LABEL}; it has {', '.join(schema.names) or 'none'}"
        )
    column = IMAGE if IMAGE in schema.names else PATH
    kind, label = schema.field(column).type, schema.field(LABEL).type
    is_struct = types.is_struct(kind) and any(field.name == "bytes" for field in kind)
    is_text = types.is_string(kind) or types.is_large_string(kind)
    if not (is_text if column == PATH else is_struct or types.is_binary(kind) or types.is_large_binary(kind)):
        allowed = "text" if column == PATH else "bytes, or a struct of bytes and path"
        raise UserError(f"{path}: the column {column} has the type {kind}. Allowed: {allowed}")
    if types.is_list(label) or types.is_large_list(label) or types.is_fixed_size_list(label):
        raise UserError(
            f"{path}: the column {LABEL} has several classes per picture ({label}): several labels of a picture"
            " (multi-label) are not supported"
        )
    values = label.value_type if types.is_dictionary(label) else label
    if types.is_integer(values):
        names = _class_names(schema.metadata or {})
        return column, lambda value, where: _label_of_number(value, where, names)
    if types.is_string(values) or types.is_large_string(values):
        return column, lambda value, where: (value or "").strip()
    raise UserError(f"{path}: the column {LABEL} has the type {label}. Allowed: text, or whole numbers")


def _label_of_number(value: int | None, where: str, names: Sequence[str]) -> str:
    if value is None or value < 0:
        raise UserError(f"{where}: the label is {value}, which stands for none: take the row out")
    if not names:
        return str(value)
    if value >= len(names):
        raise UserError(f"{where}: the label is {value}, and the file names {len(names)} classes, the first of them 0")
    return names[value]


def _class_names(metadata: Mapping[bytes, bytes]) -> Sequence[str]:
    """The names of a ClassLabel in Hugging Face's metadata of the schema; none where there are none."""
    try:
        names = json.loads(metadata[b"huggingface"])["info"]["features"][LABEL]["names"]
    except (KeyError, TypeError, ValueError):
        return ()
    return [str(name) for name in names] if isinstance(names, list) else ()
