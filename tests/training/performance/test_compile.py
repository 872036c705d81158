"""`compile` on auto: the model is compiled once an epoch has shown that the rest is long enough."""

import pytest
import torch
from torch import nn

from flowerml.training import trainer
from flowerml.training.trainer import compile_pays
from tests.training.conftest import same_weights

EPOCHS = 4


class Compiled(nn.Module):
    """What torch.compile returns, without the compiler: the same result."""

    calls = 0

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, inputs):
        Compiled.calls += 1
        return self.model(inputs)


@pytest.fixture
def compiled(monkeypatch):
    """The models that were compiled."""
    models = []
    Compiled.calls = 0
    monkeypatch.setattr(torch, "compile", lambda model: models.append(model) or Compiled(model))
    return models


def test_minutes_do_not_pay_and_hours_do():
    assert [compile_pays(minutes * 60.0) for minutes in (0, 5, 60, 600)] == [False, False, True, True]


def test_it_is_compiled_once_after_the_epoch_that_shows_it(toy, compiled, monkeypatch, capsys):
    seen = []
    monkeypatch.setattr(trainer, "compile_pays", lambda left: seen.append(left) or len(seen) == 2)
    trained = toy.run(epochs=EPOCHS)
    assert len(compiled) == 1
    assert compiled[0] is trained.built.model
    assert seen[0] > seen[1] > 0  # three epochs are left, then two
    steps = -(-toy.train_count // trained.settings.batch_size)
    assert Compiled.calls == 2 * steps
    assert capsys.readouterr().err.count("compiling the model for the ") == 1
    monkeypatch.setattr(trainer, "compile_pays", lambda left: False)
    assert same_weights(trained.weights(), toy.run(epochs=EPOCHS).weights())


@pytest.mark.parametrize(("setting", "expected"), [(True, 1), (False, 0)])
def test_a_setting_that_is_given_decides(toy, compiled, monkeypatch, setting, expected):
    monkeypatch.setattr(trainer, "compile_pays", lambda left: pytest.fail("nobody asked"))
    trained = toy.run(epochs=2, compile=setting)
    assert len(compiled) == expected
    assert trained.outcome.stop_cause == "all epochs done"


@pytest.mark.parametrize("at_once", [True, False])
def test_where_it_fails_the_training_goes_on_and_one_line_says_so(toy, monkeypatch, capsys, at_once):
    def fail(*_):
        raise RuntimeError("torch.compile is not supported on this Python")

    class FailingCompilation(Compiled):
        forward = fail

    monkeypatch.setattr(torch, "compile", fail if at_once else FailingCompilation)
    monkeypatch.setattr(trainer, "compile_pays", lambda left: True)
    trained = toy.run(epochs=3)
    assert trained.outcome.stop_cause == "all epochs done"
    assert capsys.readouterr().err.count("torch.compile fails here") == 1
