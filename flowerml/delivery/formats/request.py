"""Which formats an export writes beside the `.pth`, what their files are called, and which packages they need."""

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from flowerml.errors import UserError
from flowerml.evaluation.tta import NO_VIEWS
from flowerml.settings.errors import did_you_mean

FULL_PRECISION = "fp32"


class Format(StrEnum):
    """A format beside the `.pth`."""

    ONNX = "onnx"
    OPENVINO = "openvino"
    TORCH_EXPORT = "torch-export"


class Int8(StrEnum):
    """How the activations of an int8 model get their range: picture by picture, or from validation photos, for good."""

    DYNAMIC = "dynamic"
    STATIC = "static"


_SUFFIX = {Format.ONNX: ".onnx", Format.OPENVINO: ".xml", Format.TORCH_EXPORT: ".pt2"}
_PACKAGES = {
    Format.ONNX: ("onnx", "onnxscript", "onnxruntime"),
    Format.OPENVINO: ("onnx", "onnxscript", "openvino"),
    Format.TORCH_EXPORT: (),
}


@dataclass(frozen=True)
class FormatRequest:
    """The formats to write, and the int8 form of the ONNX file (None: no such file)."""

    formats: tuple[Format, ...] = ()
    int8: Int8 | None = None


def parse_request(words: Sequence[str], int8: str | None) -> FormatRequest:
    """The request of the flags `--format` (each a name, or several with commas) and `--int8`.

    Raises:
        UserError: an unknown format, `--int8` without onnx, or a package that is missing.
    """
    formats = tuple(dict.fromkeys(_parse_format(part) for word in words for part in word.split(",")))
    if int8 is not None and Format.ONNX not in formats:
        raise UserError("--int8 is a form of the ONNX file: give --format onnx with it, or leave it out")
    for one in formats:
        require_packages(one)
    return FormatRequest(formats, None if int8 is None else Int8(int8))


def _parse_format(word: str) -> Format:
    try:
        return Format(word.strip())
    except ValueError as error:
        hint = did_you_mean(word, tuple(Format))
        raise UserError(f"--format is {word.strip()!r}. Allowed: {', '.join(Format)}.{hint}") from error


def require_packages(wanted: Format) -> None:
    """Check that the packages of a format are installed. Raises UserError."""
    missing = [name for name in _PACKAGES[wanted] if importlib.util.find_spec(name) is None]
    if missing:
        raise UserError(f'--format {wanted} needs {" and ".join(missing)}: pip install "flowerml[{wanted}]"')


def require_no_views(wanted: Format, tta: str) -> None:
    """Check that a format can do what the weights ask for. Raises UserError: only Python files apply views."""
    if wanted is not Format.ONNX and tta != NO_VIEWS:
        raise UserError(
            f"--format {wanted}: the weights have the views {tta}, which are applied by the Python files beside .pth"
            f" and .onnx only: add --tta {NO_VIEWS}, or leave this format out"
        )


def file_name(weights: str, wanted: Format, precision: str = FULL_PRECISION) -> str:
    """The name of a file that is made from the weights file `weights`: `cnn_flowers.onnx`, `cnn_flowers_int8.onnx`."""
    int8 = "" if precision == FULL_PRECISION else "_int8"
    return f"{Path(weights).stem}{int8}{_SUFFIX[wanted]}"
