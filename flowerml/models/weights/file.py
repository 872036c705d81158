"""Read a weights file without executing code from it: what it holds is told by its content, not by its suffix."""

import argparse
import collections
import datetime
import pathlib
import re
import sys
import types
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy._core import multiarray
from safetensors import SafetensorError
from safetensors.torch import load_file

from flowerml.errors import UserError
from flowerml.files import missing_reason

_MAPPINGS = (
    *("lightning.fabric.utilities.data.AttributeDict", "lightning_fabric.utilities.data.AttributeDict"),
    *("pytorch_lightning.utilities.parsing.AttributeDict", "yacs.config.CfgNode", "easydict.EasyDict"),
    *("mmengine.config.config.ConfigDict", "mmcv.utils.config.ConfigDict", "addict.addict.Dict"),
)


def _empty_dict(*_: object) -> dict[object, object]:
    return {}


# Plain values that trainers save beside the tensors. None of them runs code when it is made.
_VALUE_TYPES: list[Any] = [
    *(list, dict, tuple, set, frozenset, str, bytes, int, float, complex, bool, range, slice),
    *(argparse.Namespace, types.SimpleNamespace, collections.Counter, (_empty_dict, "collections.defaultdict")),
    *(datetime.datetime, datetime.date, datetime.timedelta, torch.torch_version.TorchVersion),
    *(pathlib.PosixPath, pathlib.PurePosixPath, pathlib.PureWindowsPath),
    (pathlib.PureWindowsPath, "pathlib.WindowsPath"),
    *(np.ndarray, np.dtype, *{type(np.dtype(code)) for code in "?bBhHiIlLqQefdgFDGSUVMm"}),
    # Configurations and records of trainers that need not be installed: read as plain mappings and attributes.
    *((collections.OrderedDict, name) for name in _MAPPINGS),
    (types.SimpleNamespace, "mmengine.logging.history_buffer.HistoryBuffer"),
    # numpy 1 and numpy 2 have them under different names.
    *((multiarray.scalar, f"numpy.{core}.multiarray.scalar") for core in ("core", "_core")),
    *((multiarray._reconstruct, f"numpy.{core}.multiarray._reconstruct") for core in ("core", "_core")),
]
_SHOWN_OBJECTS = 3
_HEAD = 4096  # bytes by which a file's kind is told
_MAX_SAFETENSORS_HEADER = 100_000_000  # bytes, by its specification
_ALLOWED = "a state dict as .safetensors, or as torch.save writes it"
_TO_PYTORCH = f"it is no PyTorch file: convert it to {_ALLOWED}"
_KINDS: tuple[tuple[Callable[[bytes], object], str, str], ...] = (  # (test of the first bytes, kind, what to do)
    (re.compile(rb"version https://git-lfs").match, "a Git LFS pointer", "fetch the file itself: git lfs pull"),
    (
        re.compile(rb"(?i)(\xef\xbb\xbf)?\s*(<!doctype|<html|<\?xml|<head|<body)").match,
        "a web page",
        "download the file itself, not the page that shows it",
    ),
    (re.compile(rb"\x89HDF\r\n\x1a\n").match, "an HDF5 file (Keras)", _TO_PYTORCH),
    (re.compile(rb"\x93NUMPY").match, "a NumPy array", _TO_PYTORCH),
    (re.compile(rb"GGUF").match, "a GGUF file", _TO_PYTORCH),
    (re.compile(rb"....TFL3", re.DOTALL).match, "a TensorFlow Lite file", _TO_PYTORCH),
    (re.compile(rb"\x08[\x03-\x1f](\x12|:|B)", re.DOTALL).match, "an ONNX file", _TO_PYTORCH),
    (re.compile(rb"\x08\x01\x12", re.DOTALL).match, "a TensorFlow SavedModel", _TO_PYTORCH),
    (
        re.compile(rb"\x1f\x8b|BZh|\xfd7zXZ|7z\xbc\xaf|\x28\xb5\x2f\xfd|Rar!").match,
        "a compressed archive",
        "unpack it and name the weights file in it",
    ),
    (re.compile(rb"\s*[{\[]").match, "text (JSON)", f"name the file with the tensors: {_ALLOWED}"),
)


def require_weights_file(path: Path) -> Path:
    """`path`, if it is a file. Raises UserError otherwise."""
    if reason := missing_reason(path):
        raise UserError(f"--weights {path}: {reason}. Allowed: hub, none, or the path of a .safetensors or .pth file")
    return path


