"""Averages of weights: against hand-computed ones, and BatchNorm statistics against those of the pictures."""

import pytest
import torch
from torch import nn

from flowerml.models.weights.average import (
    average_states,
    batch_norms,
    estimate_batch_norm,
    permute_head,
    statistics_differ,
)


def state(*values, count=1, dtype=torch.float32):
    return {"weight": torch.tensor(values, dtype=dtype), "num_batches_tracked": torch.tensor(count)}


def test_mean_of_two_is_the_hand_computed_one_and_counts_are_the_first_ones():
    averaged = average_states([state(1.0, 2.0, -4.0, count=7), state(3.0, 3.0, 1.0, count=9)])
    assert averaged["weight"].tolist() == [2.0, 2.5, -1.5]
    assert averaged["num_batches_tracked"].item() == 7


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_one_state_is_copied_bit_for_bit(dtype):
    own = state(0.1, float("1e-7"), 3.3, dtype=dtype)
    averaged = average_states([own])
    assert all(torch.equal(averaged[name], own[name]) for name in own)
    assert averaged["weight"].dtype is dtype
    averaged["weight"].zero_()
    assert own["weight"][2] != 0


def test_inputs_stay_as_they_are():
    first, second = state(1.0, dtype=torch.float64), state(2.0, dtype=torch.float64)
    average_states([first, second])
    assert (first["weight"].item(), second["weight"].item()) == (1.0, 2.0)


@pytest.mark.parametrize("other", [state(1.0, 2.0), {"other": torch.zeros(1)}])
def test_states_of_different_models_have_no_average(other):
    with pytest.raises(ValueError, match="different models"):
        average_states([state(1.0), other])


def test_outputs_of_the_head_change_places():
    weights = {
        "head.weight": torch.tensor([[1.0], [2.0], [3.0]]),
        "head.bias": torch.tensor([4.0, 5.0, 6.0]),
        "backbone.a": torch.zeros(3),
    }
    moved = permute_head(weights, [2, 0, 1])
    assert moved["head.weight"].flatten().tolist() == [3.0, 1.0, 2.0]
    assert moved["head.bias"].tolist() == [6.0, 4.0, 5.0]
    assert moved["backbone.a"] is weights["backbone.a"]


def test_batch_norm_gets_the_mean_statistics_of_the_batches_and_all_else_stays():
    model = nn.Sequential(nn.BatchNorm2d(3), nn.Dropout(0.5)).train()
    layer = batch_norms(model)[0]
    layer.num_batches_tracked.fill_(5)
    layer.running_mean.fill_(100.0)
    layer.eval()
    batches = [torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(n)) * (n + 1) for n in range(3)]
    estimate_batch_norm(model, batches, torch.device("cpu"), torch.channels_last)
    means = torch.stack([batch.mean(dim=(0, 2, 3)) for batch in batches]).mean(dim=0)
    variances = torch.stack([batch.var(dim=(0, 2, 3)) for batch in batches]).mean(dim=0)
    torch.testing.assert_close(layer.running_mean, means)
    torch.testing.assert_close(layer.running_var, variances)
    assert (layer.momentum, layer.num_batches_tracked.item(), layer.training) == (0.1, 5, False)
    assert model.training
    assert model[1].training


def test_a_model_without_batch_norm_is_not_run():
    estimate_batch_norm(nn.LayerNorm(4), iter(lambda: 1 / 0, None), torch.device("cpu"), torch.contiguous_format)


def test_statistics_of_one_frozen_backbone_do_not_differ():
    """Of linear probes only the head differs; statistics estimated anew would change the features it was fit to."""
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 2))
    first = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    probe = {**first, "3.weight": first["3.weight"] + 1}
    tuned = {**first, "1.running_var": first["1.running_var"] * 2}
    assert not statistics_differ([first, probe])
    assert statistics_differ([first, probe, tuned])
