"""Inputs of one tensor or of several: moved, cut and stacked alike."""

import pytest
import torch

from flowerml.data.inputs import (
    Relabelled,
    batch_size_of,
    chunk,
    part_sizes,
    stack,
    tensors_of,
    to_device,
    to_memory_format,
)
from flowerml.data.loader import Example, evaluation_loader

ONE = torch.arange(5.0)[:, None]
SEVERAL = (torch.arange(5.0)[:, None], torch.arange(10.0).view(5, 2))


@pytest.mark.parametrize("batch", [ONE, SEVERAL], ids=["one", "several"])
def test_concatenated_chunks_are_the_batch(batch):
    for parts in (1, 2, 3, 5, 8):
        cut = chunk(batch, parts)
        assert sum(map(batch_size_of, cut)) == batch_size_of(batch) == 5
        for place, whole in enumerate(tensors_of(batch)):
            assert torch.equal(torch.cat([tensors_of(part)[place] for part in cut]), whole)


def test_several_tensors_are_cut_at_the_same_places_as_their_targets():
    for parts in range(1, 8):
        assert [batch_size_of(part) for part in chunk(SEVERAL, parts)] == [
            len(part) for part in torch.arange(5).chunk(parts)
        ]


def test_stacked_rows_are_a_batch_of_the_same_structure():
    rows = [(torch.tensor([float(n)]), torch.tensor([2.0 * n, 2.0 * n + 1])) for n in range(5)]
    for stacked, expected in zip(stack(rows), SEVERAL, strict=True):
        assert torch.equal(stacked, expected)
    assert torch.equal(stack([row[0] for row in rows]), ONE)


def test_only_pictures_are_laid_out_channels_last():
    pictures, numbers = torch.zeros(2, 3, 4, 4), torch.zeros(2, 8)
    converted = to_memory_format(to_device((pictures, numbers), torch.device("cpu")), torch.channels_last)
    assert converted[0].is_contiguous(memory_format=torch.channels_last)
    assert not converted[0].is_contiguous()
    assert converted[1].is_contiguous()


def test_a_view_may_belong_to_another_class_than_its_example():
    examples = [Example(str(n), n, lambda n=n: torch.tensor([float(n)])) for n in range(3)]
    loader = evaluation_loader(examples, lambda raw: Relabelled((raw, -raw), 2 - int(raw)), batch_size=3, workers=0)
    ((inputs, labels, ids),) = loader.epoch(1)
    assert labels.tolist() == [2, 1, 0]
    assert ids == ["0", "1", "2"]
    assert [part.flatten().tolist() for part in inputs] == [[0, 1, 2], [0, -1, -2]]


@pytest.mark.parametrize("smallest", [1, 2])
def test_no_part_is_below_the_smallest(smallest):
    for count in range(1, 12):
        for parts in range(1, 14):
            sizes = part_sizes(count, parts, smallest)
            assert sum(sizes) == count
            assert len(sizes) <= parts
            assert min(sizes) >= min(smallest, count)
            if smallest == 1:
                assert sizes == [len(part) for part in torch.arange(count).chunk(parts)]


def test_a_part_of_one_joins_the_one_before():
    assert part_sizes(7, 3, 2) == [3, 4]
    assert part_sizes(8, 8, 2) == [2, 2, 2, 2]
