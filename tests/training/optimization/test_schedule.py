"""Learning-rate schedules: warm-up, cosine, constant, plateau."""

import random

import pytest
import torch

from flowerml.training.optimizer import learning_rates, set_learning_rates
from flowerml.training.schedule import Plateau, Schedule


def factors(kind: str, total: int, warmup: int) -> list[float]:
    schedule = Schedule(kind, total, warmup)
    return [schedule.factor(step) for step in range(total)]


@pytest.mark.parametrize("kind", ["cosine", "constant", "plateau"])
def test_the_warm_up_is_linear_and_reaches_the_full_rate_at_its_last_step(kind):
    assert factors(kind, 100, 10)[:10] == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0])


def test_the_first_warm_up_step_has_a_positive_rate():
    assert Schedule("cosine", 100, 50).factor(0) == pytest.approx(1 / 50)


@pytest.mark.parametrize(("total", "warmup"), [(100, 0), (101, 11), (900, 100), (3, 1)])
def test_the_cosine_starts_at_one_and_ends_at_a_hundredth_at_the_last_step(total, warmup):
    after = factors("cosine", total, warmup)[warmup:]
    assert after[0] == pytest.approx(1.0)
    assert after[-1] == pytest.approx(1e-2)
    assert after == sorted(after, reverse=True)
    assert len(set(after)) == len(after)


def test_the_cosine_is_halfway_between_both_ends_in_the_middle():
    assert factors("cosine", 111, 10)[60] == pytest.approx((1 + 1e-2) / 2)


def test_the_cosine_never_rises_again_past_the_end():
    assert Schedule("cosine", 10, 0).factor(15) == pytest.approx(1e-2)


@pytest.mark.parametrize("kind", ["constant", "plateau"])
def test_constant_and_plateau_keep_the_full_rate_after_the_warm_up(kind):
    assert set(factors(kind, 30, 5)[5:]) == {1.0}
    assert set(factors(kind, 30, 0)) == {1.0}


@pytest.mark.parametrize(("total", "warmup"), [(1, 0), (1, 1), (5, 5)])
def test_warm_up_only_and_one_step_runs_have_valid_rates(total, warmup):
    assert all(0 < factor <= 1 for factor in factors("cosine", total, warmup))


def random_losses(seed: int) -> list[float]:
    """Falling, standing and jumping losses, some just over and some just under the threshold of 1e-4."""
    draw = random.Random(seed)
    losses, level = [], 1.0
    for _ in range(40):
        level *= draw.choice([0.9, 1.0, 1.0, 1 - 0.9e-4, 1 - 1.1e-4, 1.05])
        losses.append(level)
    return losses


@pytest.mark.parametrize("patience", [0, 1, 3])
@pytest.mark.parametrize("factor", [0.5, 0.1])
def test_the_plateau_equals_torchs_reduce_lr_on_plateau(patience, factor):
    for seed in range(20):
        optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
        reference = torch.optim.lr_scheduler.ReduceLROnPlateau(
            optimizer, mode="min", factor=factor, patience=patience, threshold=1e-4, threshold_mode="rel", eps=0
        )
        plateau, cuts, rate = Plateau(factor, patience), [], 1.0
        for epoch, loss in enumerate(random_losses(seed), start=1):
            reference.step(loss)
            plateau.observe(epoch, loss)
            after = optimizer.param_groups[0]["lr"]
            if after != rate:
                cuts.append(epoch)
            rate = after
            assert plateau.scale == pytest.approx(rate, rel=1e-9)
        assert plateau.cuts == cuts
        assert cuts  # the sequence really has plateaus


def optimizer_with(head: float, *backbone: float) -> torch.optim.Optimizer:
    groups = [
        {"params": [torch.nn.Parameter(torch.zeros(1))], "lr": rate, "base_lr": rate, "part": "backbone"}
        for rate in backbone
    ]
    groups.append({"params": [torch.nn.Parameter(torch.zeros(1))], "lr": head, "base_lr": head, "part": "head"})
    return torch.optim.SGD(groups, lr=1.0)


def test_every_group_gets_base_rate_times_factor_and_the_largest_is_logged():
    optimizer = optimizer_with(1e-3, 1e-5, 1e-4)
    set_learning_rates(optimizer, factor=0.5, scale=1.0, min_lr=1e-6)
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([0.5e-5, 0.5e-4, 0.5e-3])
    assert learning_rates(optimizer) == pytest.approx({"lr_head": 0.5e-3, "lr_backbone": 0.5e-4})


def test_factors_do_not_accumulate():
    optimizer = optimizer_with(1e-3, 1e-4)
    for _ in range(3):
        set_learning_rates(optimizer, factor=0.5, scale=0.5, min_lr=0.0)
    assert learning_rates(optimizer) == pytest.approx({"lr_head": 0.25e-3, "lr_backbone": 0.25e-4})


def test_plateau_cuts_end_at_min_lr_and_raise_no_rate():
    optimizer = optimizer_with(1e-3, 1e-4, 1e-7)
    set_learning_rates(optimizer, factor=1.0, scale=1e-6, min_lr=1e-5)
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([1e-5, 1e-7, 1e-5])


def test_min_lr_does_not_bound_the_cosine():
    optimizer = optimizer_with(1e-3, 1e-5)
    set_learning_rates(optimizer, factor=1e-2, scale=1.0, min_lr=1e-4)
    assert learning_rates(optimizer) == pytest.approx({"lr_head": 1e-5, "lr_backbone": 1e-7})
