"""`--lora-rank`: the steps are those of LoRA written out, and the model's own weights always are the sum."""

from functools import partial

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from flowerml.training.lora import LowRankUpdates, adapted_matrices
from flowerml.training.losses import example_losses
from flowerml.training.train_step import NotFinite, TrainStep

CPU = torch.device("cpu")
RANK = 2


class Attention(nn.Module):
    """A layer of each kind: a norm, attention, a linear layer with a bias, a matrix that is no layer's."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(3)
        self.norm = nn.LayerNorm(8)
        self.attn = nn.MultiheadAttention(8, 2, batch_first=True)
        self.mlp = nn.Linear(8, 8)
        self.positions = nn.Parameter(torch.randn(4, 8))

    def forward(self, inputs):
        values = self.norm(inputs + self.positions)
        values = values + self.attn(values, values, values, need_weights=False)[0]
        return self.mlp(F.gelu(values)).mean(dim=1)


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.backbone = Attention()
        self.head = nn.Linear(8, 3)

    def forward(self, inputs):
        return self.head(self.backbone(inputs))


def batch(seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(6, 4, 8, generator=generator), torch.randint(3, (6,), generator=generator)


def make_step(model, lora, *, lr=0.1, **changes):
    factors = [factor for pair in lora.factors.values() for factor in pair]
    parameters = [*model.head.parameters(), *factors]
    options = {"dtype": None, "accumulate": 1, "grad_clip": 0.0, "losses": partial(example_losses, smoothing=0.0)}
    options |= {"on_memory": pytest.fail, "lora": lora, **changes}
    return TrainStep(model, torch.optim.SGD(parameters, lr=lr), parameters, CPU, **options)


def state_of(model):
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def written_out(model, lora, inputs, targets, lr):
    """A step of SGD on factors, with the sum of start and product as a part of the graph, as the paper writes it."""
    start = {name: tensor.detach().clone() for name, tensor in model.backbone.named_parameters()}
    factors = {
        name: [factor.detach().clone().requires_grad_() for factor in pair] for name, pair in lora.factors.items()
    }
    summed = {name: start[name] + up @ down for name, (down, up) in factors.items()}
    features = torch.func.functional_call(model.backbone, {**start, **summed}, (inputs,))
    loss = F.cross_entropy(model.head(features), targets)
    loss.backward()
    stepped = {name: [factor - lr * factor.grad for factor in pair] for name, pair in factors.items()}
    return loss.item(), {name: start[name] + up @ down for name, (down, up) in stepped.items()}


def test_what_is_adapted():
    assert set(adapted_matrices(Attention())) == {"attn.in_proj_weight", "attn.out_proj.weight", "mlp.weight"}


def test_nothing_changes_before_the_first_step():
    model = Model()
    before = state_of(model)
    LowRankUpdates(model.backbone, RANK, seed=11).apply()
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


@pytest.mark.parametrize("accumulate", [1, 3])
def test_two_steps_are_those_written_out(accumulate):
    """The second one starts with factors of which neither is zero."""
    model, lr = Model(), 0.1
    lora = LowRankUpdates(model.backbone, RANK, seed=11)
    step = make_step(model, lora, lr=lr, accumulate=accumulate)
    for turn in range(2):
        inputs, targets = batch(turn)
        start = {name: tensor.clone() for name, tensor in model.backbone.named_parameters()}
        products = {name: (up @ down).detach() for name, (down, up) in lora.factors.items()}
        with torch.no_grad():  # `written_out` adds the product to a start without it
            for name, product in products.items():
                model.backbone.get_parameter(name).sub_(product)
        expected_loss, expected = written_out(model, lora, inputs, targets, lr)
        with torch.no_grad():
            for name, value in start.items():
                model.backbone.get_parameter(name).copy_(value)
        model.zero_grad()
        loss, _ = step.step(inputs, targets, seed=turn, context="here")
        assert loss == pytest.approx(expected_loss, rel=1e-5)
        for name, value in expected.items():
            torch.testing.assert_close(model.backbone.get_parameter(name).detach(), value, rtol=1e-4, atol=1e-6)


def test_all_other_weights_of_the_backbone_stay_bit_for_bit():
    model = Model()
    lora, before = LowRankUpdates(model.backbone, RANK, seed=11), state_of(model)
    step = make_step(model, lora)
    for turn in range(3):
        step.step(*batch(turn), seed=turn, context="here")
    changed = {name for name, tensor in model.state_dict().items() if not torch.equal(before[name], tensor)}
    assert changed == {
        *(f"backbone.{name}" for name in lora.factors),
        *("head.weight", "head.bias"),
    }


def test_the_change_of_a_matrix_has_the_rank_that_was_asked_for():
    model = Model()
    start = {name: tensor.detach().clone() for name, tensor in adapted_matrices(model.backbone).items()}
    lora = LowRankUpdates(model.backbone, RANK, seed=11)
    step = make_step(model, lora, lr=0.5)
    for turn in range(5):
        step.step(*batch(turn), seed=turn, context="here")
    for name, matrix in adapted_matrices(model.backbone).items():
        assert torch.linalg.matrix_rank(matrix.detach() - start[name], atol=1e-5) == RANK


def test_no_gradient_of_a_matrix_is_left_and_the_optimizer_has_states_of_factors_only():
    """Of weights, gradient and two moments for each number of a matrix, weights and start are left: half of it."""
    model = Model()
    lora = LowRankUpdates(model.backbone, RANK, seed=11)
    step = make_step(model, lora)
    step.optimizer = torch.optim.AdamW(step.parameters)
    step.step(*batch(), seed=0, context="here")
    assert all(parameter.grad is None for parameter in model.backbone.parameters())
    states = sum(value.numel() for state in step.optimizer.state.values() for value in state.values() if value.ndim)
    head = sum(parameter.numel() for parameter in model.head.parameters())
    assert states == 2 * (lora.trained + head)
    assert lora.trained == RANK * ((24 + 8) + (8 + 8) + (8 + 8))


def test_a_step_that_is_not_finite_changes_nothing():
    model = Model()
    lora = LowRankUpdates(model.backbone, RANK, seed=11)
    step = make_step(model, lora)
    step.step(*batch(), seed=0, context="here")
    before = state_of(model)
    inputs, targets = batch(1)
    with pytest.raises(NotFinite):
        step.step(inputs * float("nan"), targets, seed=1, context="here")
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


def test_the_state_gives_the_same_weights_back():
    model, other = Model(), Model()
    lora, second = (LowRankUpdates(one.backbone, RANK, seed=11) for one in (model, other))
    step = make_step(model, lora)
    for turn in range(3):
        step.step(*batch(turn), seed=turn, context="here")
    second.load_state_dict({name: [factor.clone() for factor in pair] for name, pair in lora.state_dict().items()})
    for name, matrix in adapted_matrices(model.backbone).items():
        assert torch.equal(matrix, other.backbone.get_parameter(name))


def test_the_seed_draws_the_factors():
    draws = [LowRankUpdates(Model().backbone, RANK, seed=seed).state_dict()["mlp.weight"][0] for seed in (11, 11, 23)]
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])
