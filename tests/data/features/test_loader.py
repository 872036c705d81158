"""Batches of features: those of the images' loader, with the view that is the epoch's turn."""

from functools import partial

import pytest
import torch

from flowerml.data.features.loader import feature_training_loader, view_training_loader
from flowerml.data.loader import Example, training_loader

REPEATS = [1, 3, 1, 2, 1]
STARTS = [0, 1, 4, 5, 7]  # rows of the first repeats


def number_of(row):
    return torch.tensor([float(row)])


@pytest.fixture
def examples():
    return [Example(f"picture-{row}", row % 2, partial(number_of, row)) for row in range(len(REPEATS))]


@pytest.fixture
def images(examples):
    return training_loader(
        examples, lambda raw: raw, batch_size=3, workers=0, seed=4, repeats=REPEATS, smallest_batch=3
    )


def test_epoch_e_has_view_e_minus_1_mod_k_in_the_order_of_the_images(examples, images):
    rows = sum(REPEATS)
    views = [torch.arange(rows)[:, None] + 100 * view for view in (1, 2)]
    loader = view_training_loader(views, examples, repeats=REPEATS, images=images)
    assert (len(loader), loader.smallest_batch) == (len(images), 3)
    for epoch, view in ((1, 1), (2, 2), (3, 1), (4, 2)):
        on_images, on_features = list(images.epoch(epoch)), list(loader.epoch(epoch))
        assert [ids for *_, ids in on_features] == [ids for *_, ids in on_images]
        for (pictures, expected, _), (features, labels, _) in zip(on_images, on_features, strict=True):
            assert torch.equal(labels, expected)
            starts = [100 * view + STARTS[int(row)] for row in pictures]
            assert all(
                0 <= row - start < REPEATS[int(picture)]
                for row, start, picture in zip(features, starts, pictures, strict=True)
            )
        seen = torch.cat([features for features, *_ in on_features]).flatten()
        assert sorted(seen.tolist()) == [100 * view + row for row in range(rows)]


def test_batches_before_a_resumed_step_are_left_out(examples, images):
    loader = view_training_loader([torch.rand(sum(REPEATS), 2)], examples, repeats=REPEATS, images=images)
    whole, rest = list(loader.epoch(3)), list(loader.epoch(3, skip=1))
    assert [ids for *_, ids in rest] == [ids for *_, ids in whole[1:]]
    assert all(torch.equal(one[0], other[0]) for one, other in zip(rest, whole[1:], strict=True))


def test_repeats_of_a_linear_probe_share_one_view(examples):
    features = torch.arange(len(REPEATS))[:, None]
    loader = feature_training_loader(features, examples, batch_size=4, seed=1, repeats=REPEATS)
    seen = torch.cat([batch for batch, *_ in loader.epoch(2)]).flatten().tolist()
    assert sorted(seen) == [row for row, count in enumerate(REPEATS) for _ in range(count)]
