"""Out of memory: the batch is split into smaller micro-batches with the same result, and a message says so."""

import subprocess
import sys
import textwrap
from functools import partial

import pytest
import torch
from torch import nn

from flowerml.data.loader import evaluation_loader
from flowerml.errors import RunFailed
from flowerml.evaluation.predict import predict_all
from flowerml.models.resources.memory import is_out_of_memory
from flowerml.training.losses import example_losses
from flowerml.training.train_step import TrainStep

CPU = (
    "[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to allocate 8"
    " bytes."
)
GPU = "CUDA out of memory. Tried to allocate 2.00 GiB."
ERRORS = [torch.OutOfMemoryError(GPU), RuntimeError(CPU), RuntimeError("std::bad_alloc"), MemoryError()]


class LimitedBackbone(nn.Module):
    """Raises as torch does for more than `capacity` images, after updating a buffer, as batch-norm does."""

    def __init__(self, inner: nn.Module, capacity: int, error: BaseException, fails_after: int = 0) -> None:
        super().__init__()
        self.inner, self.capacity, self.error, self.fails_after = inner, capacity, error, fails_after
        self.register_buffer("seen", torch.zeros(()))
        self.calls = 0

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        if self.training:
            self.seen += len(inputs)
        if len(inputs) > self.capacity and self.calls > self.fails_after:
            raise self.error
        return self.inner(inputs)


def with_limited_backbone(make_built, capacity: int, error: BaseException = ERRORS[0], fails_after: int = 0):
    built = make_built()
    built.model.backbone = LimitedBackbone(built.model.backbone, capacity, error, fails_after)
    built.layer_groups[0] = [f"inner.{name}" for name in built.layer_groups[0]]
    return built


@pytest.mark.parametrize("error", ERRORS, ids=["gpu", "cpu", "c++", "python"])
def test_every_out_of_memory_error_is_recognized(error):
    assert is_out_of_memory(error)


@pytest.mark.parametrize("error", [RuntimeError("shapes do not fit"), ValueError("out of memory"), KeyError("x")])
def test_other_errors_are_not_taken_for_out_of_memory(error):
    assert not is_out_of_memory(error)


@pytest.mark.slow
@pytest.mark.parametrize("error", ERRORS, ids=["gpu", "cpu", "c++", "python"])
def test_the_result_equals_that_of_a_run_with_enough_memory(toy, make_built, error):
    """The effective batch stays: same weights and history as without the shortage, up to the order of sums."""
    plenty = toy.run(built=with_limited_backbone(make_built, 1000), epochs=3, batch_size=8, ema=True)
    short = toy.run(built=with_limited_backbone(make_built, 2, error), epochs=3, batch_size=8, ema=True)
    for name, tensor in plenty.weights().items():
        assert torch.allclose(tensor, short.weights()[name], atol=1e-5), name
    for plain, other in zip(plenty.metrics(), short.metrics(), strict=True):
        assert other == pytest.approx(plain, rel=1e-4)


def test_each_halving_is_reported_once_with_sizes_and_step(toy, make_built):
    short = toy.run(built=with_limited_backbone(make_built, 2), epochs=2, batch_size=8)
    assert [words.split(" (")[0] for words in short.remarks] == [
        "memory ran out with 8 pictures at a time",
        "memory ran out with 4 pictures at a time",
    ]
    assert short.remarks[0].startswith("memory ran out with 8 pictures at a time (epoch 1, step 1, lr_head")
    assert short.remarks[1].endswith("going on with 2")


def test_buffers_are_restored_after_a_failed_attempt(toy, make_built):
    """27 pictures in 2 epochs are seen 54 times, however often a batch was tried."""
    short = toy.run(built=with_limited_backbone(make_built, 2), epochs=2, batch_size=8)
    assert short.built.model.backbone.seen.item() == 54


def test_a_failed_attempt_does_not_shift_random_draws(toy, make_built):
    """Dropout is keyed by step: an interrupted try that succeeds with parts of one gives what parts of one give from
    the start.
    """
    changes = {"epochs": 2, "batch_size": 8, "dropout": 0.5}
    short = toy.run(built=with_limited_backbone(make_built, 1), **changes)
    planned = toy.run(built=with_limited_backbone(make_built, 1), **changes, accumulate=8)
    assert planned.remarks == []
    assert short.metrics() == planned.metrics()


def test_running_out_in_mid_run_continues(toy, make_built):
    short = toy.run(built=with_limited_backbone(make_built, 4, fails_after=6), epochs=3, batch_size=8)
    assert len(short.remarks) == 1
    assert "epoch 1, step 4" in short.remarks[0] or "epoch 2" in short.remarks[0]
    assert len(short.rows) == 3


