"""Steps that are only queued, as on a GPU: the same weights, and a step that is not finite changes none of them.

Run here on a CPU, whose fused optimizers can skip a step as a GPU's do.
"""

import copy
import math
from functools import partial

import pytest
import torch
from torch import nn

from flowerml.data.loader import Example
from flowerml.errors import Stopped
from flowerml.runs.lifecycle.stop_request import StopRequest
from flowerml.training import trainer
from flowerml.training.losses import example_losses
from flowerml.training.optimizer import load_optimizer_state, make_optimizer
from flowerml.training.train_step import NotFinite, TrainStep
from tests.training.conftest import same_weights


def network():
    torch.manual_seed(3)
    return nn.Sequential(nn.Flatten(), nn.Linear(12, 16), nn.GELU(), nn.LayerNorm(16), nn.Linear(16, 3))


def make_step(model, kind, *, deferred=True, dtype=None):
    groups = [{"params": list(model.parameters()), "lr": 0.05, "weight_decay": 0.1}]
    optimizer = make_optimizer(kind, groups, fused=True)
    options = {"accumulate": 1, "grad_clip": 1.0, "losses": partial(example_losses, smoothing=0.1)}
    on_memory = pytest.fail
    device = torch.device("cpu")
    parameters = list(model.parameters())
    return TrainStep(
        model, optimizer, parameters, device, dtype=dtype, on_memory=on_memory, deferred=deferred, **options
    )


def batch(seed, value=None):
    generator = torch.Generator().manual_seed(seed)
    inputs, labels = torch.randn(6, 3, 2, 2, generator=generator), torch.randint(3, (6,), generator=generator)
    if value is not None:
        inputs[2] = value
    return inputs, labels


def take(step, seeds):
    return [step.step(*batch(seed), seed, f"step {seed}") for seed in seeds]


@pytest.mark.parametrize("kind", ["adamw", "sgd"])
def test_queued_steps_are_the_steps(kind):
    waiting, queued = network(), network()
    expected = take(make_step(waiting, kind, deferred=False), range(5))
    step = make_step(queued, kind)
    pending = [step.queue(*batch(seed), seed, f"step {seed}") for seed in range(5)]
    assert [result.read() for result in pending] == expected
    assert same_weights(queued.state_dict(), waiting.state_dict())


@pytest.mark.parametrize("kind", ["adamw", "sgd"])
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_is_skipped_on_the_device_and_reported_when_it_is_read(kind, value):
    model, undisturbed = network(), network()
    step, other = make_step(model, kind), make_step(undisturbed, kind)
    take(step, [1])
    bad = step.queue(*batch(2, value), 2, "epoch 1, step 2, pictures rose/2.jpg")
    after = [step.queue(*batch(3), 3, "step 3")]  # as the trainer: queued before the one before it is read
    with pytest.raises(NotFinite, match=r"the loss is \S+ at epoch 1, step 2, pictures rose/2.jpg"):
        bad.read()
    take(other, [1, 3])
    assert after[0].read()[0] > 0
    assert same_weights(model.state_dict(), undisturbed.state_dict())
    assert str(step.optimizer.state_dict()) == str(other.optimizer.state_dict())


