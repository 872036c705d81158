"""EMA: a decay scaled to the run's length, so that little of the initial weights is left at the end."""

import pytest
import torch
from torch import nn

from flowerml.training.ema import EMA, ema_decay


class Number(nn.Module):
    """One weight, one floating-point buffer, one counter."""

    def __init__(self, value: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([value]))
        self.register_buffer("running", torch.tensor([value]))
        self.register_buffer("count", torch.tensor(0))

    def set(self, value: float) -> None:
        with torch.no_grad():
            self.weight.fill_(value)
            self.running.fill_(value)
            self.count += 1


def share_of_start_left(steps: int) -> float:
    """Start at 1, every step gives 0: what is left of the start is the average itself."""
    model = Number(1.0)
    average = EMA(model, steps)
    for _ in range(steps):
        model.set(0.0)
        average.update(model)
    return average.module.weight.item()


@pytest.mark.parametrize("steps", [1, 2, 11, 30, 100, 900, 3000])
def test_less_than_a_thousandth_of_the_starting_weights_is_left_at_the_end(steps):
    assert share_of_start_left(steps) < 1e-3


def test_a_fixed_decay_of_09998_would_have_kept_83_percent_after_900_steps():
    """What the scaling avoids on a short run; the scaled decay is far from it."""
    assert pytest.approx(0.83, abs=0.01) == 0.9998**900
    assert ema_decay(900) ** 900 < 1e-3


def test_the_window_is_a_tenth_of_the_run_and_the_decay_is_capped():
    assert 1 / (1 - ema_decay(900)) == pytest.approx(90)
    assert 1 / (1 - ema_decay(3000)) == pytest.approx(300)
    assert ema_decay(10_000_000) == 0.9999
    assert [ema_decay(steps) for steps in (1, 2, 10)] == [0.0, 0.0, 0.0]


def test_longer_runs_never_have_a_shorter_window():
    decays = [ema_decay(steps) for steps in range(1, 5000)]
    assert decays == sorted(decays)
    assert min(decays) >= 0.0
    assert max(decays) < 1.0


def test_after_30_steps_the_average_is_near_the_weights():
    """Weights that move by 1 a step: the average lags by a tenth of the run at most."""
    model = Number(0.0)
    average = EMA(model, 30)
    for step in range(1, 31):
        model.set(float(step))
        average.update(model)
    assert 27 < average.module.weight.item() < 30


def test_a_run_of_one_step_ends_with_the_weights_themselves():
    model = Number(5.0)
    average = EMA(model, 1)
    model.set(7.0)
    average.update(model)
    assert average.module.weight.item() == pytest.approx(7.0, abs=0.3)


def test_ema_matches_its_formula_for_weights_and_buffers_and_counts_updates():
    draw = torch.Generator().manual_seed(0)
    model = Number(1.0)
    average = EMA(model, 200)
    expected = 1.0
    for step in range(200):
        value = torch.randn((), generator=draw).item()
        model.set(value)
        average.update(model)
        decay = min(1 - 1 / 20, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * value
    assert average.updates == 200
    assert average.module.weight.item() == pytest.approx(expected, abs=1e-5)
    assert average.module.running.item() == pytest.approx(expected, abs=1e-5)
    assert average.module.count.item() == 200


def test_batch_norm_statistics_are_averaged_too():
    model = nn.Sequential(nn.BatchNorm1d(4))
    average = EMA(model, 100)
    for _ in range(100):
        model(torch.randn(64, 4) + 3)
        average.update(model)
    assert average.module[0].running_mean.mean().item() == pytest.approx(3, abs=0.3)


def test_ema_module_is_a_separate_model_in_evaluation_mode():
    model = nn.Sequential(nn.Linear(2, 2), nn.Dropout(0.5)).train()
    average = EMA(model, 10)
    assert not average.module.training
    assert average.module[0].weight.data_ptr() != model[0].weight.data_ptr()
    assert model.training
