"""A resumed training ends as one that was never interrupted, bit for bit: from every step, and only because every part
is put back.
"""

import copy
import io
import random
from functools import partial

import numpy as np
import pytest
import torch

from flowerml.data.loader import Example
from flowerml.models import Built
from flowerml.selection.epochs import EarlyStopping
from flowerml.training.callbacks import Outcome
from flowerml.training.checkpoints.progress import CheckpointInterval, Progress
from flowerml.training.losses import example_losses
from flowerml.training.optimizer import make_optimizer, parameter_groups
from flowerml.training.schedule import Plateau
from flowerml.training.train_state import TrainState
from flowerml.training.train_step import TrainStep
from tests.training.conftest import Toy, Trained, examples, tiny_built
from tests.training.test_memory import narrowed

EVERYTHING = {
    **{
        "epochs": 4,
        "dropout": 0.3,
        "mixup": 0.2,
        "cutmix": 1.0,
        "label_smoothing": 0.1,
        "freeze_backbone_epochs": 2,
        "amp": True,
    },
    "warmup_epochs": 1,
}
STILL = {"lr_head": 1e-12, "lr_backbone": 1e-12, "weight_decay": 0.0}  # no epoch is better than the first
CASES = {
    "everything": EVERYTHING,
    "without average": {**EVERYTHING, "ema": False},
    "sgd": {"epochs": 3, "optimizer": "sgd", "monitor": "val_loss", "accumulate": 2},
    "plateau": {
        **STILL,
        "epochs": 6,
        "scheduler": "plateau",
        "plateau_patience": 1,
        "plateau_factor": 0.1,
        "min_lr": 0.0,
    },
    "stopped early": {**STILL, "epochs": 8, "patience": 3},
    "without validation": {"epochs": 3, "stop_epoch": 2, "val": []},
}
LONG = ("plateau", "stopped early")  # about ten seconds each


class Keeper:
    """Keeps every state as the bytes that a file would hold."""

    def __init__(self) -> None:
        self.states: dict[Progress, bytes] = {}

    def __call__(self, place, content):
        buffer = io.BytesIO()
        torch.save(content, buffer)
        self.states[place] = buffer.getvalue()

    def at(self, place):
        return torch.load(io.BytesIO(self.states[place]), weights_only=True)


def kept_run(**changes) -> tuple[Trained, Keeper]:
    keeper = Keeper()
    return Toy().run(on_state=keeper, checkpoint_every_steps=1, **changes), keeper


def state_of(trained: Trained):
    """All that has to be equal: weights, history without its timing column, best epoch with its predictions, cuts, the
    reason it ended.
    """
    best = trained.outcome.best
    said = (
        None
        if best.predictions is None
        else (best.predictions.ids, best.predictions.logits.tobytes(), best.predictions.labels.tobytes())
    )
    weights = {name: tensor.numpy().tobytes() for name, tensor in trained.weights().items()}
    rows = [
        {name: value for name, value in row.items() if name != "images_per_second"} for row in trained.outcome.history
    ]
    return (
        weights,
        trained.figures(),
        rows,
        (best.epoch, best.result, said),
        trained.outcome.cuts,
        trained.outcome.ended,
    )


def bests(trained: Trained, after: int):
    """The weights of the best epochs after one, as `best.pth` got them."""
    kept = [best for best in trained.bests if best.epoch > after]
    return [(best.epoch, {name: tensor.numpy().tobytes() for name, tensor in best.state_dict.items()}) for best in kept]


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow) if name in LONG else name for name in CASES]
)
def test_from_every_step_and_every_epochs_end_it_ends_the_same(name):
    changes = CASES[name]
    whole, keeper = kept_run(**changes)
    epochs = len(whole.rows)
    assert list(keeper.states) == [
        place
        for epoch in range(epochs)
        for place in (*(Progress(epoch, n) for n in range(1, 5)), Progress(epoch + 1, 0))
    ]
    for place in keeper.states:
        resumed = Toy().run(resumed=partial(keeper.at, place), **changes)
        assert state_of(resumed) == state_of(whole), place
        assert bests(resumed, place.epochs) == bests(whole, place.epochs), place


