"""Write a model in other formats, into a scratch folder."""

import logging
import os
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import torch

from flowerml.data.decode import BadImage
from flowerml.delivery.formats.int8 import calibration_photos, quantize
from flowerml.delivery.formats.metadata import metadata_of
from flowerml.delivery.formats.request import (
    FULL_PRECISION,
    Format,
    FormatRequest,
    Int8,
    file_name,
    require_no_views,
)
from flowerml.delivery.verify import Expected, RecordedPhoto, recorded_photos
from flowerml.errors import UserError, one_line
from flowerml.evaluation.tta import NO_VIEWS
from flowerml.human_units import amount
from flowerml.prediction import FlowersClassifier, as_predictor
from flowerml.prediction.delivered import for_delivery
from flowerml.training.checkpoints.checkpoint import Checkpoint
from flowerml.training.checkpoints.plain_file import size_in_bytes

logger = logging.getLogger(__name__)

Result = TypeVar("Result")

_ONNX_LIMIT = 2**31 - 2**24  # bytes of weights: a protobuf message ends at 2 GiB, and the graph takes some of it
_HARDLY_SMALLER = 0.9


@dataclass(frozen=True)
class Converted:
    """A model in another format: its files, of which the first is the one to load.

    `precision` is fp32, "int8 dynamic" or "int8 static". `calibrated_on` are the names of the validation photos that
    an int8 model's ranges come from: its accuracy is not measured on them.
    """

    format: Format
    precision: str
    files: tuple[Path, ...]
    calibrated_on: frozenset[str] = field(default_factory=frozenset)


def convert(
    checkpoint: Checkpoint, weights: str, request: FormatRequest, expected: Expected, folder: Path
) -> list[Converted]:
    """Write the formats of `request` into `folder`; `weights` is the name of the `.pth` they belong to.

    Raises:
        UserError: the model can't be exported or is too large for a format, it has views that a format can't apply, or
            photos for a static int8 model are missing.
    """
    checkpoint = for_delivery(checkpoint)
    for wanted in request.formats:
        require_no_views(wanted, checkpoint.tta)
    photos = _photos_for_int8(checkpoint, request, expected)
    if {Format.ONNX, Format.OPENVINO} & set(request.formats):
        _require_size(checkpoint)
    model = as_predictor(checkpoint, "cpu", checkpoint.origin)
    model.tta = NO_VIEWS  # the graph is of one view
    inputs = torch.zeros(2, 3, checkpoint.description.size, checkpoint.description.size)
    program = _convert_quietly("export", checkpoint, lambda: _exported(model, inputs))
    converted = []
    onnx_path = folder / file_name(weights, Format.ONNX)
    if {Format.ONNX, Format.OPENVINO} & set(request.formats):
        _convert_quietly("onnx", checkpoint, lambda: _write_onnx(program, onnx_path, checkpoint))
    if Format.ONNX in request.formats:
        converted.append(Converted(Format.ONNX, FULL_PRECISION, (onnx_path,)))
    if request.int8 is not None:
        converted.append(_write_int8(model, checkpoint, onnx_path, request.int8, photos))
    if Format.OPENVINO in request.formats:
        path = folder / file_name(weights, Format.OPENVINO)
        _convert_quietly("openvino", checkpoint, lambda: _write_openvino(onnx_path, path, checkpoint))
        converted.append(Converted(Format.OPENVINO, FULL_PRECISION, (path, path.with_suffix(".bin"))))
    if Format.TORCH_EXPORT in request.formats:
        path = folder / file_name(weights, Format.TORCH_EXPORT)
        _convert_quietly("torch-export", checkpoint, lambda: _write_torch_export(program, path, checkpoint))
        converted.append(Converted(Format.TORCH_EXPORT, FULL_PRECISION, (path,)))
    return converted


def _photos_for_int8(checkpoint: Checkpoint, request: FormatRequest, expected: Expected) -> list[RecordedPhoto]:
    if request.int8 is not Int8.STATIC:
        return []
    return calibration_photos(recorded_photos(expected, checkpoint.classes), checkpoint.origin)


def _exported(model: FlowersClassifier, inputs: torch.Tensor) -> torch.export.ExportedProgram:
    """The graph for any batch size; the nn.Module's own, with its evaluation mode and its weights."""
    return torch.export.export(model, (inputs,), dynamic_shapes=({0: torch.export.Dim("batch")},), strict=False)


