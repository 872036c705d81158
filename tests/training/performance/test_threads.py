"""Threads of a training step on a CPU: small steps take one, so that nobody waits for the others to wake."""

from collections.abc import Iterator

import pytest
import torch

from flowerml.training.device import threads_for_steps


@pytest.fixture(autouse=True)
def three_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize(("device", "multiply_adds", "inside"), [("cpu", 10**6, 1), ("cpu", 10**9, 3), ("cuda", 10, 3)])
def test_small_steps_have_one_thread_and_what_follows_has_all(device, multiply_adds, inside):
    with threads_for_steps(torch.device(device), multiply_adds):
        assert torch.get_num_threads() == inside
    assert torch.get_num_threads() == 3


def test_an_error_inside_restores_them():
    with pytest.raises(ZeroDivisionError), threads_for_steps(torch.device("cpu"), 1):
        raise ZeroDivisionError
    assert torch.get_num_threads() == 3
