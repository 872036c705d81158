"""Mixup and cutmix: seeded draws, soft targets that match the images, and no change when both are off."""

import pytest
import torch

from flowerml.training.mixup import Mixer

COUNT = 6


def batch() -> tuple[torch.Tensor, torch.Tensor]:
    """Each image has a class of its own, and its pixel values tell which image they are from."""
    inputs = torch.arange(COUNT, dtype=torch.float32).reshape(-1, 1, 1, 1) * 100 + torch.rand(COUNT, 3, 16, 16)
    return inputs, torch.arange(COUNT)


def test_without_mixing_the_same_objects_are_returned():
    inputs, labels = batch()
    mixed, targets = Mixer(0.0, 0.0, COUNT)(inputs, labels, 1, 1, 0)
    assert mixed is inputs
    assert targets is labels


@pytest.mark.parametrize(("mixup", "cutmix"), [(0.2, 0.0), (0.0, 1.0), (0.2, 1.0)])
def test_the_same_key_gives_the_same_mix_whatever_the_generator_state(mixup, cutmix):
    inputs, labels = batch()
    results = []
    for before in (1, 2):
        torch.manual_seed(before)
        results.append(Mixer(mixup, cutmix, COUNT)(inputs, labels, 11, 3, 5))
    assert torch.equal(results[0][0], results[1][0])
    assert torch.equal(results[0][1], results[1][1])


@pytest.mark.parametrize("other", [(12, 3, 5), (11, 4, 5), (11, 3, 6), (0, 3, 5)])
def test_another_seed_epoch_or_step_gives_another_mix(other):
    inputs, labels = batch()
    mixer = Mixer(1.0, 0.0, COUNT)
    assert not torch.equal(mixer(inputs, labels, 11, 3, 5)[1], mixer(inputs, labels, *other)[1])


def test_mixing_does_not_advance_the_global_generator():
    inputs, labels = batch()
    torch.manual_seed(4)
    before = torch.random.get_rng_state()
    Mixer(0.2, 1.0, COUNT)(inputs, labels, 1, 2, 3)
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize(("mixup", "cutmix"), [(0.2, 0.0), (0.0, 1.0), (0.2, 1.0)])
def test_soft_targets_sum_to_one(mixup, cutmix):
    inputs, labels = batch()
    for step in range(20):
        mixed, targets = Mixer(mixup, cutmix, COUNT)(inputs, labels, 1, 1, step)
        assert mixed.shape == inputs.shape
        assert targets.shape == (COUNT, COUNT)
        assert targets.min() >= 0
        assert torch.allclose(targets.sum(1), torch.ones(COUNT))


def test_mixup_weights_equal_the_soft_targets():
    inputs, labels = batch()
    mixed, targets = Mixer(1.0, 0.0, COUNT)(inputs, labels, 1, 1, 0)
    assert torch.allclose(mixed, torch.einsum("ij,jchw->ichw", targets, inputs), rtol=1e-4)
    assert ((targets > 0).sum(1) == 2).all()  # a partner, not itself


def test_cutmix_areas_equal_the_soft_targets():
    inputs, labels = batch()
    mixed, targets = Mixer(0.0, 1.0, COUNT)(inputs, labels, 1, 1, 0)
    source = mixed[:, 0].div(100, rounding_mode="floor").long()
    for row in range(COUNT):
        shares = torch.bincount(source[row].flatten(), minlength=COUNT) / (16 * 16)
        assert torch.allclose(shares, targets[row], atol=1e-4)
    assert all(
        torch.equal(mixed[row], inputs[source[row], :, torch.arange(16)[:, None], torch.arange(16)].permute(2, 0, 1))
        for row in range(COUNT)
    )


def test_with_both_on_each_batch_draws_one_at_50_percent():
    inputs, labels = batch()
    mixer = Mixer(1.0, 1.0, COUNT)
    blended = 0
    for step in range(200):
        mixed, _ = mixer(inputs, labels, 1, 1, step)
        blended += not torch.isin(mixed, inputs).all()
    assert 70 < blended < 130


def test_a_batch_of_one_image_is_unchanged():
    inputs, labels = torch.rand(1, 3, 16, 16), torch.tensor([2])
    mixed, targets = Mixer(0.2, 1.0, COUNT)(inputs, labels, 1, 1, 0)
    assert torch.allclose(mixed, inputs)
    assert torch.allclose(targets, torch.eye(COUNT)[[2]])


def test_features_are_mixed_as_images_are():
    features = torch.arange(COUNT, dtype=torch.float32)[:, None].repeat(1, 4)
    labels = torch.arange(COUNT)
    mixer = Mixer(0.4, 0.0, COUNT)
    mixed, targets = mixer(features, labels, 11, 3, 5)
    images, same_targets = mixer(features[..., None, None], labels, 11, 3, 5)
    assert torch.equal(mixed, images[..., 0, 0])
    assert torch.equal(targets, same_targets)
    assert torch.allclose(mixed[:, 0], targets @ torch.arange(COUNT, dtype=torch.float32))
