"""Losses against hand computation, and one optimiser step: accumulation, clipping, precision, the stop at what is not
finite.
"""

import math
from functools import partial

import pytest
import torch
from torch import nn

from flowerml.errors import RunFailed
from flowerml.training.losses import example_losses
from flowerml.training.train_step import NotFinite, TrainStep

SMOOTHED = partial(example_losses, smoothing=0.1)
LOGITS = torch.tensor([[2.0, 0.0, -1.0], [0.5, 0.5, 3.0]])


def log_shares(row: list[float]) -> list[float]:
    total = math.log(sum(math.exp(value) for value in row))
    return [value - total for value in row]


def by_hand(targets: list[list[float]], weights=(1.0, 1.0, 1.0)) -> list[float]:
    rows = zip(LOGITS.tolist(), targets, strict=True)
    return [
        -sum(w * share * log for w, share, log in zip(weights, target, log_shares(row), strict=True))
        for row, target in rows
    ]


def test_plain_cross_entropy_is_one_number_per_example():
    found = example_losses(LOGITS, torch.tensor([0, 1]), smoothing=0.0)
    assert found.tolist() == pytest.approx(by_hand([[1, 0, 0], [0, 1, 0]]))


def test_smoothing_spreads_its_share_over_all_classes():
    found = example_losses(LOGITS, torch.tensor([0, 1]), smoothing=0.3)
    assert found.tolist() == pytest.approx(by_hand([[0.8, 0.1, 0.1], [0.1, 0.8, 0.1]]))


def test_soft_targets_count_by_their_shares_and_are_smoothed_too():
    targets = [[0.25, 0.75, 0.0], [0.0, 0.5, 0.5]]
    assert example_losses(LOGITS, torch.tensor(targets), smoothing=0.0).tolist() == pytest.approx(by_hand(targets))
    smoothed = [[0.7 * share + 0.1 for share in row] for row in targets]
    assert example_losses(LOGITS, torch.tensor(targets), smoothing=0.3).tolist() == pytest.approx(by_hand(smoothed))


@pytest.mark.parametrize("smoothing", [0.0, 0.3])
def test_hard_labels_and_the_same_as_shares_give_the_same(smoothing):
    weights = torch.tensor([0.5, 2.0, 1.0])
    labels = torch.tensor([0, 1])
    hard = example_losses(LOGITS, labels, smoothing=smoothing, class_weights=weights)
    soft = example_losses(LOGITS, torch.eye(3)[labels], smoothing=smoothing, class_weights=weights)
    assert torch.allclose(hard, soft)


def test_class_weights_multiply_each_classs_share():
    weights = (0.5, 2.0, 1.0)
    hard = example_losses(LOGITS, torch.tensor([0, 1]), smoothing=0.0, class_weights=torch.tensor(weights))
    assert hard.tolist() == pytest.approx(by_hand([[1, 0, 0], [0, 1, 0]], weights))
    mixed = [[0.25, 0.75, 0.0], [0.0, 0.5, 0.5]]
    soft = example_losses(LOGITS, torch.tensor(mixed), smoothing=0.0, class_weights=torch.tensor(weights))
    assert soft.tolist() == pytest.approx(by_hand(mixed, weights))


def test_focal_loss_is_the_papers_formula():
    """(1 - p)^gamma times the cross entropy (Lin et al. 2017, equation 4), with its alpha as class weights."""
    weights = (0.5, 2.0, 1.0)
    found = example_losses(
        LOGITS, torch.tensor([0, 1]), smoothing=0.0, focal_gamma=2.0, class_weights=torch.tensor(weights)
    )
    own = [log_shares(row)[label] for row, label in zip(LOGITS.tolist(), (0, 1), strict=True)]
    expected = [-w * (1 - math.exp(log)) ** 2 * log for w, log in zip(weights, own, strict=False)]
    assert found.tolist() == pytest.approx(expected)


