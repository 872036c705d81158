"""Reading a weights file: its checksum, `torch.load(weights_only=True)`, and the checks of its format."""

from __future__ import annotations

import os
import pickle
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import torch

from flowerml.evaluation.calibration import Calibration
from flowerml.evaluation.tta import NO_VIEWS, TTA
from flowerml.prediction.standalone.delivered_file import BadWeights, check_digest, find_file, is_input_description
from flowerml.prediction.standalone.messages import first_line, single_line

FORMAT = "flowerml-checkpoint-1"
FAMILIES = ("cnn", "vit")


def read_weights(weights_path: str | os.PathLike[str], families: Sequence[str] = FAMILIES) -> dict:
    """Read and check the content of a weights file of one of these families. Nothing in it is executed.

    Tensors stay on disk until they are used (mmap).

    Raises:
        BadWeights: missing, damaged, not the delivered file (SHA256), or not of this format.
    """
    path = find_file(weights_path)
    _check_integrity(path, str(weights_path))
    try:
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except pickle.UnpicklingError as error:  # torch's own message advises to load it with weights_only=False
        reason = "holds more than plain weights and values: refused, as such a file can run code"
        raise BadWeights(single_line(f"{weights_path}: {reason}")) from error
    except Exception as error:  # zip, pickle and torch each have errors of their own for a damaged file
        raise BadWeights(single_line(f"{weights_path}: can't be read ({first_line(error)})")) from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise BadWeights(single_line(f"{weights_path}: not written by flowerml ({FORMAT})"))
    if problem := next(_format_errors(content, families), None):
        raise BadWeights(single_line(f"{weights_path}: {problem}"))
    return content


def _check_integrity(path: Path, name: str) -> None:
    """Compare the sha256 where one is known, else the zip's own CRCs, which torch does not check. Raises BadWeights."""
    try:
        is_checked = check_digest(path, name)
        with zipfile.ZipFile(path) as archive:
            compressed = [
                member.filename for member in archive.infolist() if member.compress_type != zipfile.ZIP_STORED
            ]
            damaged = None if is_checked else archive.testzip()
    except BadWeights:
        raise
    except Exception as error:
        raise BadWeights(single_line(f"{name}: can't be read ({first_line(error)})")) from error
    if compressed or damaged:
        raise BadWeights(single_line(f"{name}: can't be read (its part {damaged or compressed[0]} is damaged)"))


def _format_errors(content: Mapping, families: Sequence[str]) -> Iterator[str]:
    """What departs from the format, one phrase each."""
    model, description, state, classes = (content.get(key) for key in ("model", "input", "state_dict", "classes"))
    if not isinstance(model, dict) or not all(
        isinstance(model.get(key), str) for key in ("name", "library", "architecture", "hub")
    ):
        yield "does not say which model it is for"
    if content.get("family") not in families:
        yield f"is of family {content.get('family')!r}, which is not {' or '.join(families)}"
    if not isinstance(classes, list) or not classes or not all(isinstance(name, str) for name in classes):
        yield "has no list of class names"
    if not isinstance(description, dict) or not is_input_description(description):
        yield "does not describe its input"
    if not isinstance(state, dict) or not all(
        isinstance(name, str) and _is_plain_tensor(tensor) for name, tensor in state.items()
    ):
        yield "holds weights that are no plain tensors"
    else:
        head = state.get("head.bias")
        if isinstance(classes, list) and head is not None and tuple(head.shape) != (len(classes),):
            yield f"names {len(classes)} classes, but its head gives {head.numel()}"
    try:
        Calibration.from_plain(content.get("calibration"))
    except ValueError as error:
        yield str(error)
    if (tta := content.get("tta", NO_VIEWS)) not in TTA:
        yield f"wants the views {tta!r}, which are not {', '.join(TTA[:-1])} or {TTA[-1]}"


def _is_plain_tensor(value: object) -> bool:
    return isinstance(value, torch.Tensor) and value.layout == torch.strided and not value.is_quantized
