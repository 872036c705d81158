"""List the pictures of tar and Parquet files that stay on the server.

Each file is fetched once, to a temporary one, and removed. While it is here its pictures are scanned, and kept where
the cache of streamed pictures has room, so that a first training does not ask for them one by one.
"""

import warnings
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import accumulate
from pathlib import Path

from flowerml.data.decode import BadImage
from flowerml.data.location import Part, Span
from flowerml.data.scan import picture_facts
from flowerml.data.scan_cache import ScanCache
from flowerml.data.sources.forms import PARQUET
from flowerml.data.sources.index_cache import Rows
from flowerml.data.sources.parquet import IMAGE, group_sizes, pictures_of, require_pyarrow, row_name
from flowerml.data.sources.remote import row_groups
from flowerml.data.sources.remote.picture_cache import PictureCache
from flowerml.data.sources.remote.remote_span import RemoteFile, RemoteSpan, store_of, streamed_pictures
from flowerml.data.sources.remote.row_groups import RemoteRow, RowGroup
from flowerml.data.sources.remote.store import NoParts
from flowerml.data.sources.remote.streamed_index import StreamedIndex, read_index, write_index
from flowerml.data.sources.tar_shards import index_tar
from flowerml.errors import UserError
from flowerml.files import TemporaryAt, temporary_path
from flowerml.human_units import amount
from flowerml.progress_bar import track

_AT_A_TIME = 4  # files that are here beside the copies


def require_parts(files: Sequence[RemoteFile]) -> None:
    """Raise NoParts where the server, as far as the first of these files tells, does not give parts of known versions.

    Raises UserError where it can't be reached.
    """
    for file in files:
        if not file.version.is_known:
            raise NoParts(f"{file.address}: the server does not say its size and version (ETag)")
    files[0].read(0, 1)


def list_streamed(root: Path, files: Mapping[Path, RemoteFile]) -> None:
    """Write the index of each file whose stand-in has none of that version; `root` is what a scan is given.

    Raises:
        UserError: a file can't be fetched, or as `index_tar` or `read_parquet_list`, or a group of rows has too many
            bytes, or the cache folder can't be written to.
    """
    lacking = {path: file for path, file in files.items() if (known := read_index(path)) is None or known.file != file}
    if not lacking:
        return
    for path, file in lacking.items():
        if path.name.lower().endswith(PARQUET):
            require_pyarrow(file.address)
    scans = ScanCache(root)
    pool = ThreadPoolExecutor(_AT_A_TIME)
    try:
        # Warning filters are process-wide: set here once, not in the threads.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            done = pool.map(partial(_list_file, scans), lacking, lacking.values())
            for _ in track(done, "listing files on the server", total=len(lacking)):
                pass
    finally:
        pool.shutdown(cancel_futures=True)
        scans.save()


def _list_file(scans: ScanCache, path: Path, file: RemoteFile) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    list_rows = _list_parquet if path.name.lower().endswith(PARQUET) else _list_tar
    with TemporaryAt(temporary_path(path)) as temporary:
        store_of(file.address).fetch(file.address, temporary, file.version)
        try:
            rows = list_rows(_Scanner(scans, streamed_pictures()), path, temporary, file)
        except UserError as error:
            message = str(error).replace(str(temporary), file.address).replace(str(path), file.address)
            raise UserError(message) from error
    write_index(path, StreamedIndex(file, rows))


def _list_tar(scanner: "_Scanner", path: Path, temporary: Path, file: RemoteFile) -> Rows:
    rows = index_tar(temporary)
    for name, offset, size, _ in rows:
        place = RemoteSpan(file, offset, size)
        scanner.take(f"{path}/{name}", place, place.key, Span(temporary, offset, size).read())
    return rows


def _list_parquet(scanner: "_Scanner", path: Path, temporary: Path, file: RemoteFile) -> Rows:
    rows: Rows = []
    ends, in_group = [], [0]  # of groups: behind the last row; bytes
    for number, (data, (name, label)) in enumerate(pictures_of(path, temporary)):
        if not number:
            ends = [*accumulate(group_sizes(temporary))]
            in_group = [0] * len(ends)
        group = bisect_right(ends, number)
        rows.append([-1 if data is None else len(data), name, label, group])
        if data is None:
            continue
        in_group[group] += len(data)
        if in_group[group] > row_groups.MAX_GROUP_BYTES:
            raise UserError(
                f"{path}: the pictures of row group {group} have more than {amount(row_groups.MAX_GROUP_BYTES)}, and"
                " each of them is read from the server with its whole group. Write smaller groups"
                " (row_group_size=100), or tar files (WebDataset)"
            )
        place = RemoteRow(RowGroup(file, IMAGE, group, ends[group - 1] if group else 0), number, len(data))
        scanner.take(row_name(path, number), place, place.key, data)
    return rows


class _Scanner:
    """Keeps what a scan keeps of pictures, under the names that a list gives them, and their bytes."""

    def __init__(self, scans: ScanCache, kept: PictureCache) -> None:
        self._scans, self._kept = scans, kept

    def take(self, name: str, place: Part, key: str, data: bytes) -> None:
        """Scan a picture and keep its bytes; of one that is bad nothing: a scan reads it again."""
        try:
            self._scans.put(name, place.state(), picture_facts(data), place)
        except BadImage:
            return
        self._kept.put(key, data)
