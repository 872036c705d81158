"""What is delivered: weights without local paths, and the generated file that loads them."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch

from flowerml.data import decode
from flowerml.data.relations import geometry, records
from flowerml.evaluation import calibration, calibration_values, tta
from flowerml.models.pairs import head as pair_head
from flowerml.prediction import relations_served
from flowerml.prediction.bundle import bundle
from flowerml.prediction.standalone import (
    answers,
    delivered_file,
    ensemble,
    flowers_classifier,
    flowers_classifier_onnx,
    inputs,
    messages,
    network,
    pictures,
    pyfunc,
    weights_file,
)
from flowerml.training.checkpoints.checkpoint import Checkpoint

WEIGHTS = {"cnn": "cnn_flowers.pth", "vit": "vit_flowers.pth"}  # the delivered file's name by family
REGISTERED_WEIGHTS = {**WEIGHTS, "relation": "relations.pth"}  # the file's name in a registered version
CLASSIFIER = "flowers_classifier.py"
CLASSIFIER_ONNX = "flowers_classifier_onnx.py"
_NUMPY_MODULES = (messages, decode, pictures, calibration_values, tta, delivered_file, answers)
_CLASSIFIER_MODULES = (
    *(*_NUMPY_MODULES, inputs, calibration, weights_file),
    *(network, flowers_classifier, ensemble, pyfunc),
)
_ONNX_MODULES = (*_NUMPY_MODULES, flowers_classifier_onnx)
# In the file the errors are ValueErrors, and that of a picture has had this name since the first delivery.
_REPLACEMENTS = {"UserError": "ValueError", "BadImage": "BadPicture"}
_LOCAL_PATHS = ("train_dir", "test_dir", "output_dir")  # settings that are paths of the machine that trained
_NO_DIGESTS = "SHA256: dict[str, str] = {}\n"


def for_delivery(checkpoint: Checkpoint) -> Checkpoint:
    """The checkpoint without its split and without local paths (of a weights file the name stays)."""
    settings = {name: value for name, value in checkpoint.settings.items() if name not in _LOCAL_PATHS}
    if settings.get("weights") not in (None, "hub", "none"):
        settings["weights"] = Path(str(settings["weights"])).name
    return replace(checkpoint, split=None, settings=settings)


def is_delivered(checkpoint: Checkpoint) -> bool:
    """Whether a checkpoint holds nothing that `for_delivery` removes."""
    return checkpoint.split is None and dict(for_delivery(checkpoint).settings) == dict(checkpoint.settings)


def to_half(checkpoint: Checkpoint) -> Checkpoint:
    """The checkpoint with its floating-point weights in fp16; loaded, it computes in fp32."""
    state = {
        name: tensor.half() if tensor.is_floating_point() else tensor for name, tensor in checkpoint.state_dict.items()
    }
    return replace(checkpoint, state_dict=state)


def single_file(digests: Mapping[str, str]) -> str:
    """Generate `flowers_classifier.py` with the sha256 (hex) of these weights files, by their names."""
    return _with_digests(bundle(_CLASSIFIER_MODULES, title=flowers_classifier, replacements=_REPLACEMENTS), digests)


def single_file_onnx(digests: Mapping[str, str]) -> str:
    """Generate `flowers_classifier_onnx.py` with the sha256 (hex) of these ONNX files, by their names."""
    return _with_digests(bundle(_ONNX_MODULES, title=flowers_classifier_onnx, replacements=_REPLACEMENTS), digests)


def _with_digests(source: str, digests: Mapping[str, str]) -> str:
    assert source.count(_NO_DIGESTS) == 1
    rows = "".join(f'    "{name}": "{digests[name]}",\n' for name in sorted(digests))
    return source.replace(_NO_DIGESTS, f"SHA256: dict[str, str] = {{\n{rows}}}\n" if rows else _NO_DIGESTS)


def served_code(family: str, digests: Mapping[str, str]) -> dict[str, str]:
    """The code files of a served model of this family, source by name; the first is MLflow's loader module.

    `digests` are the sha256 (hex) of the weights files, by their names.
    """
    if family in WEIGHTS:
        return {CLASSIFIER: single_file(digests)}
    own = bundle(
        (records, geometry, pair_head, relations_served),
        title=relations_served,
        external={module.__name__: Path(CLASSIFIER).stem for module in _CLASSIFIER_MODULES},
        replacements=_REPLACEMENTS,
    )
    return {"relations_classifier.py": own, CLASSIFIER: single_file(digests)}


def infinite_weights(state: Mapping[str, torch.Tensor]) -> list[str]:
    """Names of tensors with a value that is not finite: fp16 ends at 65,504."""
    return [
        name for name, tensor in state.items() if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all())
    ]
