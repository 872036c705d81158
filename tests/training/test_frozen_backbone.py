"""A frozen backbone: no gradient, no change, no backward through it, batch-norm statistics stay."""

from functools import partial

import pytest
import torch

from flowerml.models import build
from flowerml.models.classifier import Classifier
from flowerml.settings import find_model
from flowerml.training.losses import example_losses
from flowerml.training.optimizer import make_optimizer, parameter_groups
from flowerml.training.train_step import TrainStep
from tests.training.conftest import same_weights, weights_of

WITH_BATCH_NORM = ["timm:resnet10t", "timm:mobilenetv2_050"]


def made(name: str):
    torch.manual_seed(0)
    return build(find_model(name), 3, img_size=32)


def stepper_for(built, optimizer: str = "adamw") -> TrainStep:
    groups = parameter_groups(built.model, built.layer_groups, lr_head=0.1, lr_backbone=0.1, weight_decay=0.5, llrd=1.0)
    parameters = list(built.model.parameters())
    losses = partial(example_losses, smoothing=0.0)
    return TrainStep(
        built.model, make_optimizer(optimizer, groups), parameters, torch.device("cpu"), None, 1, 0.0, losses, print
    )


def steps(stepper: TrainStep, count: int) -> None:
    for number in range(count):
        generator = torch.Generator().manual_seed(number)
        stepper.step(torch.randn(4, 3, 32, 32, generator=generator) + 2, torch.tensor([0, 1, 2, 0]), 0, "here")


def copies(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}


def leaves(output: torch.Tensor) -> set[int]:
    """Ids of the parameters in the graph that a backward pass would walk."""
    found, waiting, seen = set(), [output.grad_fn], set()
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if hasattr(node, "variable"):
            found.add(id(node.variable))
        waiting.extend(following for following, _ in node.next_functions)
    return found


@pytest.mark.parametrize("name", WITH_BATCH_NORM)
@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_while_frozen_nothing_in_the_backbone_changes_and_the_head_learns(name, optimizer):
    built = made(name)
    built.model.set_frozen(frozen=True)
    built.model.train()
    backbone, head = copies(built.model.backbone), copies(built.model.head)
    assert any("running_mean" in key for key in backbone)
    steps(stepper_for(built, optimizer), 3)
    after = built.model.backbone.state_dict()
    assert all(torch.equal(after[key], tensor) for key, tensor in backbone.items())
    assert all(parameter.grad is None for parameter in built.model.backbone.parameters())
    assert not torch.equal(built.model.head.weight, head["weight"])


def test_while_frozen_the_graph_holds_the_head_alone():
    model = made("timm:resnet10t").model.train()
    inputs = torch.randn(2, 3, 32, 32)
    everything = {id(parameter) for parameter in model.parameters()}
    assert leaves(model(inputs)) == everything
    model.set_frozen(frozen=True)
    assert leaves(model(inputs)) == {id(parameter) for parameter in model.head.parameters()}
    inputs.requires_grad_(True)
    assert leaves(model(inputs)) == {id(parameter) for parameter in model.head.parameters()}


@pytest.mark.parametrize("name", WITH_BATCH_NORM)
def test_after_unfreezing_the_backbone_and_its_statistics_learn(name):
    built = made(name)
    built.model.set_frozen(frozen=True)
    stepper = stepper_for(built)
    steps(stepper, 2)
    built.model.set_frozen(frozen=False)
    before = copies(built.model.backbone)
    steps(stepper, 2)
    after = built.model.backbone.state_dict()
    unmoved = [key for key, tensor in before.items() if tensor.is_floating_point() and torch.equal(after[key], tensor)]
    assert unmoved == []
    assert leaves(built.model(torch.randn(2, 3, 32, 32))) == {id(parameter) for parameter in built.model.parameters()}


def test_a_frozen_backbone_is_in_eval_mode_while_dropout_is_active():
    model = made("timm:resnet10t").model
    model.set_frozen(frozen=True)
    model.train()
    assert not any(part.training for part in model.backbone.modules())
    assert model.dropout.training
    assert model.head.training
    model.eval()
    assert not model.dropout.training
    model.train()
    assert not model.backbone.training
    model.set_frozen(frozen=False)
    assert all(part.training for part in model.modules())


def test_unfreezing_a_model_in_evaluation_mode_leaves_it_there():
    model = made("timm:resnet10t").model.eval()
    model.set_frozen(frozen=True)
    model.set_frozen(frozen=False)
    assert not any(part.training for part in model.modules())


def test_frozen_and_unfrozen_give_the_same_logits_in_evaluation():
    model: Classifier = made("timm:mobilenetv2_050").model.eval()
    inputs = torch.randn(2, 3, 32, 32)
    before = model(inputs)
    model.set_frozen(frozen=True)
    assert torch.equal(model(inputs), before)


def test_frozen_epochs_train_the_head_alone_and_the_rest_trains_both(toy):
    trained = toy.run(epochs=3, freeze_backbone_epochs=2)
    start = trained.bests[0].state_dict  # of the average, whose backbone can't have moved either
    first, second, third = trained.after
    assert same_weights(weights_of(first, "backbone"), weights_of(second, "backbone"))
    assert same_weights(weights_of(first, "backbone"), weights_of(start, "backbone"))
    assert not same_weights(weights_of(first, "head"), weights_of(second, "head"))
    assert not same_weights(weights_of(second, "backbone"), weights_of(third, "backbone"))


def test_a_run_frozen_to_its_end_leaves_the_backbone_unchanged(toy, make_built):
    before = make_built().model.state_dict()
    trained = toy.run(epochs=2, freeze_backbone_epochs=2, weight_decay=0.5)
    assert same_weights(weights_of(trained.weights(), "backbone"), weights_of(before, "backbone"))
    assert same_weights(weights_of(trained.bests[-1].state_dict, "backbone"), weights_of(before, "backbone"))
    assert not same_weights(weights_of(trained.weights(), "head"), weights_of(before, "head"))


def test_the_schedule_continues_and_the_backbone_rate_is_logged_while_frozen(toy):
    frozen, free = (toy.run(epochs=3, freeze_backbone_epochs=epochs) for epochs in (2, 0))
    for name in ("lr_head", "lr_backbone"):
        assert [row[name] for row in frozen.rows] == [row[name] for row in free.rows]
