"""Prediction over a data loader: fp32, evaluation mode, in order, deterministic."""

import random

import numpy as np
import pytest
import torch
from torch import nn

from flowerml.data.loader import Example, evaluation_loader
from flowerml.evaluation.predict import predict_all

CLASSES = ("daisy", "rose", "tulip")


class DropoutModel(nn.Module):
    """Random in training mode; records its calls."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 3)
        self.dropout = nn.Dropout(0.9)
        self.calls: list[tuple[bool, torch.dtype, int]] = []

    def forward(self, inputs):
        result = self.dropout(self.layer(inputs))
        self.calls.append((self.training, result.dtype, len(inputs)))
        return result


def loader_of(count: int, batch_size: int):
    order = random.Random(1).sample(range(count), count)
    inputs = torch.randn(count, 4, generator=torch.Generator().manual_seed(0))
    examples = [Example(f"id-{n}", n % 3, lambda n=n: inputs[n]) for n in order]
    return examples, inputs[order], evaluation_loader(examples, lambda raw: raw, batch_size=batch_size, workers=0)


@pytest.mark.parametrize("training", [True, False])
def test_predict_all_is_fp32_in_eval_mode_in_order_and_restores_the_model(training):
    model = DropoutModel().train(training)
    examples, inputs, loader = loader_of(7, 3)
    predictions = predict_all(model, loader.epoch(1), CLASSES, torch.device("cpu"))
    assert model.calls == [(False, torch.float32, 3), (False, torch.float32, 3), (False, torch.float32, 1)]
    assert model.training is training
    assert predictions.ids == tuple(example.id for example in examples)
    assert predictions.labels.tolist() == [example.label for example in examples]
    assert predictions.logits.dtype == np.float32
    assert np.allclose(predictions.logits, model.layer(inputs).detach().numpy(), atol=1e-6)


def test_predict_all_keeps_no_gradient_and_is_deterministic():
    model = DropoutModel()
    _, _, loader = loader_of(9, 4)
    first = predict_all(model, loader.epoch(1), CLASSES, torch.device("cpu"))
    second = predict_all(model, loader.epoch(5), CLASSES, torch.device("cpu"))
    assert np.array_equal(first.logits, second.logits)
    assert all(parameter.grad is None for parameter in model.parameters())


class PrecisionModel(DropoutModel):
    """Records the precision of fp32 operations on a GPU."""

    def forward(self, inputs):
        self.precisions = (torch.backends.cudnn.conv.fp32_precision, torch.backends.cuda.matmul.fp32_precision)
        return super().forward(inputs)


def test_fp32_is_plain_on_a_gpu_and_the_callers_precision_is_restored():
    before = (torch.backends.cudnn.conv.fp32_precision, torch.backends.cuda.matmul.fp32_precision)
    model = PrecisionModel()
    predict_all(model, loader_of(3, 3)[2].epoch(1), CLASSES, torch.device("cpu"))
    assert model.precisions == ("ieee", "ieee")
    assert (torch.backends.cudnn.conv.fp32_precision, torch.backends.cuda.matmul.fp32_precision) == before


def test_with_a_dtype_the_model_runs_in_it_and_logits_are_fp32():
    model = DropoutModel()
    predictions = predict_all(model, loader_of(3, 3)[2].epoch(1), CLASSES, torch.device("cpu"), dtype=torch.bfloat16)
    assert [dtype for _, dtype, _ in model.calls] == [torch.bfloat16]
    assert predictions.logits.dtype == np.float32