def _write_onnx(program: torch.export.ExportedProgram, path: Path, checkpoint: Checkpoint) -> None:
    import onnx

    names: dict[str, Any] = {"input_names": ["inputs"], "output_names": ["logits"]}
    torch.onnx.export(program, (), path, dynamo=True, external_data=False, verbose=False, **names)
    proto = onnx.load(path)
    for value in (*proto.graph.input, *proto.graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = "batch"
    strip_traces(proto)
    set_metadata(proto, metadata_of(checkpoint, FULL_PRECISION))
    onnx.checker.check_model(proto)
    onnx.save(proto, path)


def strip_traces(proto: Any) -> None:  # noqa: ANN401 - onnx.ModelProto
    """Remove what torch notes of the machine and code that exported: paths of source files among it."""
    graph = proto.graph
    for part in (*graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer, graph):
        del part.metadata_props[:]
        if part is not graph:
            part.doc_string = ""
    proto.doc_string = graph.doc_string = ""


def set_metadata(proto: Any, texts: Mapping[str, str]) -> None:  # noqa: ANN401 - onnx.ModelProto
    """Make `texts` the metadata of an ONNX model, in place of what it has."""
    del proto.metadata_props[:]
    for key, text in texts.items():
        entry = proto.metadata_props.add()
        entry.key, entry.value = key, text


def _write_int8(
    model: FlowersClassifier, checkpoint: Checkpoint, source: Path, int8: Int8, photos: Sequence[RecordedPhoto]
) -> Converted:
    import onnx

    precision = f"int8 {int8}"
    path = source.with_name(file_name(source.name, Format.ONNX, precision))
    inputs = _readable_inputs(model, photos) if int8 is Int8.STATIC else None

    def write() -> None:
        quantize(source, path, inputs)
        proto = onnx.load(path)
        set_metadata(proto, metadata_of(checkpoint, precision))
        onnx.save(proto, path)

    _convert_quietly("onnx --int8", checkpoint, write)
    if int8 is Int8.DYNAMIC and path.stat().st_size > _HARDLY_SMALLER * source.stat().st_size:
        logger.warning(
            f"--int8 dynamic leaves convolutions in fp32, and {checkpoint.spec.name} has hardly anything else: its int8"
            " file is no smaller. --int8 static has int8 ones"
        )
    return Converted(Format.ONNX, precision, (path,), frozenset(photo.image for photo in photos))


def _readable_inputs(model: FlowersClassifier, photos: Sequence[RecordedPhoto]) -> Iterator[torch.Tensor]:
    for photo in photos:
        try:
            yield model.preprocess(photo.path)[None]
        except BadImage as error:
            logger.warning(f"{photo.path}: {error}; left out of the photos that set the ranges")


def _write_openvino(source: Path, path: Path, checkpoint: Checkpoint) -> None:
    import openvino  # not its convert_model: that one sends usage statistics

    model = openvino.Core().read_model(source)
    for key, text in metadata_of(checkpoint, FULL_PRECISION).items():
        model.set_rt_info(text, key.split("."))
    openvino.save_model(model, path, compress_to_fp16=False)


def _write_torch_export(program: torch.export.ExportedProgram, path: Path, checkpoint: Checkpoint) -> None:
    for node in program.graph.nodes:  # with the paths of source files on this machine
        node.meta.pop("stack_trace", None)
    torch.export.save(program, path, extra_files=metadata_of(checkpoint, FULL_PRECISION))


def _require_size(checkpoint: Checkpoint) -> None:
    size = size_in_bytes(checkpoint.state_dict)
    if size > _ONNX_LIMIT:
        raise UserError(
            f"{checkpoint.spec.name} has {amount(size)} of weights, and an .onnx file ends at 2 GiB: leave out --format"
            " onnx and openvino (torch-export has no such limit)"
        )


def _convert_quietly(wanted: str, checkpoint: Checkpoint, action: Callable[[], Result]) -> Result:
    """What `action` returns, without the converters' own messages. Raises UserError where it fails."""
    flag = "--format" if wanted == "export" else f"--format {wanted}"
    try:
        with _quiet():
            return action()
    except (UserError, OSError, MemoryError):
        raise
    except Exception as error:  # torch, onnx and openvino have dozens of errors for what they can't convert
        reason = one_line(str(error).strip().partition("\n")[0] or type(error).__name__)[:200]
        raise UserError(
            f"{flag}: {checkpoint.spec.name} can't be exported ({reason}): leave this format out; the .pth needs none"
        ) from error


@contextmanager
def _quiet() -> Iterator[None]:
    noisy = [logging.getLogger(name) for name in ("torch.onnx", "torch.export", "onnxscript", "onnx_ir", "root")]
    levels = [one.level for one in noisy]
    for one in noisy:
        one.setLevel(logging.ERROR)
    try:
        with (
            warnings.catch_warnings(),
            Path(os.devnull).open("w") as nowhere,
            redirect_stdout(nowhere),
            torch.random.fork_rng(devices=[]),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        for one, level in zip(noisy, levels, strict=True):
            one.setLevel(level)