def read_weights_file(path: Path) -> Any:  # noqa: ANN401 - whatever was saved
    """The content of a file of safetensors or of `torch.save`: tensors and plain values, never unpickled objects.

    Raises:
        UserError: missing, damaged, of another kind (says which), or with objects in it.
    """
    require_weights_file(path)
    try:
        size = path.stat().st_size
        with path.open("rb") as handle:
            head = handle.read(_HEAD)
    except OSError as error:
        raise UserError(f"--weights {path}: can't be read ({error.strerror or error})") from error
    if size == 0:
        raise UserError(f"--weights {path}: can't be read (the file is empty)")
    try:
        if _is_safetensors(head, size):
            return load_file(path)
        _refuse_other_kinds(path, head)
        # By its handle: by its name torch.load would take a .safetensors for one.
        with torch.serialization.safe_globals(_VALUE_TYPES), path.open("rb") as handle:
            return torch.load(handle, map_location="cpu", weights_only=True)
    except UserError:
        raise
    except (SafetensorError, OSError, RuntimeError, ValueError, EOFError, ImportError) as error:
        raise UserError(f"--weights {path}: can't be read ({_first_line(error)})") from error
    except Exception as error:  # torch's message for a refused pickle advises weights_only=False
        if not head.startswith((b"PK", b"\x80")):
            raise UserError(
                f"--weights {path}: can't be read (neither safetensors nor written by torch.save)"
            ) from error
        raise UserError(_refusal(path)) from error


def _is_safetensors(head: bytes, size: int) -> bool:
    length = int.from_bytes(head[:8], "little")
    return head[8:9] == b"{" and 2 <= length <= min(size - 8, _MAX_SAFETENSORS_HEADER)


def _refuse_other_kinds(path: Path, head: bytes) -> None:
    """Raises UserError for a file that is neither of safetensors nor of `torch.save`; it says what it is."""
    if head.startswith(b"PK"):
        kind = _zip_kind(path)
    elif re.search(r"\.(index|meta|data-\d{5}-of-\d{5})$|^checkpoint$", path.name):
        kind = ("a part of a TensorFlow checkpoint", _TO_PYTORCH)
    else:
        kind = next(((name, remedy) for test, name, remedy in _KINDS if test(head)), None)
    if kind is not None:
        raise UserError(f"--weights {path}: it is {kind[0]}: {kind[1]}")


def _zip_kind(path: Path) -> tuple[str, str] | None:
    """What a zip archive is, and what to do; None for one of `torch.save`."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError) as error:
        raise UserError(f"--weights {path}: can't be read (cut off or damaged: {_first_line(error)})") from error
    tails = {name.partition("/")[2] for name in names}
    if "constants.pkl" in tails or any(tail.startswith("code/") for tail in tails):
        return "a TorchScript archive", f"save its tensors: {_convert(f'torch.jit.load({str(path)!r}).state_dict()')}"
    if "data.pkl" in tails:
        return None
    if "archive_format" in tails or "models/model.json" in tails:
        return (
            "an archive of torch.export",
            f"save its tensors: {_convert(f'torch.export.load({str(path)!r}).state_dict')}",
        )
    if names and all(name.endswith(".npy") for name in names):
        return "a NumPy .npz archive", _TO_PYTORCH
    if "model.weights.h5" in names:
        return "a Keras file", _TO_PYTORCH
    return "a zip archive", "unpack it and name the weights file in it"


def _refusal(path: Path) -> str:
    """The message for a file with pickled objects: it names them, and for a few classes how to convert the file.

    The command allows these classes alone. None is given for functions and for Python's own modules: nobody should be
    told to load `os.system`.
    """
    try:
        with torch.serialization.safe_globals(_VALUE_TYPES):
            found = sorted(torch.serialization.get_unsafe_globals_in_checkpoint(path))
    except Exception:
        found = []
    shown = f"{', '.join(found[:_SHOWN_OBJECTS])}{' …' * (len(found) > _SHOWN_OBJECTS)}"
    objects = f" (it has {shown})" if found else ""
    message = f"--weights {path}: not a file of plain tensors{objects}: refused, as such a file can run code. Give a"
    if not found or len(found) > _SHOWN_OBJECTS or not all(map(_is_foreign_class, found)):
        return f"{message} .safetensors, or a state dict of tensors"
    modules = ", ".join(sorted({name.rpartition(".")[0] for name in found}))
    code = (
        f"import torch, {modules}; torch.serialization.add_safe_globals([{', '.join(found)}]);"
        f" torch.save(torch.load({str(path)!r})['state_dict'], 'weights.pth')"
    )
    return f'{message} .safetensors, or convert it where these are installed: python -c "{code}"'


def _is_foreign_class(name: str) -> bool:
    module, _, last = name.rpartition(".")
    return module.partition(".")[0] not in sys.stdlib_module_names and last[:1].isupper()


def _convert(expression: str) -> str:
    return f'python -c "import torch; torch.save({expression}, {"weights.pth"!r})"'


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0][:160]
