"""The setting `tf32` holds while a model is trained, and not longer."""

import torch

from flowerml.models.precision import training_precision
from flowerml.training import train


def test_it_holds_while_it_trains(toy, monkeypatch):
    seen = []
    on_gpu = torch.device("cuda")
    monkeypatch.setattr(train, "training_precision", lambda tf32, _device: training_precision(tf32, on_gpu))
    toy.run(epochs=1, tf32="on", on_epoch=lambda _row: seen.append(torch.backends.cuda.matmul.fp32_precision))
    toy.run(epochs=1, tf32="off", on_epoch=lambda _row: seen.append(torch.backends.cudnn.allow_tf32))
    assert seen == ["tf32", False]
    assert torch.backends.cuda.matmul.fp32_precision != "tf32"
    assert torch.backends.cudnn.allow_tf32
