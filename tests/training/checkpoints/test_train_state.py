"""Every part of the training state is needed, and is restored."""

import copy
import io
import random
from functools import partial

import numpy as np
import pytest
import torch

from flowerml.selection.epochs import EarlyStopping
from flowerml.training.callbacks import TrainingResult
from flowerml.training.checkpoints.progress import Progress
from flowerml.training.losses import example_losses
from flowerml.training.optimizer import make_optimizer, parameter_groups
from flowerml.training.schedule import Plateau
from flowerml.training.train_state import TrainState
from flowerml.training.train_step import TrainStep
from tests.training.checkpoints.recorded_runs import CASES, comparable_state, run_and_record
from tests.training.conftest import Toy, tiny_built

EIGHT_EPOCHS = {"epochs": 8}  # 32 steps, the length of the EMA's warm-up
FRESH_PLATEAU = {"best": float("inf"), "bad": 0, "scale": 1.0, "cuts": []}


def fresh_weights():
    return tiny_built().model.state_dict()


# Part left out of the state: (settings in which it matters, where to resume, its value in a new training)
LEFT_OUT = {
    "model": (EIGHT_EPOCHS, Progress(3, 2), lambda content: {"model": fresh_weights()}),
    "optimizer": (EIGHT_EPOCHS, Progress(3, 2), lambda content: {"optimizer": {**content["optimizer"], "state": {}}}),
    "average": (EIGHT_EPOCHS, Progress(3, 2), lambda content: {"average": fresh_weights()}),
    "average's counter": (EIGHT_EPOCHS, Progress(3, 2), lambda content: {"updates": 0}),
    "plateau": (CASES["plateau"], Progress(4, 0), lambda content: {"plateau": FRESH_PLATEAU}),
    **{
        f"plateau's {name}": (
            CASES["plateau"],
            place,
            lambda content, name=name: {"plateau": {**content["plateau"], name: FRESH_PLATEAU[name]}},
        )
        for name, place in {
            "best": Progress(3, 0),
            "bad": Progress(4, 2),
            "scale": Progress(4, 2),
            "cuts": Progress(4, 2),
        }.items()
    },
    "patience": (
        CASES["stopped early"],
        Progress(3, 0),
        lambda content: {"stopping": {**content["stopping"], "without": 0}},
    ),
    "leader": (
        CASES["stopped early"],
        Progress(3, 0),
        lambda content: {"stopping": {**content["stopping"], "leader": None}},
    ),
    "why it ended": (CASES["stopped early"], Progress(4, 0), lambda content: {"ended": ""}),
    "best": (CASES["stopped early"], Progress(2, 0), lambda content: {"best": None}),
    "place": (EIGHT_EPOCHS, Progress(3, 2), lambda content: {"epoch": 1}),
    "step": (EIGHT_EPOCHS, Progress(3, 2), lambda content: {"sums": {**content["sums"], "steps": 0}}),
    **{
        f"sum of {name}": (
            EIGHT_EPOCHS,
            Progress(3, 2),
            lambda content, name=name: {"sums": {**content["sums"], name: 0}},
        )
        for name in ("pictures", "loss", "norm", "counted")
    },
    "history": (EIGHT_EPOCHS, Progress(3, 2), lambda content: {"history": []}),
}


@pytest.mark.slow
@pytest.mark.parametrize("part", LEFT_OUT)
def test_a_missing_part_changes_the_result(part):
    changes, place, fresh = LEFT_OUT[part]
    uninterrupted, recorder = run_and_record(**changes)
    content = recorder.at(place)
    assert comparable_state(Toy().run(load_state=lambda: recorder.at(place), **changes)) == comparable_state(
        uninterrupted
    )
    assert comparable_state(Toy().run(load_state=lambda: {**content, **fresh(content)}, **changes)) != comparable_state(
        uninterrupted
    )


def test_a_state_dict_without_one_of_its_keys_is_refused():
    _, recorder = run_and_record(epochs=2)
    for part in recorder.at(Progress(1, 0)):
        content = recorder.at(Progress(1, 0))
        del content[part]
        with pytest.raises(KeyError, match=part):
            Toy().run(load_state=lambda content=content: content, epochs=2)


def test_the_global_generators_are_restored():
    """Nothing here draws from them without a key; a library might."""
    _, recorder = run_and_record(epochs=1)
    states = recorder.at(Progress(0, 3))["random"]
    drawn = []
    for before in (1, 2):
        for seed in (torch.manual_seed, np.random.seed, random.seed):
            seed(before)
        Toy().run(epochs=1, load_state=lambda: {**recorder.at(Progress(1, 0)), "random": states})
        drawn.append((torch.rand(3).tolist(), np.random.rand(3).tolist(), np.random.randn(), random.random()))
    assert drawn[0] == drawn[1]


def fp16_train_step() -> TrainStep:
    """fp16 with its scaler, on the CPU."""
    built = tiny_built()
    groups = parameter_groups(built.model, built.layer_groups, lr_head=0.1, lr_backbone=0.1, weight_decay=0.0, llrd=1.0)
    losses = partial(example_losses, smoothing=0.0)
    optimizer = make_optimizer("adamw", groups)
    return TrainStep(
        built.model,
        optimizer,
        list(built.model.parameters()),
        torch.device("cpu"),
        torch.float16,
        1,
        1.0,
        losses,
        lambda _words: None,
    )


def test_the_grad_scaler_state_is_restored():
    inputs, labels = torch.randn(8, 3, 8, 8), torch.arange(8) % 3
    original = fp16_train_step()
    original.scaler.set_growth_interval(3)
    for step in range(5):
        original.step(inputs, labels, step, "here")
    torch.save(original.scaler.state_dict(), buffer := io.BytesIO())
    restored = fp16_train_step()
    restored.scaler.load_state_dict(torch.load(io.BytesIO(buffer.getvalue()), weights_only=True))
    assert restored.scaler.state_dict() == original.scaler.state_dict() != fp16_train_step().scaler.state_dict()
    assert restored.scaler.state_dict()["_growth_tracker"] == 2
    restored.model.load_state_dict(original.model.state_dict())
    restored.optimizer.load_state_dict(copy.deepcopy(original.optimizer.state_dict()))
    for step in range(5, 9):
        assert restored.step(inputs, labels, step, "here") == original.step(inputs, labels, step, "there")
    assert restored.scaler.state_dict() == original.scaler.state_dict()


def test_a_state_without_scaler_is_loaded_with_a_scaler_in_use():
    """bf16 on one device, fp16 on the next: the kept scaler is empty, which a scaler in use does not take."""
    _, recorder = run_and_record(epochs=2, ema=False)
    content = recorder.at(Progress(1, 0))
    assert content["scaler"] == {}
    train_step = fp16_train_step()
    before = train_step.scaler.state_dict()
    plateau, stopping = Plateau(0.5, 3), EarlyStopping(3, 0, "val_accuracy")
    TrainState(
        train_step.model, train_step.optimizer, train_step, None, plateau, stopping, TrainingResult()
    ).load_state_dict(content)
    assert train_step.scaler.state_dict() == before != {}
