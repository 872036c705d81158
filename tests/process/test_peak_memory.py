"""The peak of a run's memory is its own, not that of an earlier one in the same process."""

import sys

import pytest
import torch

from flowerml.process.peak_memory import PeakMemory

CPU = torch.device("cpu")


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_the_peak_is_of_what_was_taken_since():
    first = PeakMemory(CPU)
    block = bytearray(b"1") * (first._before + 300_000_000)
    del block
    high = first.read()["peak_memory_mb"]
    assert high > (first._before + 300_000_000) / 1e6
    # A kernel that resets the peak tells a smaller one; any other can tell none.
    assert PeakMemory(CPU).read().get("peak_memory_mb", 0.0) < high - 200