class InfiniteGradient(nn.Module):
    """A finite loss with an infinite gradient: the square root at 0."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(3))

    def forward(self, inputs):
        return inputs.flatten(1)[:, :3] + self.weight.sqrt()


def test_a_gradient_that_is_not_finite_is_skipped_too():
    model = InfiniteGradient()
    pending = make_step(model, "adamw").queue(*batch(1), 1, "epoch 1")
    assert torch.equal(model.weight, torch.zeros(3))
    with pytest.raises(NotFinite, match=r"gradient's norm is \S+ at epoch 1"):
        pending.read()


def test_an_fp16_overflow_is_skipped_by_the_scaler_and_is_no_error():
    model = nn.Sequential(nn.Flatten(), nn.Linear(12, 3))
    step = make_step(model, "adamw", dtype=torch.float16)
    before, scale = {name: tensor.clone() for name, tensor in model.state_dict().items()}, step.scaler.get_scale()
    inputs, labels = batch(1)
    loss, norm = step.step(inputs * 1000, labels, 0, "here")
    assert math.isfinite(loss)
    assert not math.isfinite(norm)
    assert same_weights(model.state_dict(), before)
    assert step.scaler.get_scale() < scale
    step.step(inputs, labels, 0, "here")
    assert not same_weights(model.state_dict(), before)


@pytest.mark.parametrize("dtype", [None, torch.bfloat16, torch.float16])
def test_an_infinite_loss_with_finite_gradients_changes_no_weight(dtype):
    model = network()
    step = make_step(model, "adamw", dtype=dtype)
    step.losses = lambda logits, targets: logits.float().sum(dim=1) + math.inf
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    pending = step.queue(*batch(1), 1, "epoch 1")
    assert same_weights(model.state_dict(), before)
    with pytest.raises(NotFinite, match="the loss is inf at epoch 1"):
        pending.read()


@pytest.mark.parametrize("kind", ["adamw", "sgd"])
@pytest.mark.parametrize("fused", [True, False])
def test_a_state_of_another_implementation_is_loaded_and_the_own_one_kept(kind, fused):
    """A checkpoint of a CPU, or of a version without fused optimizers, goes on with one."""
    optimizers = []
    for own in (fused, not fused):
        weight = nn.Parameter(torch.ones(4))
        optimizers.append(make_optimizer(kind, [{"params": [weight], "lr": 0.1, "weight_decay": 0.0}], fused=own))
        for _ in range(2):
            weight.grad = torch.ones(4)
            optimizers[-1].step()
    first, second = optimizers
    load_optimizer_state(second, copy.deepcopy(first.state_dict()))  # it does not copy what it loads
    assert bool(second.param_groups[0]["fused"]) is not fused
    for optimizer in optimizers:
        optimizer.param_groups[0]["params"][0].grad = torch.full((4,), 2.0)
        optimizer.step()
    assert torch.allclose(*(optimizer.param_groups[0]["params"][0] for optimizer in optimizers), atol=1e-7)


@pytest.fixture
def fused(monkeypatch):
    """The trainer with a fused optimizer on this CPU; returns a function that makes it queue steps, as on a GPU."""
    make_train_step = trainer.make_train_step
    monkeypatch.setattr(trainer, "make_optimizer", lambda kind, groups, fused: make_optimizer(kind, groups, fused=True))

    def queue_steps():
        def queued(*args):
            made = make_train_step(*args)
            made.deferred = True
            return made

        monkeypatch.setattr(trainer, "make_train_step", queued)

    return queue_steps


def test_a_training_with_queued_steps_is_the_same_training(toy, fused):
    changes = {"epochs": 3, "optimizer": "adamw", "ema": True, "dropout": 0.2, "checkpoint_every_steps": 2}
    states = []
    waiting = toy.run(on_state=lambda progress, state: states.append((progress, dict(state["sums"]))), **changes)
    fused()
    queued_states = []
    queued = toy.run(on_state=lambda progress, state: queued_states.append((progress, dict(state["sums"]))), **changes)
    assert queued.metrics() == waiting.metrics()
    assert same_weights(queued.weights(), waiting.weights())

    def without_time(found):
        return [
            (progress, {name: value for name, value in sums.items() if name != "seconds"}) for progress, sums in found
        ]

    assert without_time(queued_states) == without_time(states)
    assert any(progress.steps for progress, _ in states)


class TurnsBad:
    """A picture that is fine at first, then NaN."""

    def __init__(self, after):
        self.reads, self.after = 0, after

    def __call__(self):
        self.reads += 1
        return torch.full((3, 8, 8), math.nan if self.reads > self.after else 0.5)


@pytest.mark.parametrize("checkpoint_every", [0, 1])
def test_a_queued_step_that_is_not_finite_ends_the_training_with_the_weights_before_it(
    toy, fused, make_examples, checkpoint_every
):
    """No checkpoint holds it, and the message names its step and pictures."""
    fused()
    pictures = [*make_examples(7), Example("rose/bad 1.jpg", 1, TurnsBad(after=1))]
    seen, positions = [], []
    with pytest.raises(NotFinite, match=r"epoch 2, step 1, .*rose/bad 1\.jpg"):
        toy.run(
            pictures=pictures,
            batch_size=8,
            epochs=3,
            checkpoint_every_steps=checkpoint_every,
            on_state=lambda progress, _: positions.append(progress),
            into=seen,
        )
    (trained,) = seen
    assert same_weights(trained.weights(), trained.after[0])
    assert max((progress.epochs, progress.steps) for progress in positions) == (1, 0)


def test_a_stop_after_a_queued_step_saves_its_loss_too(toy, fused, make_examples):
    fused()
    stop, states = StopRequest(), []

    def stop_at_fourth(path):
        if path == 3:
            stop.request("stopped by SIGTERM")
        return torch.full((3, 8, 8), 0.5)

    pictures = [Example(f"{number}", number % 3, partial(stop_at_fourth, number)) for number in range(6)]
    with pytest.raises(Stopped):
        toy.run(pictures=pictures, batch_size=2, stop=stop, on_state=lambda progress, state: states.append(state))
    steps = states[-1]["sums"]["steps"]
    assert steps in (1, 2, 3)
    assert states[-1]["sums"]["counted"] == steps
    assert states[-1]["sums"]["pictures"] == 2 * steps
