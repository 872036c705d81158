"""List the pictures of tar files that stay on the server: each file is fetched once, to a temporary one, and removed.

While it is here its pictures are scanned, and kept where the cache of streamed pictures has room, so that a first
training does not ask for them one by one.
"""

import warnings
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from flowerml.data.decode import BadImage
from flowerml.data.location import Span
from flowerml.data.scan import picture_facts
from flowerml.data.scan_cache import ScanCache
from flowerml.data.sources.index_cache import Rows
from flowerml.data.sources.remote.remote_span import RemoteFile, RemoteSpan, store_of, streamed_pictures
from flowerml.data.sources.remote.store import NoParts
from flowerml.data.sources.remote.streamed_index import StreamedIndex, read_index, write_index
from flowerml.data.sources.tar_shards import index_tar
from flowerml.errors import UserError
from flowerml.files import TemporaryAt, temporary_path
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
        UserError: a file can't be fetched, or as `index_tar`, or the cache folder can't be written to.
    """
    lacking = {path: file for path, file in files.items() if (known := read_index(path)) is None or known.file != file}
    if not lacking:
        return
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
    with TemporaryAt(temporary_path(path)) as temporary:
        store_of(file.address).fetch(file.address, temporary, file.version)
        try:
            rows = index_tar(temporary)
        except UserError as error:
            raise UserError(str(error).replace(str(temporary), file.address)) from error
        _scan(scans, path, temporary, file, rows)
    write_index(path, StreamedIndex(file, rows))


def _scan(scans: ScanCache, path: Path, temporary: Path, file: RemoteFile, rows: Rows) -> None:
    """What a scan keeps of the pictures, under the names that a list gives them; a scan reads bad ones again."""
    kept = streamed_pictures()
    for name, offset, size, _ in rows:
        place = RemoteSpan(file, offset, size)
        try:
            data = Span(temporary, offset, size).read()
            scans.put(f"{path}/{name}", place.state(), picture_facts(data), place)
        except BadImage:
            continue
        kept.put(place.key, data)