def test_keeping_states_changes_nothing():
    assert state_of(kept_run(**EVERYTHING)[0]) == state_of(Toy().run(**EVERYTHING))


def test_what_the_cases_are_about_happens_in_them():
    assert Toy().run(**CASES["plateau"]).outcome.cuts == [3, 5]
    assert Toy().run(**CASES["stopped early"]).outcome.ended.startswith("stopped after epoch 4")


def test_with_processes_that_load_too():
    whole, keeper = kept_run(**EVERYTHING)
    resumed = Toy().run(resumed=partial(keeper.at, Progress(2, 3)), workers=2, **EVERYTHING)
    assert state_of(resumed) == state_of(whole)


def test_resumed_twice():
    whole, first = kept_run(**EVERYTHING)
    second = Keeper()
    Toy().run(resumed=partial(first.at, Progress(1, 2)), on_state=second, **EVERYTHING)
    assert state_of(Toy().run(resumed=partial(second.at, Progress(3, 0)), **EVERYTHING)) == state_of(whole)


def test_pictures_that_were_seen_are_not_read_again():
    _, keeper = kept_run(epochs=1)
    read: list[str] = []

    def watched(example):
        read.append(example.id)
        return example.read()

    pictures = [Example(one.id, one.label, partial(watched, one)) for one in examples(27)]
    Toy().run(pictures=pictures, resumed=partial(keeper.at, Progress(0, 3)), epochs=1)
    assert len(read) == 27 - 3 * 8


LONG = {"epochs": 8}  # 32 steps: the average's warm-up lasts that long
FRESH_PLATEAU = {"best": float("inf"), "bad": 0, "scale": 1.0, "cuts": []}


def fresh_weights():
    return tiny_built().model.state_dict()


# what is left out of the state: (settings in which it matters, where it is resumed, its value in a training that has
# just begun)
LEFT_OUT = {
    "model": (LONG, Progress(3, 2), lambda content: {"model": fresh_weights()}),
    "optimizer": (LONG, Progress(3, 2), lambda content: {"optimizer": {**content["optimizer"], "state": {}}}),
    "average": (LONG, Progress(3, 2), lambda content: {"average": fresh_weights()}),
    "average's counter": (LONG, Progress(3, 2), lambda content: {"updates": 0}),
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
    "place": (LONG, Progress(3, 2), lambda content: {"epoch": 1}),
    "step": (LONG, Progress(3, 2), lambda content: {"sums": {**content["sums"], "steps": 0}}),
    **{
        f"sum of {name}": (LONG, Progress(3, 2), lambda content, name=name: {"sums": {**content["sums"], name: 0}})
        for name in ("pictures", "loss", "norm", "counted")
    },
    "history": (LONG, Progress(3, 2), lambda content: {"history": []}),
}


@pytest.mark.parametrize("part", LEFT_OUT)
def test_a_part_that_is_left_out_is_noticed(part):
    changes, place, fresh = LEFT_OUT[part]
    whole, keeper = kept_run(**changes)
    content = keeper.at(place)
    assert state_of(Toy().run(resumed=lambda: keeper.at(place), **changes)) == state_of(whole)
    assert state_of(Toy().run(resumed=lambda: {**content, **fresh(content)}, **changes)) != state_of(whole)


def test_a_state_without_one_of_its_parts_is_no_state():
    _, keeper = kept_run(epochs=2)
    for part in keeper.at(Progress(1, 0)):
        content = keeper.at(Progress(1, 0))
        del content[part]
        with pytest.raises(KeyError, match=part):
            Toy().run(resumed=lambda content=content: content, epochs=2)


def test_the_generators_go_on_where_they_were():
    """Nothing here draws from them without a key; a library might."""
    _, keeper = kept_run(epochs=1)
    states = keeper.at(Progress(0, 3))["random"]
    drawn = []
    for before in (1, 2):
        for seed in (torch.manual_seed, np.random.seed, random.seed):
            seed(before)
        Toy().run(epochs=1, resumed=lambda: {**keeper.at(Progress(1, 0)), "random": states})
        drawn.append((torch.rand(3).tolist(), np.random.rand(3).tolist(), np.random.randn(), random.random()))
    assert drawn[0] == drawn[1]


