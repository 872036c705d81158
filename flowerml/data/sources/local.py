"""The path of pictures on this machine, wherever they are."""

from pathlib import Path

from flowerml.data.scan_cache import cache_folder
from flowerml.settings.addresses import canonical_address, is_remote


def local_path(root: Path) -> Path:
    """`root` itself, or of an address (`s3://bucket/photos`) its copy in the cache folder.

    Raises UserError as `remote.copy.local_copy`.
    """
    text = str(root)
    if not is_remote(text):
        return root
    from flowerml.data.sources.remote.copy import local_copy  # late: it imports requests

    return local_copy(canonical_address(text), cache_folder())
