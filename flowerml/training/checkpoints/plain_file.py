"""Files of plain tensors and values: written atomically with torch.save, read without executing code in them."""

import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from flowerml.errors import UserError
from flowerml.files import missing_reason, write_with


def save_plain(path: Path, content: Mapping[str, Any]) -> None:
    """Write plain tensors and values with torch.save, atomically.

    Raises:
        UserError: the folder can't be written to or the disk is full.
    """

    def fill(temporary: Path) -> None:
        # torch.save(path) leaks its open file after an error, which keeps a full disk full: so the handle is ours.
        with temporary.open("wb") as handle:
            try:
                torch.save(content, handle)
            except RuntimeError as error:  # raised when torch closes its archive; the OSError is its context
                cause = error.__context__
                raise (cause if isinstance(cause, OSError) else OSError(str(error).splitlines()[0])) from error

    write_with(path, fill, size_in_bytes(content))


def size_in_bytes(value: object) -> int:
    """Bytes of all tensors in nested plain values."""
    if isinstance(value, torch.Tensor):
        return value.numel() * value.element_size()
    if isinstance(value, Mapping):
        return sum(map(size_in_bytes, value.values()))
    return sum(map(size_in_bytes, value)) if isinstance(value, list | tuple) else 0


def load_plain(path: Path) -> Any:  # noqa: ANN401 - whatever the file holds
    """What `save_plain` wrote, on the CPU. Tensors are memory-mapped: replace the file, never overwrite it.

    Raises:
        UserError: missing, damaged, or not plain values.
    """
    if reason := missing_reason(path):
        raise UserError(f"checkpoint {path}: {reason}. Give a run's best.pth or a delivered .pth")
    try:
        with zipfile.ZipFile(path) as archive:
            # Compressed by another program: mapped, the compressed bytes would be taken for weights.
            compressed = [part.filename for part in archive.infolist() if part.compress_type != zipfile.ZIP_STORED]
            damaged = archive.testzip()  # torch does not verify the CRCs it writes: a flipped bit would change a weight
        if damaged is not None or compressed:
            raise zipfile.BadZipFile(f"the part {damaged or compressed[0]} is damaged")
        return torch.load(path, map_location="cpu", weights_only=True, mmap=True)  # on the disk until used
    except pickle.UnpicklingError as error:  # torch's message advises weights_only=False, which would run the code
        raise UserError(
            f"checkpoint {path}: holds more than plain weights and values: refused, as such a file can run code"
        ) from error
    except Exception as error:  # zip, pickle and torch each raise their own errors for a damaged file
        line = (str(error) or type(error).__name__).splitlines()[0][:140]
        raise UserError(f"checkpoint {path}: can't be read ({line})") from error
