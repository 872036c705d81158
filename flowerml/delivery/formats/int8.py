"""Int8 forms of an ONNX file, by ONNX Runtime's quantization.

Weights are int8 per output channel, in seven of their eight bits: on processors without VNNI (before 2019, and AVX2
ones later) the products of two full bytes overflow in the instruction that adds them, and the answers are wrong there.
"""

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from flowerml.delivery.verify import RecordedPhoto
from flowerml.errors import UserError, one_line

CALIBRATION_PHOTOS = 128
MIN_CALIBRATION_PHOTOS = 16


def calibration_photos(recorded: Sequence[RecordedPhoto], origin: str) -> list[RecordedPhoto]:
    """The validation photos that the ranges of a static int8 model are measured on: every k-th, at most half of them.

    The accuracy is measured on the others. Raises UserError where there are fewer than MIN_CALIBRATION_PHOTOS.
    """
    there = [photo for photo in recorded if photo.path.is_file()]
    count = min(CALIBRATION_PHOTOS, len(there) // 2)
    if count < MIN_CALIBRATION_PHOTOS:
        raise UserError(
            f"--int8 static: {2 * MIN_CALIBRATION_PHOTOS} validation photos of the run of {one_line(origin)} are"
            f" needed, half of them for the ranges, of which {len(there)} are at hand: name their folder with"
            " --train-dir, or take --int8 dynamic"
        )
    step = len(there) // count
    return there[::step][:count]


def quantize(source: Path, path: Path, inputs: Iterator[torch.Tensor] | None) -> None:
    """Write the int8 form of the ONNX file `source`; static with ranges from `inputs`, (1, 3, S, S) each, else dynamic.

    A dynamic one has int8 matrix products (transformers, heads) and leaves convolutions in fp32: ONNX Runtime has no
    fast dynamic one of them.
    """
    from onnxruntime import quantization
    from onnxruntime.quantization.shape_inference import quant_pre_process

    with tempfile.TemporaryDirectory() as scratch:
        prepared = Path(scratch) / "prepared.onnx"
        # Symbolic shape inference is for models whose shapes are computed; these have only the batch open.
        quant_pre_process(str(source), str(prepared), skip_symbolic_shape=True)
        common: dict[str, Any] = {"per_channel": True, "reduce_range": True}
        if inputs is None:
            types = ["MatMul", "Gemm"]
            quantization.quantize_dynamic(str(prepared), str(path), op_types_to_quantize=types, **common)
        else:
            quantization.quantize_static(str(prepared), str(path), _Reader(inputs), **common)


class _Reader:
    """ONNX Runtime's CalibrationDataReader of inputs that are made when they are asked for."""

    def __init__(self, inputs: Iterator[torch.Tensor]) -> None:
        self._inputs = inputs

    def get_next(self) -> dict[str, np.ndarray] | None:
        """The next input by its name; None after the last."""
        found = next(self._inputs, None)
        return None if found is None else {"inputs": found.numpy()}
