"""One optimizer step: accumulation, clipping, precision, and the stop at a loss or gradient that is not finite."""

import math
from functools import partial

import pytest
import torch
from torch import nn

from flowerml.errors import RunFailed
from flowerml.training.device import autocast_dtype
from flowerml.training.losses import example_losses
from flowerml.training.train_step import NotFinite, TrainStep

SMOOTHED = partial(example_losses, smoothing=0.1)


def network() -> nn.Module:
    torch.manual_seed(3)
    return nn.Sequential(nn.Flatten(), nn.Linear(12, 16), nn.GELU(), nn.LayerNorm(16), nn.Linear(16, 3))


def make_step(model: nn.Module, *, lr: float = 0.1, optimizer=None, **changes) -> TrainStep:
    options = {"dtype": None, "accumulate": 1, "grad_clip": 0.0, "losses": SMOOTHED, "on_memory": lambda words: None}
    optimizer = optimizer or torch.optim.SGD(model.parameters(), lr=lr)
    return TrainStep(model, optimizer, list(model.parameters()), torch.device("cpu"), **{**options, **changes})


def batch(count: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, 3, 2, 2, generator=generator), torch.randint(3, (count,), generator=generator)


def flat_weights(model: nn.Module) -> torch.Tensor:
    return torch.cat([parameter.detach().flatten().clone() for parameter in model.parameters()])


@pytest.mark.parametrize(("count", "parts"), [(8, 2), (8, 4), (8, 8), (7, 2), (5, 4), (2, 8)])
@pytest.mark.parametrize("weights", [None, (0.2, 1.0, 3.0)])
def test_a_batch_equals_the_same_batch_accumulated(count, parts, weights):
    """8x1 equals 2x4 accumulated: also for uneven parts and with class weights."""
    results = []
    for accumulate in (1, parts):
        model = network()
        optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
        train_step = make_step(
            model,
            optimizer=optimizer,
            accumulate=accumulate,
            losses=partial(
                example_losses, smoothing=0.1, class_weights=None if weights is None else torch.tensor(weights)
            ),
            grad_clip=1.0,
        )
        outcomes = [train_step.step(*batch(count, seed), 0, "here") for seed in range(4)]
        results.append((flat_weights(model), torch.tensor(outcomes)))
    assert torch.allclose(results[0][0], results[1][0], atol=1e-5)
    assert torch.allclose(results[0][1], results[1][1], rtol=1e-4)


def test_the_returned_loss_is_the_batchs_mean_before_the_step():
    model = network()
    inputs, labels = batch(6)
    expected = nn.functional.cross_entropy(model(inputs), labels, label_smoothing=0.1).item()
    assert make_step(model, accumulate=3).step(inputs, labels, 0, "here")[0] == pytest.approx(expected, rel=1e-5)


def test_gradients_do_not_accumulate_over_steps():
    twice, fresh = network(), network()
    first = make_step(twice)
    first.step(*batch(6, 1), 0, "here")
    fresh.load_state_dict(twice.state_dict())
    first.step(*batch(6, 2), 0, "here")
    make_step(fresh).step(*batch(6, 2), 0, "here")
    assert torch.equal(flat_weights(twice), flat_weights(fresh))


@pytest.mark.parametrize(("clip", "accumulate"), [(0.01, 1), (0.01, 3), (0.0, 1), (1e6, 1)])
def test_clipping_bounds_the_step_and_reports_the_norm_before_it(clip, accumulate):
    model = network()
    before = flat_weights(model)
    _, norm = make_step(model, lr=1.0, grad_clip=clip, accumulate=accumulate).step(*batch(6), 0, "here")
    moved = (flat_weights(model) - before).norm().item()
    assert norm > 0.05
    assert moved == pytest.approx(clip if 0 < clip < norm else norm, rel=1e-3)


def test_bf16_autocast_computes_the_model_in_bf16_and_keeps_fp32_weights():
    seen = []

    class Watched(nn.Linear):
        def forward(self, inputs):
            result = super().forward(inputs)
            seen.append(result.dtype)
            return result

    model = nn.Sequential(nn.Flatten(), Watched(12, 3))
    make_step(model, dtype=torch.bfloat16).step(*batch(4), 0, "here")
    make_step(model, dtype=None).step(*batch(4), 0, "here")
    assert seen == [torch.bfloat16, torch.float32]
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}


def test_an_fp16_overflow_skips_the_step_and_lowers_the_scale():
    model = nn.Sequential(nn.Flatten(), nn.Linear(12, 3))
    train_step = make_step(model, dtype=torch.float16)
    before, scale = flat_weights(model), train_step.scaler.get_scale()
    inputs, labels = batch(4)
    train_step.step(inputs * 1000, labels, 0, "here")
    assert torch.equal(flat_weights(model), before)
    assert train_step.scaler.get_scale() < scale
    train_step.step(inputs, labels, 0, "here")
    assert not torch.equal(flat_weights(model), before)


