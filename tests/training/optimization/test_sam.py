"""`--sam-rho`: sharpness-aware minimisation. Steps against ones computed by hand, and everything around a step."""

import math
from functools import partial

import pytest
import torch
from torch import nn

from flowerml.training.losses import example_losses
from flowerml.training.optimizer import make_optimizer
from flowerml.training.train_step import NotFinite, TrainStep
from tests.training.conftest import same_weights
from tests.training.optimization.test_deferred_step import InfiniteGradient

RHO, LR = 0.3, 0.5
CPU = torch.device("cpu")


def make_step(model, *, optimizer=None, **changes):
    options = {"dtype": None, "accumulate": 1, "grad_clip": 0.0, "losses": partial(example_losses, smoothing=0.1)}
    optimizer = optimizer or torch.optim.SGD(model.parameters(), lr=LR)
    options |= {"on_memory": pytest.fail, "sam_rho": RHO, **changes}
    return TrainStep(model, optimizer, list(model.parameters()), CPU, **options)


def batch(seed=0, count=6):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, 3, 2, 2, generator=generator), torch.randint(3, (count,), generator=generator)


def network(*layers):
    torch.manual_seed(3)
    return nn.Sequential(nn.Flatten(), nn.Linear(12, 16), *(layers or (nn.GELU(),)), nn.Linear(16, 3))


def state_of(model):
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


class Squares:
    """Least squares of a linear model: half the squared error of each example, and SAM's step written out."""

    def __init__(self):
        generator = torch.Generator().manual_seed(1)
        self.x, self.y = torch.randn(6, 4, generator=generator), torch.randn(6, generator=generator)
        self.model = nn.Linear(4, 1, bias=False)
        with torch.no_grad():
            self.model.weight.copy_(torch.tensor([[0.5, -1.0, 2.0, 0.1]]))

    @staticmethod
    def losses(logits, targets):
        return (logits[:, 0] - targets) ** 2 / 2

    def gradient(self, weight):
        return self.x.T @ (self.x @ weight - self.y) / len(self.y)

    def by_hand(self, rho):
        """Loss at the weights, the gradient at those uphill, its norm."""
        weight = self.model.weight.detach()[0].clone()
        here = self.gradient(weight)
        uphill = self.gradient(weight + rho * here / here.norm())
        return ((self.x @ weight - self.y) ** 2).mean().item() / 2, uphill, uphill.norm().item()


@pytest.mark.parametrize("accumulate", [1, 2, 3])
@pytest.mark.parametrize("clip", [0.0, 0.2])
def test_a_step_is_the_one_computed_by_hand(accumulate, clip):
    squares = Squares()
    before = squares.model.weight.detach()[0].clone()
    expected_loss, gradient, expected_norm = squares.by_hand(RHO)
    step = make_step(squares.model, accumulate=accumulate, grad_clip=clip, losses=squares.losses)
    loss, norm = step.step(squares.x, squares.y, 0, "here")
    assert loss == pytest.approx(expected_loss, rel=1e-5), "the loss is that of the weights themselves"
    assert norm == pytest.approx(expected_norm, rel=1e-5), "the norm is that of the gradient that is clipped"
    factor = clip / norm if clip else 1.0
    torch.testing.assert_close(squares.model.weight.detach()[0], before - LR * factor * gradient, rtol=1e-4, atol=1e-6)


def test_without_it_a_step_is_what_it_was():
    """And with it another one: the comparison above can fail."""
    squares = Squares()
    before = squares.model.weight.detach()[0].clone()
    make_step(squares.model, losses=squares.losses, sam_rho=0.0).step(squares.x, squares.y, 0, "here")
    torch.testing.assert_close(squares.model.weight.detach()[0], before - LR * squares.gradient(before))
    assert not torch.allclose(squares.by_hand(RHO)[1], squares.by_hand(0.0)[1])


def test_weights_come_back_bit_for_bit_before_the_step():
    model = network()
    before = state_of(model)
    make_step(model, optimizer=torch.optim.SGD(model.parameters(), lr=0.0)).step(*batch(), 0, "here")
    assert same_weights(model.state_dict(), before)


def test_frozen_weights_are_not_moved():
    """A head alone: its step is by the gradient of the head, at a distance in the head's weights."""
    model = network()
    model[1].requires_grad_(requires_grad=False)
    features = model[:3](batch()[0]).detach()
    head = nn.Linear(16, 3)
    head.load_state_dict(model[3].state_dict())
    make_step(model).step(*batch(), 0, "here")
    make_step(head).step(features, batch()[1], 0, "here")
    assert torch.equal(model[3].weight, head.weight)


def test_batch_norm_statistics_are_those_of_the_first_pass_alone():
    with_it, without = network(nn.BatchNorm1d(16)), network(nn.BatchNorm1d(16))
    make_step(with_it, accumulate=2).step(*batch(), 0, "here")
    make_step(without, accumulate=2, sam_rho=0.0).step(*batch(), 0, "here")
    assert with_it[2].num_batches_tracked == 2
    assert all(torch.equal(*pair) for pair in zip(with_it.buffers(), without.buffers(), strict=True))
    assert not torch.equal(with_it[3].weight, without[3].weight)


class Masks(nn.Module):
    """Dropout that keeps what it has drawn."""

    def __init__(self):
        super().__init__()
        self.dropout, self.drawn = nn.Dropout(0.5), []

    def forward(self, inputs):
        mask = self.dropout(torch.ones_like(inputs))
        self.drawn.append(mask)
        return inputs * mask


