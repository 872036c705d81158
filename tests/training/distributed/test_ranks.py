"""Rule: two processes that train together are one training: same weights and figures, on every rank, also resumed."""

import os
import subprocess
import sys

import pytest
import torch

from flowerml.data.loader import EpochSampler, Share
from flowerml.training.distributed.ranks import SINGLE
from tests.training.conftest import same_weights
from tests.training.distributed.rank_process import CASES, NORMALIZED, RANDOM, run_case

pytestmark = pytest.mark.slow

WORLD = 2
ALIKE = [case for case in CASES if case not in (RANDOM, NORMALIZED)]


@pytest.fixture(scope="module")
def ranks(tmp_path_factory):
    """What each of two processes got, case by case."""
    folder = tmp_path_factory.mktemp("ranks")
    environment = {**os.environ, "GLOO_SOCKET_IFNAME": "lo"}
    command = [sys.executable, "-m", "tests.training.distributed.rank_process"]
    started = [
        subprocess.Popen([*command, str(rank), str(WORLD), str(folder)], env=environment, stderr=subprocess.PIPE)
        for rank in range(WORLD)
    ]
    try:
        for process in started:
            _, errors = process.communicate(timeout=300)
            assert process.returncode == 0, errors.decode()[-3000:]
    finally:
        for process in started:
            process.kill()
    return [torch.load(folder / f"rank{rank}.pt", weights_only=False) for rank in range(WORLD)]


@pytest.fixture(scope="module", params=ALIKE)
def pair(request, ranks):
    """A case in one process, and the same of rank 0 of two."""
    return run_case(request.param, SINGLE), ranks[0][request.param]


def test_two_processes_equal_one(pair):
    one, two = pair
    assert one["steps"] >= 6
    difference = max((two["weights"][name] - tensor).abs().max().item() for name, tensor in one["weights"].items())
    assert difference < 1e-5
    for mine, theirs in zip(one["metrics"], two["metrics"], strict=True):
        assert theirs == pytest.approx(mine, rel=1e-4, abs=1e-5)


def test_every_validation_picture_counts_once_and_in_its_order(pair):
    one, two = pair
    assert (two["ids"], two["best"], two["stop_cause"]) == (one["ids"], one["best"], one["stop_cause"])
    assert torch.allclose(two["logits"], one["logits"], atol=1e-5)


@pytest.mark.parametrize("case", CASES)
def test_all_ranks_end_with_the_same_weights_and_figures(ranks, case):
    first, second = (rank[case] for rank in ranks)
    if case != NORMALIZED:  # whose last step's statistics are rank 0's in its files, and in the next step
        assert same_weights(first["weights"], second["weights"])
    assert first["metrics"] == second["metrics"]
    assert torch.equal(first["logits"], second["logits"])


@pytest.mark.parametrize("case", [RANDOM, NORMALIZED])
def test_one_rank_that_is_stopped_stops_all_at_the_same_step_and_resumed_is_uninterrupted(ranks, case):
    first, second = (rank["resumed"][case] for rank in ranks)
    assert (first["reason"], second["reason"]) == ("another process of this training was stopped", "test")
    assert first["at"] == second["at"] == (1, 1)
    assert same_weights(first["weights"], ranks[0][case]["weights"])
    assert first["metrics"] == ranks[0][case]["metrics"]
    assert torch.equal(first["logits"], ranks[0][case]["logits"])


def test_the_first_rank_decides_how_much_fits_a_time_limit(ranks):
    first, second = (rank["limited"] for rank in ranks)
    assert first["length"] == second["length"]
    assert first["stop_cause"] == second["stop_cause"] == "all fitted steps done"
    assert 2 < len(first["metrics"]) < 40
    assert same_weights(first["weights"], second["weights"])
    assert first["metrics"] == second["metrics"]


@pytest.mark.parametrize("count", [2, 3, 7, 32])
@pytest.mark.parametrize("world", [1, 2, 3])
def test_shares_of_a_batch_are_all_of_it_in_order_and_differ_by_one_at_most(count, world):
    parts = [range(count)[Share(rank, world).of(count)] for rank in range(world)]
    assert [number for part in parts for number in part] == list(range(count))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_ranks_read_the_batches_of_a_single_process():
    def batches(share):
        sampler = EpochSampler([1] * 11, 5, 4, smallest=2, share=share)
        sampler.epoch = 3
        return list(sampler)

    together = [[*a, *b] for a, b in zip(batches(Share(0, 2)), batches(Share(1, 2)), strict=True)]
    assert together == batches(Share())
