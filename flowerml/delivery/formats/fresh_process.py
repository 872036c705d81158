"""The script that `check` runs for one file: its logits and labels by its own runtime alone, then its speed on request.

Its argument is a JSON file with the folder, the file's name and format ("pth" for the weights themselves), the inputs
to compute logits of, and photos to name with the Python file beside it. It prints one line of JSON; then, for each
number of a batch that it reads, the seconds that this batch takes; it ends where its input ends.
"""

import json
import os
import runpy
import sys
import time
from collections.abc import Callable, Sequence
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

PLAIN = runpy.run_path(str(Path(__file__).parents[1] / "fresh_process.py"))  # flowerml is not on the path here
# What whoever receives such a file need not have.
BLOCKED = {
    "onnx": ("flowerml", "torch", "torchvision", "timm", "open_clip", "onnx", "onnxscript"),
    "openvino": ("flowerml", "torch", "torchvision", "timm", "open_clip", "onnx", "onnxscript"),
    "torch-export": ("flowerml", "timm", "open_clip"),
    "pth": ("flowerml",),
}
Network = Callable[[Any], Any]  # logits (N, C) of inputs (N, 3, S, S), both NumPy arrays


class ImportBlocker:
    """A finder that lets none of these packages be imported."""

    def __init__(self, names: Sequence[str]) -> None:
        self._names = frozenset(names)

    def find_spec(self, name: str, _path: object = None, _target: object = None) -> ModuleSpec | None:
        """Raise ModuleNotFoundError for a blocked package; None, which asks the next finder, for others."""
        if name.partition(".")[0] in self._names:
            raise ModuleNotFoundError(f"No module named {name!r} (the delivered file must not need it)", name=name)
        return None


def load(request: dict) -> tuple[Network, ModuleType | None, Any]:
    """The network of the file; with the module that names photos with it, and its model, where there is one."""
    path = Path(request["folder"]) / request["file"]
    sys.path.insert(0, request["folder"])
    kind = request["format"]
    if kind == "onnx":
        import flowers_classifier_onnx

        model = flowers_classifier_onnx.load_model(path)
        return model, flowers_classifier_onnx, model
    if kind == "openvino":
        return _load_openvino(path), None, None
    import torch

    if kind == "torch-export":
        program = torch.export.load(path).module()
    else:
        import flowers_classifier

        program = flowers_classifier.load_model(path)

    def network(inputs: Any) -> Any:  # noqa: ANN401
        with torch.inference_mode():
            return program(torch.from_numpy(inputs)).numpy()

    return network, None, None


def _load_openvino(path: Path) -> Network:
    import openvino

    # In fp32: on processors that have it OpenVINO would compute in bfloat16 or fp16.
    compiled = openvino.Core().compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return lambda inputs: compiled([inputs])[0]


def main(request_path: str) -> int:
    """Load, compute, answer; then time batches."""
    PLAIN["block_network"]()
    request = json.loads(Path(request_path).read_text("utf-8"))
    answers, sys.stdout = sys.stdout, sys.stderr  # a library may print
    sys.meta_path.insert(0, ImportBlocker(BLOCKED[request["format"]]))
    import numpy as np

    network, module, model = load(request)
    inputs = np.load(request["inputs"])
    # The first alone: the batch has to be open.
    logits = np.concatenate([network(inputs[:1]), network(inputs[1:])]) if len(inputs) > 1 else network(inputs)
    labels = []
    if module is not None:
        model.tta = "none"  # as the run recorded its labels
        labels = PLAIN["predict_photos"](module, model, request["photos"])
    print(json.dumps({"logits": logits.astype(float).tolist(), "labels": labels}), file=answers, flush=True)
    for line in sys.stdin:
        batch = np.resize(inputs, (int(line), *inputs.shape[1:]))
        started = time.perf_counter()
        network(batch)
        print(time.perf_counter() - started, file=answers, flush=True)
    return 0


if __name__ == "__main__":
    exit_code = main(sys.argv[1])
    os._exit(exit_code)  # as in the script for the weights: the interpreter's teardown takes seconds