def test_both_passes_draw_the_same_dropout():
    model = network(Masks())
    make_step(model, accumulate=2).step(*batch(), 7, "here")
    first, second, *again = model[2].drawn
    assert torch.equal(first, again[0])
    assert torch.equal(second, again[1])
    assert not torch.equal(first, second)


@pytest.mark.parametrize("dtype", [None, torch.bfloat16, torch.float16])
def test_queued_steps_are_the_steps(dtype):
    """On a GPU steps are queued; also with a gradient scaler, whose factor the distance does not depend on."""
    states = []
    for deferred in (False, True):
        model = network()
        groups = [{"params": list(model.parameters()), "lr": 0.05, "weight_decay": 0.1}]
        optimizer = make_optimizer("adamw", groups, fused=True)
        step = make_step(model, optimizer=optimizer, dtype=dtype, deferred=deferred, grad_clip=1.0)
        for seed in range(4):
            step.step(*batch(seed), seed, "here")
        states.append(state_of(model))
    assert same_weights(*states)


def test_with_a_scaler_a_step_is_the_one_without():
    states = []
    for dtype in (None, torch.float16):
        model = network()
        make_step(model, dtype=dtype).step(*batch(), 0, "here")
        states.append(model[1].weight.detach() - network()[1].weight.detach())
    torch.testing.assert_close(*states, rtol=0.02, atol=1e-3)


@pytest.mark.parametrize("deferred", [False, True])
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_changes_no_weight(deferred, value):
    model = network()
    before = state_of(model)
    inputs, labels = batch()
    inputs[2] = value
    optimizer = make_optimizer("sgd", [{"params": list(model.parameters()), "lr": LR}], fused=True)
    with pytest.raises(NotFinite, match=r"the loss is .* at epoch 1"):
        make_step(model, optimizer=optimizer, deferred=deferred).step(inputs, labels, 0, "epoch 1")
    assert same_weights(model.state_dict(), before)


@pytest.mark.parametrize("deferred", [False, True])
def test_a_gradient_that_is_not_finite_changes_no_weight(deferred):
    model = InfiniteGradient()
    optimizer = make_optimizer("sgd", [{"params": list(model.parameters()), "lr": LR}], fused=True)
    with pytest.raises(NotFinite, match=r"the gradient's norm is .* at epoch 1"):
        make_step(model, optimizer=optimizer, deferred=deferred).step(*batch(), 0, "epoch 1")
    assert torch.equal(model.weight, torch.zeros(3))


@pytest.mark.parametrize("deferred", [False, True])
def test_an_fp16_overflow_skips_the_step_and_is_no_error(deferred):
    model = nn.Sequential(nn.Flatten(), nn.Linear(12, 3))
    optimizer = make_optimizer("sgd", [{"params": list(model.parameters()), "lr": LR}], fused=True)
    step = make_step(model, optimizer=optimizer, dtype=torch.float16, deferred=deferred)
    before, scale = state_of(model), step.scaler.get_scale()
    inputs, labels = batch()
    step.step(inputs * 1000, labels, 0, "here")
    assert same_weights(model.state_dict(), before)
    assert step.scaler.get_scale() < scale
    step.step(inputs, labels, 0, "here")
    assert not same_weights(model.state_dict(), before)


class FailsAt(nn.Module):
    """The layer before it; on its call number `at` it raises."""

    def __init__(self, at, error, capacity=0):
        super().__init__()
        self.at, self.error, self.capacity, self.calls = at, error, capacity, 0

    def forward(self, inputs):
        self.calls += 1
        if self.calls >= self.at and len(inputs) > self.capacity:
            raise self.error
        return inputs


def test_an_error_in_the_second_pass_leaves_the_weights_as_they_were():
    model = network(FailsAt(2, ValueError("shapes do not fit")))
    before = state_of(model)
    with pytest.raises(ValueError, match="shapes do not fit"):
        make_step(model).step(*batch(), 0, "here")
    assert same_weights(model.state_dict(), before)


def test_memory_that_runs_out_in_the_second_pass_is_a_matter_of_parts():
    plenty, short = network(nn.GELU()), network(nn.Sequential(nn.GELU(), FailsAt(2, MemoryError(), capacity=3)))
    messages = []
    make_step(plenty).step(*batch(), 0, "here")
    make_step(short, on_memory=messages.append).step(*batch(), 0, "here")
    assert messages == ["memory ran out with 6 pictures at a time (here): going on with 3"]
    for weight, other in zip(plenty.parameters(), short.parameters(), strict=True):
        torch.testing.assert_close(weight, other)


def test_a_training_with_it_learns_and_is_another_one(toy):
    changes = {"epochs": 10, "lr_backbone": 0.02, "ema": True}
    with_it, without = toy.run(**changes, sam_rho=0.05), toy.run(**changes)
    assert with_it.rows[-1]["train_loss"] < 0.8 * with_it.rows[0]["train_loss"]
    assert not same_weights(with_it.weights(), without.weights())
    assert not same_weights(with_it.bests[-1].state_dict, without.bests[-1].state_dict), "the EMA follows"


def test_accumulated_and_clipped_a_training_is_the_same_one(toy):
    changes = {"epochs": 2, "grad_clip": 0.05, "sam_rho": 0.1}
    whole, parts = toy.run(**changes), toy.run(**changes, accumulate=4)
    for name, tensor in whole.weights().items():
        assert torch.allclose(tensor, parts.weights()[name], atol=1e-4), name