@pytest.mark.parametrize(
    "targets", [torch.tensor([0, 1]), torch.tensor([[0.25, 0.75, 0.0], [0.0, 0.5, 0.5]])], ids=["labels", "shares"]
)
def test_focal_loss_without_focus_is_the_cross_entropy(targets):
    options = {"smoothing": 0.3, "class_weights": torch.tensor([0.5, 2.0, 1.0])}
    plain = example_losses(LOGITS, targets, **options)
    assert example_losses(LOGITS, targets, focal_gamma=1e-9, **options).tolist() == pytest.approx(
        plain.tolist(), rel=1e-6
    )


@pytest.mark.parametrize("gamma", [0.5, 1.0, 2.0])
def test_focal_loss_of_a_sure_picture_has_a_finite_gradient(gamma):
    """p is 1 in fp32 there, and the power's derivative at 0 is infinite below gamma 1."""
    logits = torch.tensor([[200.0, 0.0, 0.0]], requires_grad=True)
    example_losses(logits, torch.tensor([0]), smoothing=0.0, focal_gamma=gamma).sum().backward()
    assert logits.grad.isfinite().all()


def test_logit_offsets_are_added_before_the_softmax():
    offsets = torch.tensor([-1.0, 0.5, -3.0])
    found = example_losses(LOGITS, torch.tensor([0, 1]), smoothing=0.1, logit_offsets=offsets)
    assert torch.equal(found, example_losses(LOGITS + offsets, torch.tensor([0, 1]), smoothing=0.1))


def test_half_precision_logits_are_widened_before_the_loss():
    found = example_losses(LOGITS.bfloat16(), torch.tensor([0, 1]), smoothing=0.1)
    assert found.dtype is torch.float32
    assert torch.equal(found, example_losses(LOGITS.bfloat16().float(), torch.tensor([0, 1]), smoothing=0.1))


def network() -> nn.Module:
    torch.manual_seed(3)
    return nn.Sequential(nn.Flatten(), nn.Linear(12, 16), nn.GELU(), nn.LayerNorm(16), nn.Linear(16, 3))


def stepper(model: nn.Module, *, lr: float = 0.1, optimizer=None, **changes) -> TrainStep:
    options = {"dtype": None, "accumulate": 1, "grad_clip": 0.0, "losses": SMOOTHED, "on_memory": lambda words: None}
    made = optimizer or torch.optim.SGD(model.parameters(), lr=lr)
    return TrainStep(model, made, list(model.parameters()), torch.device("cpu"), **{**options, **changes})


def data(count: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, 3, 2, 2, generator=generator), torch.randint(3, (count,), generator=generator)


def vector(model: nn.Module) -> torch.Tensor:
    return torch.cat([parameter.detach().flatten().clone() for parameter in model.parameters()])


@pytest.mark.parametrize(("count", "parts"), [(8, 2), (8, 4), (8, 8), (7, 2), (5, 4), (2, 8)])
@pytest.mark.parametrize("weights", [None, (0.2, 1.0, 3.0)])
def test_a_batch_in_one_piece_equals_the_same_batch_in_parts(count, parts, weights):
    """8x1 equals 2x4 accumulated: also for uneven parts and with class weights."""
    results = []
    for accumulate in (1, parts):
        model = network()
        optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
        one = stepper(
            model,
            optimizer=optimizer,
            accumulate=accumulate,
            losses=partial(
                example_losses, smoothing=0.1, class_weights=None if weights is None else torch.tensor(weights)
            ),
            grad_clip=1.0,
        )
        outcomes = [one.step(*data(count, seed), 0, "here") for seed in range(4)]
        results.append((vector(model), torch.tensor(outcomes)))
    assert torch.allclose(results[0][0], results[1][0], atol=1e-5)
    assert torch.allclose(results[0][1], results[1][1], rtol=1e-4)


def test_the_returned_loss_is_the_batchs_mean_before_the_step():
    model = network()
    inputs, labels = data(6)
    expected = nn.functional.cross_entropy(model(inputs), labels, label_smoothing=0.1).item()
    assert stepper(model, accumulate=3).step(inputs, labels, 0, "here")[0] == pytest.approx(expected, rel=1e-5)


