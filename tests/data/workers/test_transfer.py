"""Hand-over of batches: what shared memory can't take comes through a pipe, and is the same."""

import resource

import pytest
import torch

from flowerml.data.loader import Example, evaluation_loader
from flowerml.data.workers import transfer
from flowerml.data.workers.transfer import SHARED_MEMORY, has_room, share


@pytest.fixture(autouse=True)
def _warn_anew():
    transfer._warned.clear()


def no_shared_memory(raw):
    """A transform that takes a worker process's shared memory away: no file may grow there, as on a full /dev/shm."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
    return raw


def two_inputs(raw):
    return raw, raw[0]


def two_inputs_without_shared_memory(raw):
    return two_inputs(no_shared_memory(raw))


def batches(transform, workers):
    def read(number):
        return torch.full((3, 4, 4), float(number))

    examples = [Example(str(number), number % 3, lambda number=number: read(number)) for number in range(7)]
    return list(evaluation_loader(examples, transform, batch_size=3, workers=workers).epoch(1))


@pytest.mark.parametrize(
    ("plain", "limited"), [(lambda raw: raw, no_shared_memory), (two_inputs, two_inputs_without_shared_memory)]
)
def test_without_shared_memory_the_batches_are_the_same_and_one_line_says_so(plain, limited, capsys):
    expected, found = batches(plain, 0), batches(limited, 2)
    for (inputs, labels, ids), (others, other_labels, other_ids) in zip(expected, found, strict=True):
        torch.testing.assert_close(others, inputs, rtol=0, atol=0)
        assert torch.equal(labels, other_labels)
        assert ids == other_ids
    (line,) = capsys.readouterr().err.splitlines()
    assert all(words in line for words in ("shared memory (/dev/shm)", "--shm-size", "--batch-size", "--workers 0"))


def test_with_room_nothing_is_said(capsys):
    batches(lambda raw: raw, 1)
    assert capsys.readouterr().err == ""


def test_room_is_looked_at_before_it_is_taken():
    assert has_room(0, SHARED_MEMORY)
    assert not has_room(2**60, SHARED_MEMORY)
    assert has_room(2**60, "/no/such/folder"), "where it can't be asked, it is tried"


def test_what_does_not_fit_is_not_begun(monkeypatch):
    monkeypatch.setattr(transfer, "_RESERVE", 2**60)
    batch = share(torch.ones(2, 3), torch.tensor([0, 1]), ["a", "b"])
    assert batch.piped_because.startswith("no room for batches of")
    inputs, labels, ids = batch.restore()
    assert torch.equal(inputs, torch.ones(2, 3))
    assert labels.tolist() == [0, 1]
    assert ids == ["a", "b"]
