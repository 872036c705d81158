"""Download an archive of pictures, check its digest and unpack it as a training folder.

The default is the archive of TensorFlow's `tf_flowers`: 3,670 photos of five flowers under CC-BY, whose authors are
listed in its LICENSE.txt.
"""

import fcntl
import logging
import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from flowerml.data.download.archive import BadArchive, require_space, unpack
from flowerml.data.download.http import ALTERNATIVES, require_url
from flowerml.data.download.resumable import RETRY_DELAYS_S, PartialFile, download
from flowerml.data.folders import ALL_FOLDERS, read_layout
from flowerml.data.folders.kinds import beside_pictures
from flowerml.errors import UserError
from flowerml.files import file_digest
from flowerml.human_units import amount

logger = logging.getLogger(__name__)

PUBLIC_URL = "https://storage.googleapis.com/download.tensorflow.org/example_images/flower_photos.tgz"
PUBLIC_SHA256 = "4c54ace7911aaffe13a365c34f650e71dd5bf1be0a58b464e5a7183e3e595d9c"
PUBLIC_SIZE = 228_813_984  # bytes
# The same as tasks.flowers.ALIASES, whose import would load torch.
FOLDER_ALIASES = {"roses": "rose", "sunflowers": "sunflower", "tulips": "tulip"}


def fetch_photos(
    train_dir: Path,
    url: str = PUBLIC_URL,
    sha256: str = PUBLIC_SHA256,
    *,
    keep_archive: bool = False,
    retry_delays_s: Sequence[float] = RETRY_DELAYS_S,
) -> dict[str, int]:
    """Download a .tgz with one folder per class into `train_dir`; return the number of pictures per class.

    An interrupted download is kept beside `train_dir` as `.<archive>.<digest>.part`, and the next call resumes it. The
    archive is removed at the end, or left beside `train_dir` under its own name with `keep_archive`.
    `retry_delays_s`: see `download`.

    Raises:
        UserError: `train_dir` is not empty, no space, not reachable, a wrong digest, or an archive that is refused;
            `train_dir` is unchanged then.
    """
    require_url(url)
    target = _resolve_target(train_dir)
    name = _archive_name(url)
    archive = target.with_name(name)
    if keep_archive and (archive.exists() or archive == target):
        raise UserError(f"--keep-archive would overwrite {archive}: use it with --archive {archive}, or move it away")
    part = PartialFile(target.with_name(f".{name}.{sha256[:8]}.part"))
    with _fetch_lock(target):
        try:
            _download_checked(url, part, sha256, retry_delays_s)
            counts = _unpack_classes(part.path, target)
        except KeyboardInterrupt:
            if part.size():
                logger.info(f"{amount(part.size())} are kept in {part.path}: the same command goes on from there")
            raise
        except BadArchive:
            part.remove()
            raise
        if keep_archive:
            part.path.rename(archive)
        part.remove()
    return counts


def unpack_photos(train_dir: Path, archive: Path, sha256: str = PUBLIC_SHA256) -> dict[str, int]:
    """As `fetch_photos`, from an archive on disk, which is left as it is. Raises UserError as `fetch_photos`."""
    target = _resolve_target(train_dir)
    digest = file_digest(archive)
    if digest != sha256:
        raise UserError(
            f"--archive {archive} has sha256 {digest}, expected {sha256}: bring it again, or, where it is meant to be"
            " another archive, name its digest: --sha256 HEX"
        )
    with _fetch_lock(target):
        require_space(target.parent, archive.stat().st_size, 0)
        return _unpack_classes(archive, target)


def _download_checked(url: str, part: PartialFile, sha256: str, retry_delays_s: Sequence[float]) -> None:
    size = PUBLIC_SIZE if sha256 == PUBLIC_SHA256 else None

    def check_space(total: int) -> None:
        require_space(part.path.parent, total, max(0, total - part.size()))

    if size is not None:
        check_space(size)
    logger.info(
        f"fetching {url}"
        + (f" ({amount(size)})" if size else "")
        + (f", {amount(part.size())} are here" if part.size() else "")
    )
    download(url, part, size, check_space, retry_delays_s)
    digest = file_digest(part.path)
    if digest != sha256:
        part.remove()
        raise UserError(
            f"{url}: what came has sha256 {digest}, expected {sha256}: it is removed. Fetch it again; where it is meant"
            f" to be another archive, name its digest with --sha256 HEX; or {ALTERNATIVES}"
        )


def _unpack_classes(archive: Path, target: Path) -> dict[str, int]:
    def arrange(stage: Path) -> Path:
        root = _class_root(stage)
        try:
            layout = read_layout(root, ALL_FOLDERS, FOLDER_ALIASES)
        except UserError as error:
            folders = ", ".join(sorted(repr(path.name) for path in root.iterdir() if path.is_dir())[:8]) or "none"
            why = (
                f"{archive} is not a set of pictures with one folder per class, two classes at least (its folders:"
                f" {folders})"
            )
            raise BadArchive(f"{why}: the archive is refused, nothing of it is kept") from error
        for folder, label in sorted({(image.file.split("/")[0], image.label) for image in layout.files}):
            (root / folder).rename(root / label)
        return root

    unpack(archive, target, arrange)
    return dict(sorted(Counter(image.label for image in read_layout(target, ALL_FOLDERS, {}).files).items()))


def _class_root(stage: Path) -> Path:
    """The folder that holds the class folders: most archives have one folder around everything."""
    entries = [path for path in stage.iterdir() if beside_pictures(path.name) is None]
    if len(entries) == 1 and entries[0].is_dir() and any(path.is_dir() for path in entries[0].iterdir()):
        return entries[0]
    return stage


def _resolve_target(train_dir: Path) -> Path:
    """The folder to make, with links resolved (the last rename must stay on one disk) and its parent made."""
    target = Path(os.path.realpath(train_dir))
    try:
        if target.exists() and (not target.is_dir() or any(target.iterdir())):
            raise UserError(
                f"--train-dir {train_dir} exists and is not empty: fetched photos never mix with others; name another"
                " folder"
            )
        if os.path.ismount(target) or target == Path.cwd():
            raise UserError(
                f"--train-dir {train_dir} can't be put in place at once (a mounted disk, or where you are): name"
                f" {train_dir}/photos"
            )
        target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        what = f"{target.parent} is a file" if isinstance(error, FileExistsError) else error.strerror or error
        raise UserError(f"--train-dir {train_dir}: {what}. Name another folder") from error
    return target


def _archive_name(url: str) -> str:
    last = urlsplit(url).path.rsplit("/", 1)[-1]
    return re.sub(r"[^\w.-]", "_", last)[-100:].lstrip(".") or "archive.tgz"


@contextmanager
def _fetch_lock(target: Path) -> Iterator[None]:
    """Refuse a second download into the same folder. The parent folder itself is locked, so no lock file is left."""
    try:
        handle = os.open(target.parent, os.O_RDONLY)
    except OSError as error:
        raise UserError(f"can't open {target.parent}: {error.strerror}. Name another folder: --train-dir") from error
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(handle)
        raise UserError(
            f"another `dataset fetch` is at work in {target.parent}: wait for it, or name a folder elsewhere"
        ) from error
    except OSError:
        pass  # some network file systems can't lock folders; the digest is still checked
    try:
        yield
    finally:
        os.close(handle)
