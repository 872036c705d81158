"""What is delivered: weights without anything of this machine in them, and the one file that goes with them."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch

from flowerml.data.relations import geometry, records
from flowerml.models.pairs import head as pair_head
from flowerml.prediction import flowers_classifier, relations_served
from flowerml.prediction.bundle import bundled
from flowerml.training.checkpoints.checkpoint import Checkpoint

WEIGHTS = {"cnn": "cnn_flowers.pth", "vit": "vit_flowers.pth"}  # the delivered file's name by family
REGISTERED_WEIGHTS = {**WEIGHTS, "relation": "relations.pth"}  # the file's name in a registered version
CLASSIFIER = "flowers_classifier.py"
_LOCAL = ("train_dir", "test_dir", "output_dir")  # settings that are paths of the machine that trained
_SLOT = "SHA256: dict[str, str] = {}\n"


def for_delivery(checkpoint: Checkpoint) -> Checkpoint:
    """The checkpoint without its split and without every local path (of a weights file the name stays)."""
    settings = {name: value for name, value in checkpoint.settings.items() if name not in _LOCAL}
    if settings.get("weights") not in (None, "hub", "none"):
        settings["weights"] = Path(str(settings["weights"])).name
    return replace(checkpoint, split=None, settings=settings)


def is_delivered(checkpoint: Checkpoint) -> bool:
    """Whether a checkpoint is in its delivered form already."""
    return checkpoint.split is None and dict(for_delivery(checkpoint).settings) == dict(checkpoint.settings)


def halved(checkpoint: Checkpoint) -> Checkpoint:
    """The checkpoint with its weights in fp16; whole numbers (counters, tables) stay. It is computed with in fp32 all
    the same.
    """
    state = {
        name: tensor.half() if tensor.is_floating_point() else tensor for name, tensor in checkpoint.state_dict.items()
    }
    return replace(checkpoint, state_dict=state)


def single_file(digests: Mapping[str, str]) -> str:
    """The source of `flowers_classifier.py` that knows the sha256 (hex) of these weights files, by their names."""
    source = Path(flowers_classifier.__file__).read_text("utf-8")
    assert source.count(_SLOT) == 1
    rows = "".join(f'    "{name}": "{digests[name]}",\n' for name in sorted(digests))
    return source.replace(_SLOT, f"SHA256: dict[str, str] = {{\n{rows}}}\n" if rows else _SLOT)


def served_code(family: str, digests: Mapping[str, str]) -> dict[str, str]:
    """The files of code that a served model of this family needs, source by name; the first is the one that MLflow
    loads.

    `digests` are the sha256 (hex) of the weights files, by their names.
    """
    if family in WEIGHTS:
        return {CLASSIFIER: single_file(digests)}
    beside = {flowers_classifier.__name__: Path(CLASSIFIER).stem}
    own = bundled((records, geometry, pair_head, relations_served), beside)
    return {"relations_classifier.py": own, CLASSIFIER: single_file(digests)}


def infinite_weights(state: Mapping[str, torch.Tensor]) -> list[str]:
    """Names of tensors with a value that is no finite number: fp16 ends at 65,504."""
    return [
        name for name, tensor in state.items() if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all())
    ]
