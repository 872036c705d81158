"""Which store a run gets: what `--cache-images` and `--cache-images-gb` say, and what memory and disk have free."""

import logging
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import psutil

from flowerml.data.image_cache.entry import Entry
from flowerml.data.image_cache.store import DiskStore, RamStore, Store, stored_bytes
from flowerml.data.scan_cache import cache_folder
from flowerml.human_units import amount

logger = logging.getLogger(__name__)

OFF, RAM, DISK, AUTO = "off", "ram", "disk", "auto"  # values of the setting `cache_images`
_CGROUP = Path("/sys/fs/cgroup")
_LIMITS = (("memory.max", "memory.current"), ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"))


def images_folder() -> Path:
    """The folder of the pictures on disk."""
    return cache_folder() / "images"


def open_store(mode: str, entries: Sequence[Entry], limit_gb: float) -> Store | None:
    """The store for `entries`, None where they are to be decoded in every epoch; says in one line which it is.

    `limit_gb` (10^9 bytes) bounds it; 0 allows half of the memory, or of the disk, that is free. `auto` takes memory
    where all entries fit, else the disk where they fit, else none; the others store as many as fit.
    """
    if mode == OFF or not entries:
        return None
    needed = sum(entry.nbytes for entry in entries)
    limit = int(limit_gb * 10**9)
    in_ram = limit or available_memory() // 2
    on_disk = limit or available_disk(images_folder()) // 2
    chosen = mode
    if mode == AUTO:
        chosen = RAM if needed <= min(in_ram, available_memory()) else OFF
        if chosen == OFF and needed <= min(on_disk, available_disk(images_folder())):
            chosen = DISK
    if chosen == OFF:
        logger.info(
            f"pictures are not cached (--cache-images auto): they take {amount(needed)}, and {amount(in_ram)} of memory"
            f" or {amount(on_disk)} of disk may be used"
        )
        return None
    store = _open(chosen, entries, in_ram if chosen == RAM else on_disk)
    if store is not None:
        where = "memory" if chosen == RAM else str(images_folder())
        allowed = amount(in_ram if chosen == RAM else on_disk)
        some = "" if store.count == len(entries) else f"{store.count:,} of "
        logger.info(
            f"decoded pictures are cached in {where} (--cache-images {mode}): {some}{len(entries):,} of"
            f" {amount(needed)}, up to {allowed} may be used"
        )
    return store


def _open(chosen: str, entries: Sequence[Entry], limit: int) -> RamStore | DiskStore | None:
    if chosen == DISK:
        return DiskStore(entries, images_folder(), limit)
    try:
        return RamStore(entries, limit)
    except OSError as error:
        logger.warning(f"pictures are not cached: no memory for them ({error.strerror or error})")
        return None


def available_memory() -> int:
    """Bytes of memory that can be taken without swapping, within the limit of a container."""
    free = psutil.virtual_memory().available
    for limit, used in _LIMITS:
        try:
            free = min(free, int((_CGROUP / limit).read_text()) - int((_CGROUP / used).read_text()))
        except (OSError, ValueError):  # no such file, or `max`: no limit
            continue
    return max(0, free)


def available_disk(folder: Path) -> int:
    """Bytes that pictures in `folder` may take: what is free there, and what they take already."""
    existing = next(path for path in (folder.absolute(), *folder.absolute().parents) if os.path.isdir(path))  # noqa: PTH112
    return shutil.disk_usage(existing).free + stored_bytes(folder)