def test_fp16_scaling_changes_neither_norm_nor_step():
    moved, norms = [], []
    for dtype in (None, torch.float16):
        torch.manual_seed(3)
        model = nn.Sequential(nn.Flatten(), nn.Linear(12, 3))
        train_step = make_step(model, lr=1.0, dtype=dtype, grad_clip=0.1)
        train_step.scaler = torch.amp.GradScaler("cpu", init_scale=1024.0, enabled=dtype is not None)
        before = flat_weights(model)
        norms.append(train_step.step(*batch(8), 0, "here")[1])
        moved.append((flat_weights(model) - before).norm().item())
    assert norms[1] == pytest.approx(norms[0], rel=0.02)
    assert moved == pytest.approx([0.1, 0.1], rel=1e-3)


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("accumulate", [1, 4])
@pytest.mark.parametrize("clip", [0.0, 1.0])
def test_a_loss_that_is_not_finite_stops_before_the_weights_change(value, accumulate, clip):
    model = network()
    train_step = make_step(
        model, optimizer=torch.optim.AdamW(model.parameters(), lr=0.1), accumulate=accumulate, grad_clip=clip
    )
    train_step.step(*batch(8), 0, "here")
    before = flat_weights(model)
    inputs, labels = batch(8, 1)
    inputs[5] = value
    with pytest.raises(NotFinite) as caught:
        train_step.step(inputs, labels, 0, "epoch 2, step 7, lr_head 0.001, pictures rose/7.jpg")
    assert torch.equal(flat_weights(model), before)
    assert "the loss is nan" in str(caught.value) or "the loss is inf" in str(caught.value)
    assert "epoch 2, step 7, lr_head 0.001, pictures rose/7.jpg" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert isinstance(caught.value, RunFailed)
    assert caught.value.exit_code == 1


class _InfiniteGradient(nn.Module):
    """A finite loss with an infinite gradient: the square root at 0."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(3))

    def forward(self, inputs):
        return inputs.flatten(1)[:, :3] + self.weight.sqrt()


@pytest.mark.parametrize("clip", [0.0, 1.0])
def test_a_gradient_that_is_not_finite_stops_before_the_weights_change(clip):
    model = _InfiniteGradient()
    with pytest.raises(NotFinite, match=r"gradient.* at epoch 1"):
        make_step(model, grad_clip=clip).step(*batch(4), 0, "epoch 1")
    assert torch.equal(model.weight, torch.zeros(3))


@pytest.mark.parametrize(("count", "accumulate"), [(7, 3), (8, 8), (3, 2), (2, 2)])
def test_no_part_is_one_image_where_the_model_has_batch_norm(count, accumulate):
    model = nn.Sequential(nn.Flatten(), nn.Linear(12, 4), nn.BatchNorm1d(4), nn.Linear(4, 3))
    loss, norm = make_step(model, accumulate=accumulate, smallest=2).step(*batch(count), seed=1, context="step 1")
    assert math.isfinite(loss)
    assert math.isfinite(norm)


@pytest.mark.parametrize(
    ("capabilities", "expected"),
    [
        ({"avx512_f": True, "avx512_bf16": False, "amx_bf16": False}, None),
        ({"avx512_f": True, "avx512_bf16": True, "amx_bf16": False}, torch.bfloat16),
        ({"avx512_bf16": False, "amx_bf16": True}, torch.bfloat16),
        ({"architecture": "aarch64", "bf16": True}, torch.bfloat16),
        ({}, None),
    ],
)
def test_a_cpu_without_bf16_instructions_trains_in_fp32(monkeypatch, capabilities, expected):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities)
    assert autocast_dtype(torch.device("cpu"), amp=True) is expected
    assert autocast_dtype(torch.device("cpu"), amp=False) is None


class FailingCompilation(nn.Module):
    """A compiled model as it is without a compiler: it fails when it is called, after updating a buffer."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        self.model(inputs)
        raise ImportError("InvalidCxxCompiler: No working C++ compiler found\n\nSet TORCHDYNAMO_VERBOSE=1")


def test_where_compilation_fails_the_result_is_that_without_it(capsys):
    """Buffers too; one line says so, once."""
    weights = []
    for fails in (False, True):
        torch.manual_seed(3)
        model = nn.Sequential(nn.Flatten(), nn.Linear(12, 4), nn.BatchNorm1d(4), nn.Dropout(0.5), nn.Linear(4, 3))
        options = {"uncompiled": model} if fails else {}
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        train_step = make_step(FailingCompilation(model) if fails else model, optimizer=optimizer, **options)
        for number in (1, 2):
            train_step.step(*batch(6, number), seed=number, context="step")
        weights.append(torch.cat([tensor.flatten().float() for tensor in model.state_dict().values()]))
    assert torch.equal(*weights)
    (line,) = capsys.readouterr().err.splitlines()
    assert "InvalidCxxCompiler: No working C++ compiler found" in line
    assert "g++" in line


def test_an_error_that_is_no_fault_of_compilation_is_raised():
    broken = nn.Sequential(nn.Flatten(), nn.Linear(5, 3))
    with pytest.raises(RuntimeError, match="shapes"):
        make_step(FailingCompilation(broken), uncompiled=broken).step(*batch(6), seed=1, context="step")
