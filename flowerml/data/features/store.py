"""Features of images on disk, by the digest of the image: in files that are added and never changed.

A run of the same model finds there what earlier runs have computed, also where images were added, changed or split
anew, and also of a run that was stopped half-way. Processes may write at the same time: each file is written whole
under a name of its own, and features that are there twice are equal. A damaged file is removed.
"""

import hashlib
import logging
import zipfile
import zlib
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from flowerml.errors import UserError, one_line
from flowerml.files import write_with

logger = logging.getLogger(__name__)

# Raised by zipfile, zlib and NumPy for files that are damaged or of another format.
_DAMAGE = (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile, zlib.error, NotImplementedError)


@dataclass(frozen=True)
class FeatureStore:
    """Features (F,) float32 of images by sha256 (hex), in `.npz` files of one folder.

    The folder is that of one model and one preprocessing; the checksums are the zip format's own (CRC-32).
    """

    folder: Path

    def get(self, digests: Collection[str]) -> dict[str, np.ndarray]:
        """The features that are stored, of those asked for. What can't be read counts as not stored."""
        wanted = {bytes.fromhex(digest): digest for digest in digests}
        found: dict[str, np.ndarray] = {}
        try:
            files = sorted(self.folder.glob("*.npz"))
        except OSError:
            return {}
        for file in files if wanted else ():
            try:
                found |= _read_file(file, wanted)
            except _DAMAGE as error:
                reason = one_line(str(error) or type(error).__name__)
                logger.warning(f"features in {file} can't be used ({reason}): they are computed again")
                with suppress(OSError):
                    file.unlink()
        return found

    def put(self, digests: Sequence[str], features: np.ndarray) -> bool:
        """Store features (N, F) of N images. Returns False, after a warning, where they can't be written."""
        sha256 = np.array([np.frombuffer(bytes.fromhex(digest), np.uint8) for digest in digests])
        name = hashlib.sha256(sha256.tobytes()).hexdigest()[:24]

        def fill(temporary: Path) -> None:
            with temporary.open("wb") as handle:
                np.savez(handle, allow_pickle=False, sha256=sha256, features=features.astype(np.float32, copy=False))

        try:
            write_with(self.folder / f"{name}.npz", fill, needed=features.nbytes)
        except UserError as error:
            logger.warning(f"features are not kept for later runs: {error}")
            return False
        return True


def _read_file(file: Path, wanted: dict[bytes, str]) -> dict[str, np.ndarray]:
    """The wanted features in a file; they are only read where one is in it. Raises one of `_DAMAGE`."""
    with np.load(file, allow_pickle=False) as content:
        names = [row.tobytes() for row in content["sha256"]]
        rows = [index for index, name in enumerate(names) if name in wanted]
        if not rows:
            return {}
        features = content["features"]
        if features.ndim != 2 or len(features) != len(names) or features.dtype != np.float32:
            raise ValueError(f"{features.dtype} {features.shape} for {len(names)} images")
        return {wanted[names[index]]: features[index] for index in rows}