def test_gradients_do_not_pile_up_over_steps():
    twice, fresh = network(), network()
    first = stepper(twice)
    first.step(*data(6, 1), 0, "here")
    fresh.load_state_dict(twice.state_dict())
    first.step(*data(6, 2), 0, "here")
    stepper(fresh).step(*data(6, 2), 0, "here")
    assert torch.equal(vector(twice), vector(fresh))


@pytest.mark.parametrize(("clip", "accumulate"), [(0.01, 1), (0.01, 3), (0.0, 1), (1e6, 1)])
def test_clipping_bounds_the_step_and_reports_the_norm_before_it(clip, accumulate):
    model = network()
    before = vector(model)
    _, norm = stepper(model, lr=1.0, grad_clip=clip, accumulate=accumulate).step(*data(6), 0, "here")
    moved = (vector(model) - before).norm().item()
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
    stepper(model, dtype=torch.bfloat16).step(*data(4), 0, "here")
    stepper(model, dtype=None).step(*data(4), 0, "here")
    assert seen == [torch.bfloat16, torch.float32]
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}


def test_an_overflow_of_fp16_is_skipped_and_the_scale_lowered_without_an_error():
    model = nn.Sequential(nn.Flatten(), nn.Linear(12, 3))
    one = stepper(model, dtype=torch.float16)
    before, scale = vector(model), one.scaler.get_scale()
    inputs, labels = data(4)
    one.step(inputs * 1000, labels, 0, "here")
    assert torch.equal(vector(model), before)
    assert one.scaler.get_scale() < scale
    one.step(inputs, labels, 0, "here")
    assert not torch.equal(vector(model), before)


def test_the_scaling_of_fp16_shows_neither_in_the_norm_nor_in_the_step():
    moved, norms = [], []
    for dtype in (None, torch.float16):
        torch.manual_seed(3)
        model = nn.Sequential(nn.Flatten(), nn.Linear(12, 3))
        one = stepper(model, lr=1.0, dtype=dtype, grad_clip=0.1)
        one.scaler = torch.amp.GradScaler("cpu", init_scale=1024.0, enabled=dtype is not None)
        before = vector(model)
        norms.append(one.step(*data(8), 0, "here")[1])
        moved.append((vector(model) - before).norm().item())
    assert norms[1] == pytest.approx(norms[0], rel=0.02)
    assert moved == pytest.approx([0.1, 0.1], rel=1e-3)


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("accumulate", [1, 4])
@pytest.mark.parametrize("clip", [0.0, 1.0])
def test_a_loss_that_is_not_finite_stops_before_the_weights_change(value, accumulate, clip):
    model = network()
    one = stepper(model, optimizer=torch.optim.AdamW(model.parameters(), lr=0.1), accumulate=accumulate, grad_clip=clip)
    one.step(*data(8), 0, "here")
    before = vector(model)
    inputs, labels = data(8, 1)
    inputs[5] = value
    with pytest.raises(NotFinite) as caught:
        one.step(inputs, labels, 0, "epoch 2, step 7, lr_head 0.001, pictures rose/7.jpg")
    assert torch.equal(vector(model), before)
    assert "the loss is nan" in str(caught.value) or "the loss is inf" in str(caught.value)
    assert "epoch 2, step 7, lr_head 0.001, pictures rose/7.jpg" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert isinstance(caught.value, RunFailed)
    assert caught.value.exit_code == 1


class _Steep(nn.Module):
    """A finite loss with an infinite gradient: the square root at 0."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(3))

    def forward(self, inputs):
        return inputs.flatten(1)[:, :3] + self.weight.sqrt()


@pytest.mark.parametrize("clip", [0.0, 1.0])
def test_a_gradient_that_is_not_finite_stops_before_the_weights_change(clip):
    model = _Steep()
    with pytest.raises(NotFinite, match=r"gradient.* at epoch 1"):
        stepper(model, grad_clip=clip).step(*data(4), 0, "epoch 1")
    assert torch.equal(model.weight, torch.zeros(3))