def test_memory_that_ran_out_before_does_not_run_out_again():
    def built() -> Built:
        return narrowed(tiny_built, 4)

    changes = {"epochs": 2, "batch_size": 8}
    whole, keeper = kept_run(built=built(), **changes)
    assert len(whole.remarks) == 1
    resumed = Toy().run(built=built(), resumed=partial(keeper.at, Progress(0, 2)), **changes)
    assert state_of(resumed) == state_of(whole)
    assert resumed.remarks == ["memory ran out in an earlier try: going on with each batch in 2 parts"]
    more = Toy().run(built=built(), resumed=partial(keeper.at, Progress(0, 2)), accumulate=4, **changes)
    assert more.remarks == []


def scaled_stepper() -> TrainStep:
    """fp16 with its scaler, on the CPU."""
    built = tiny_built()
    groups = parameter_groups(built.model, built.stages, lr_head=0.1, lr_backbone=0.1, weight_decay=0.0, llrd=1.0)
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


def test_the_scalers_scale_and_its_count_of_good_steps_go_on():
    inputs, labels = torch.randn(8, 3, 8, 8), torch.arange(8) % 3
    whole = scaled_stepper()
    whole.scaler.set_growth_interval(3)
    for step in range(5):
        whole.step(inputs, labels, step, "here")
    torch.save(whole.scaler.state_dict(), buffer := io.BytesIO())
    again = scaled_stepper()
    again.scaler.load_state_dict(torch.load(io.BytesIO(buffer.getvalue()), weights_only=True))
    assert again.scaler.state_dict() == whole.scaler.state_dict() != scaled_stepper().scaler.state_dict()
    assert again.scaler.state_dict()["_growth_tracker"] == 2
    again.model.load_state_dict(whole.model.state_dict())
    again.optimizer.load_state_dict(copy.deepcopy(whole.optimizer.state_dict()))
    for step in range(5, 9):
        assert again.step(inputs, labels, step, "here") == whole.step(inputs, labels, step, "there")
    assert again.scaler.state_dict() == whole.scaler.state_dict()


@pytest.mark.parametrize(
    ("every", "places"),
    [
        (0, [(1, 0), (2, 0)]),
        (3, [(0, 3), (1, 0), (1, 2), (2, 0)]),
        (8, [(1, 0), (1, 4), (2, 0)]),
        (100, [(1, 0), (2, 0)]),
    ],
)
def test_states_come_after_every_epoch_and_every_so_many_steps(every, places):
    keeper = Keeper()
    Toy().run(on_state=keeper, checkpoint_every_steps=every, epochs=2)
    assert list(keeper.states) == [Progress(*place) for place in places]


def test_states_come_by_time():
    keeper = Keeper()
    Toy().run(on_state=keeper, checkpoint_every_minutes=1e-12, epochs=1)
    assert list(keeper.states) == [Progress(0, 1), Progress(0, 2), Progress(0, 3), Progress(0, 4), Progress(1, 0)]
    assert not CheckpointInterval(0, 1e4).due(1)
    assert not CheckpointInterval(0, 0).due(1)


def test_places_are_in_the_order_of_the_training_and_say_themselves():
    assert sorted([Progress(2, 0), Progress(1, 3), Progress(1, 0)]) == [Progress(1, 0), Progress(1, 3), Progress(2, 0)]
    assert [str(Progress(3, 0)), str(Progress(3, 2))] == ["after epoch 3", "after step 2 of epoch 4"]


def test_a_run_that_scaled_nothing_goes_on_where_gradients_are_scaled():
    """bf16 on one device, fp16 on the next: the kept scaler is empty, which a scaler in use does not take."""
    _, keeper = kept_run(epochs=2, ema=False)
    content = keeper.at(Progress(1, 0))
    assert content["scaler"] == {}
    stepper = scaled_stepper()
    before = stepper.scaler.state_dict()
    plateau, stopping = Plateau(0.5, 3), EarlyStopping(3, 0, "val_accuracy")
    TrainState(stepper.model, stepper.optimizer, stepper, None, plateau, stopping, Outcome()).load_state_dict(content)
    assert stepper.scaler.state_dict() == before != {}