def test_no_memory_for_one_image_fails_with_a_remedy(toy, make_built):
    with pytest.raises(
        RunFailed, match=r"memory ran out with one picture at a time, at epoch 1, step 1.*--img-size"
    ) as caught:
        toy.run(built=with_limited_backbone(make_built, 0), epochs=1, batch_size=8)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("count", "sizes"), [(8, [8, 4, 2]), (7, [7, 4, 3]), (3, [3])])
def test_parts_are_halved_to_two_where_the_model_needs_two(count, sizes):
    """Then it fails with the remedy; it does not try one image, nor for ever."""
    model = nn.Sequential(LimitedBackbone(nn.Flatten(), 1, ERRORS[0]), nn.Linear(4, 3))
    optimizer, messages = torch.optim.SGD(model.parameters()), []
    step = TrainStep(
        model, optimizer, [], torch.device("cpu"), None, 1, 0.0, partial(example_losses), messages.append, smallest=2
    )
    with pytest.raises(RunFailed, match=f"memory ran out with {sizes[-1]} pictures, the fewest its BatchNorm"):
        step.step(torch.ones(count, 4), torch.zeros(count, dtype=torch.long), 1, "epoch 1")
    assert [int(words.split("going on with ")[1]) for words in messages] == sizes[1:]


def test_other_errors_of_the_model_are_raised(toy, make_built):
    with pytest.raises(RuntimeError, match="shapes do not fit"):
        toy.run(built=with_limited_backbone(make_built, 2, RuntimeError("shapes do not fit")), epochs=1)


@pytest.mark.parametrize("capacity", [5, 2, 1])
def test_evaluation_splits_batches_when_memory_runs_out(make_built, make_examples, capacity, capsys):
    def predicted(capacity: int):
        loader = evaluation_loader(make_examples(12), lambda raw: raw, batch_size=5, workers=0)
        model = with_limited_backbone(make_built, capacity).model
        return predict_all(model, loader.epoch(1), ("a", "b", "c"), torch.device("cpu"))

    whole, parts = predicted(1000), predicted(capacity)
    assert parts.ids == whole.ids
    assert parts.logits == pytest.approx(whole.logits, abs=1e-6)
    assert ("memory ran out: evaluating" in capsys.readouterr().err) == (capacity < 5)


def test_evaluation_without_memory_for_one_image_fails(make_built, make_examples):
    loader = evaluation_loader(make_examples(4), lambda raw: raw, batch_size=2, workers=0)
    with pytest.raises(RunFailed, match="one picture at a time"):
        predict_all(with_limited_backbone(make_built, 0).model, loader.epoch(1), ("a", "b", "c"), torch.device("cpu"))


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="limits a process's memory as Linux does")
def test_a_process_with_a_real_memory_limit_continues():
    """The address space is limited so that torch's own allocator fails on the whole batch, but not on parts of it."""
    program = """
        import resource
        from functools import partial
        import torch
        from torch import nn
        from flowerml.training.losses import example_losses
        from flowerml.training.train_step import TrainStep
        torch.set_num_threads(1)
        pool = nn.AdaptiveAvgPool2d(1)
        model = nn.Sequential(nn.Conv2d(3, 64, 3, padding=1), nn.ReLU(), pool, nn.Flatten(), nn.Linear(64, 3))
        messages = []
        optimizer = torch.optim.SGD(model.parameters(), 0.01)
        losses = partial(example_losses, smoothing=0.0)
        weights, cpu = list(model.parameters()), torch.device("cpu")
        train_step = TrainStep(model, optimizer, weights, cpu, None, 1, 0.0, losses, messages.append)
        train_step.step(torch.randn(2, 3, 32, 32), torch.tensor([0, 1]), 0, "warm-up")  # libraries load what they need
        inputs, labels = torch.randn(32, 3, 256, 256), torch.arange(32) % 3
        used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
        # The whole batch needs 512 MiB a layer, several of them.
        resource.setrlimit(resource.RLIMIT_AS, (used + 700 * 2**20,) * 2)
        loss, _ = train_step.step(inputs, labels, 0, "epoch 1, step 1, pictures x")
        print(loss, train_step.accumulate, *messages, sep="\\n")
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    loss, parts, *messages = done.stdout.splitlines()
    assert 0.5 < float(loss) < 2
    assert int(parts) > 1
    assert messages[0].startswith("memory ran out with 32 pictures at a time (epoch 1, step 1)")
