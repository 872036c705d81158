"""Loading: the same batches for any number of workers; oversampling, the last partial batch, vanished pictures."""

import multiprocessing
import os
import resource
import signal
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from flowerml.data.decode import read_image
from flowerml.data.loader import Example, collate, evaluation_loader, training_loader
from flowerml.data.transforms import EvaluationTransform, InputDescription, TrainingTransform
from flowerml.errors import RunFailed
from flowerml.process.allocator import keep_freed_memory
from flowerml.process.exit import release_frames
from tests.data.pictures import put_scene
from tests.tracking.faulty_server import wait_for

DESCRIPTION = InputDescription(
    size=16, mean=(0.5, 0.4, 0.3), std=(0.2, 0.25, 0.3), interpolation="bicubic", crop_pct=0.875
)
AUGMENT = TrainingTransform(DESCRIPTION, randaugment=9, random_erasing=0.5)
COUNT = 11


def example(root, number):
    path = root / f"{number:02d}.jpg"
    return Example(f"c{number % 3}/{path.name}", number % 3, partial(read_image, path))


@pytest.fixture(scope="module")
def examples(tmp_path_factory):
    root = tmp_path_factory.mktemp("pictures")
    for number in range(COUNT):
        put_scene(root / f"{number:02d}.jpg", number)
    return [example(root, number) for number in range(COUNT)]


def loader(examples, workers=0, seed=0, batch_size=4, **options):
    return training_loader(examples, AUGMENT, batch_size=batch_size, workers=workers, seed=seed, **options)


def by_id(batches):
    """Every view of each id, in the order they came."""
    views = {}
    for inputs, _, ids in batches:
        for view, name in zip(inputs, ids, strict=True):
            views.setdefault(name, []).append(view)
    return views


def order_of(batches):
    return [name for _, _, ids in batches for name in ids]


def test_workers_do_not_change_a_bit_over_two_epochs(examples):
    """As torch seeds its workers itself, draws that were not keyed would differ."""
    repeats = [1, 3, *[1] * (COUNT - 2)]
    torch.manual_seed(1)
    alone = loader(examples, 0, repeats=repeats)
    expected = [list(alone.epoch(number)) for number in (1, 2)]
    torch.manual_seed(2)
    helped = loader(examples, 2, repeats=repeats)
    found = [list(helped.epoch(number)) for number in (1, 2)]
    for one, other in zip(expected[0] + expected[1], found[0] + found[1], strict=True):
        assert torch.equal(one[0], other[0])
        assert torch.equal(one[1], other[1])
        assert one[2] == other[2]


def test_evaluation_is_the_same_with_workers(examples):
    first, second = (
        list(evaluation_loader(examples, EvaluationTransform(DESCRIPTION), batch_size=4, workers=workers).epoch(1))
        for workers in (0, 1)
    )
    assert all(torch.equal(one[0], other[0]) and one[2] == other[2] for one, other in zip(first, second, strict=True))


def test_epoch_two_is_the_same_without_epoch_one(examples):
    """What a resumed run asks for."""
    whole = loader(examples)
    list(whole.epoch(1))
    after, resumed = list(whole.epoch(2)), list(loader(examples).epoch(2))
    assert order_of(after) == order_of(resumed)
    assert all(torch.equal(one[0], other[0]) for one, other in zip(after, resumed, strict=True))


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("skip", [0, 1, 2, 3])
def test_the_rest_of_an_epoch_is_the_same_without_its_beginning(examples, workers, skip):
    """Three batches; what is left out is not read, and the next epoch is whole again."""
    whole, rest = loader(examples), loader(examples, workers)
    for number, skipped in ((1, skip), (2, 0)):
        expected, found = list(whole.epoch(number))[skipped:], list(rest.epoch(number, skipped))
        assert order_of(found) == order_of(expected)
        assert all(torch.equal(one[0], other[0]) for one, other in zip(expected, found, strict=True))


def test_order_and_views_differ_by_epoch_and_by_seed(examples):
    """Seed 0 is a seed like any other, and not the same as none."""
    epochs = {(seed, number): list(loader(examples, seed=seed).epoch(number)) for seed in (0, 1) for number in (1, 2)}
    again = list(loader(examples, seed=0).epoch(1))
    assert order_of(again) == order_of(epochs[0, 1])
    assert torch.equal(again[0][0], epochs[0, 1][0][0])
    assert len({tuple(order_of(batches)) for batches in epochs.values()}) == 4
    for name in (example.id for example in examples):
        views = [by_id(batches)[name][0] for batches in epochs.values()]
        assert len({view.numpy().tobytes() for view in views}) == 4, name


def test_a_view_hangs_on_the_picture_not_on_its_place(examples):
    """With other pictures beside it, in another order and other batches, a picture is augmented just the same."""
    all_views = by_id(loader(examples, seed=3).epoch(2))
    few = by_id(loader(examples[:4:-1], seed=3, batch_size=3).epoch(2))
    assert len(few) == COUNT - 5
    assert all(torch.equal(views[0], all_views[name][0]) for name, views in few.items())


@pytest.mark.parametrize(
    ("count", "batch_size", "sizes"), [(11, 4, [4, 4, 3]), (8, 4, [4, 4]), (5, 8, [5]), (4, 3, [3, 1])]
)
def test_the_last_partial_batch_is_used(examples, count, batch_size, sizes):
    for some in (
        loader(examples[:count], batch_size=batch_size),
        evaluation_loader(examples[:count], AUGMENT, batch_size=batch_size, workers=0),
    ):
        batches = list(some.epoch(1))
        assert [len(ids) for _, _, ids in batches] == sizes
        assert len(some) == len(sizes)
        assert sorted(order_of(batches)) == sorted(example.id for example in examples[:count])


@pytest.mark.parametrize("workers", [0, 1])
def test_a_last_batch_of_one_joins_the_one_before_where_the_model_needs_two(examples, workers):
    """In the same order, and a resumed epoch has the same rest."""
    plain = list(loader(examples[:10], batch_size=3).epoch(2))
    joined = loader(examples[:10], workers, batch_size=3, smallest_batch=2)
    batches = list(joined.epoch(2))
    assert [len(ids) for _, _, ids in plain] == [3, 3, 3, 1]
    assert [len(ids) for _, _, ids in batches] == [3, 3, 4]
    assert len(joined) == 3
    assert torch.equal(torch.cat([inputs for inputs, _, _ in batches]), torch.cat([inputs for inputs, _, _ in plain]))
    for skip in range(4):
        assert order_of(joined.epoch(2, skip)) == order_of(batches[skip:])


@pytest.mark.parametrize(("count", "sizes"), [(11, [3, 3, 3, 2]), (9, [3, 3, 3]), (1, [1])])
def test_other_last_batches_stay(examples, count, sizes):
    batches = loader(examples[:count], batch_size=3, smallest_batch=2).epoch(1)
    assert [len(ids) for _, _, ids in batches] == sizes


def test_labels_and_ids_go_with_their_pictures(examples):
    plain = EvaluationTransform(DESCRIPTION)
    expected = {example.id: (example.label, plain(example.read())) for example in examples}
    batches = list(training_loader(examples, plain, batch_size=4, workers=0, seed=5).epoch(1))
    assert order_of(batches) != [example.id for example in examples]
    for inputs, labels, ids in batches:
        assert inputs.dtype == torch.float32
        assert labels.dtype == torch.int64
        for view, label, name in zip(inputs, labels.tolist(), ids, strict=True):
            assert label == expected[name][0]
            assert torch.equal(view, expected[name][1])


def test_repeats_give_different_views_of_the_same_picture(examples):
    repeats = [3, 1, 2, *[1] * (COUNT - 3)]
    oversampled = loader(examples, repeats=repeats)
    batches = list(oversampled.epoch(1))
    views = by_id(batches)
    assert {example.id: len(views[example.id]) for example in examples} == {
        example.id: times for example, times in zip(examples, repeats, strict=True)
    }
    assert len(oversampled) == 4
    assert len({view.numpy().tobytes() for view in views[examples[0].id]}) == 3
    assert order_of(batches) != sorted(order_of(batches)), "repeats are shuffled among the others"
    plain = by_id(loader(examples).epoch(1))
    assert any(torch.equal(plain[examples[0].id][0], view) for view in views[examples[0].id]), (
        "the first view is the one without repeats"
    )


def test_evaluation_keeps_the_order_and_every_epoch_is_alike(examples):
    evaluation = evaluation_loader(examples, EvaluationTransform(DESCRIPTION), batch_size=4, workers=0)
    first, second = (list(evaluation.epoch(number)) for number in (1, 2))
    assert order_of(first) == [example.id for example in examples]
    assert all(torch.equal(one[0], other[0]) for one, other in zip(first, second, strict=True))


@pytest.mark.parametrize("workers", [0, 1])
def test_loading_leaves_the_global_draws_alone(examples, workers):
    torch.manual_seed(9)
    before = torch.get_rng_state()
    training = loader(examples[:4], workers)
    for number in (1, 2):
        list(training.epoch(number))
    list(evaluation_loader(examples[:2], EvaluationTransform(DESCRIPTION), batch_size=2, workers=0).epoch(1))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("how", ["gone", "page"])
def test_a_picture_that_vanishes_fails_the_run_by_name(tmp_path, workers, how):
    for number in range(4):
        put_scene(tmp_path / f"{number:02d}.jpg", number)
    some = [example(tmp_path, number) for number in range(4)]
    victim = tmp_path / "02.jpg"
    if how == "gone":
        victim.unlink()
    else:
        victim.write_bytes(b"<html>quota exceeded</html>")
    with pytest.raises(RunFailed) as caught:
        list(loader(some, workers).epoch(1))
    reason = {"gone": "No such file or directory", "page": "web page"}[how]
    message = str(caught.value)
    assert message.startswith("a picture can't be read any more: ")
    assert "c2/02.jpg" in message
    assert reason in message
    assert "\n" not in message
    assert "Traceback" not in message
    assert caught.value.exit_code == 1
    release_frames(caught.value)  # as a command does: a collection that finds the loader waits for its processes


@pytest.mark.parametrize("workers", [0, 1])
def test_a_picture_with_an_odd_name_is_named_too(tmp_path, workers):
    odd = Example("rose/two\nlines.jpg", 0, partial(read_image, tmp_path / "nothing.jpg"))
    with pytest.raises(RunFailed) as caught:
        list(loader([odd], workers).epoch(1))
    assert "rose/two" in str(caught.value)
    assert "lines.jpg" in str(caught.value)
    release_frames(caught.value)


def test_other_errors_are_not_taken_for_vanished_pictures():
    def broken():
        raise ZeroDivisionError("a fault of ours")

    with pytest.raises(ZeroDivisionError):
        list(loader([Example("a/1", 0, broken)]).epoch(1))


def test_collate_stacks():
    inputs, labels, ids = collate([(torch.ones(2), 1, "a"), (torch.zeros(2), 0, "b")])
    assert inputs.tolist() == [[1, 1], [0, 0]]
    assert labels.tolist() == [1, 0]
    assert ids == ["a", "b"]
    assert np.asarray(labels).dtype == np.int64


def test_a_worker_outlives_a_signal_to_the_whole_group_for_a_while(examples):
    """One that died of it would raise an error wherever the training is at that moment: within a step, or while it
    cleans up.
    """
    before = set(multiprocessing.active_children())
    found = loader(examples, workers=1, batch_size=1)
    batches = found.epoch(1)
    seen = [next(batches)]
    (worker,) = set(multiprocessing.active_children()) - before
    os.kill(worker.pid, signal.SIGTERM)
    seen += list(batches)
    assert len(seen) == COUNT
    assert worker.is_alive()


def resident_mb(pid):
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * resource.getpagesize() / 2**20


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_worker_process_holds_no_memory_that_was_freed_before_its_start(examples):
    """It is forked: pages that stay with it are copied when the training writes them, in its next step."""
    keep_freed_memory()
    freed_mb = 400
    block = np.ones(freed_mb * 2**20, dtype=np.uint8)
    held = resident_mb("self")
    del block
    before = set(multiprocessing.active_children())
    found = evaluation_loader(examples, EvaluationTransform(DESCRIPTION), batch_size=4, workers=1)
    found.start_workers()
    (worker,) = set(multiprocessing.active_children()) - before
    assert resident_mb(worker.pid) < held - 0.9 * freed_mb


def test_workers_that_were_started_early_give_the_same_batches(examples):
    early, late = loader(examples, workers=1), loader(examples)
    before = set(multiprocessing.active_children())
    early.start_workers()
    started = set(multiprocessing.active_children()) - before
    assert len(started) == 1
    for number in (1, 2):
        for got, expected in zip(early.epoch(number), late.epoch(number), strict=True):
            assert torch.equal(got[0], expected[0])
            assert got[2] == expected[2]
    assert set(multiprocessing.active_children()) - before == started


def assert_equal(batches, expected):
    for got, wanted in zip(batches, expected, strict=True):
        assert torch.equal(got[0], wanted[0])
        assert got[2] == wanted[2]


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_an_epoch_that_was_begun_early_has_the_same_batches(examples, workers):
    found, expected = loader(examples, workers), loader(examples)
    found.prefetch(1)
    assert_equal(found.epoch(1), expected.epoch(1))
    found.prefetch(2)
    assert_equal(found.epoch(3), expected.epoch(3))
    found.prefetch(4)
    assert_equal(found.epoch(4, skip=1), expected.epoch(4, skip=1))
    found.prefetch(5)
    assert_equal(found.epoch(5), expected.epoch(5))
    assert_equal(found.epoch(5), expected.epoch(5))


def read_marked(root, number):
    """A picture that leaves a file when it is read."""
    (root / str(number)).touch()
    return torch.zeros(3, 4, 4)


@pytest.mark.parametrize(("workers", "ahead"), [(0, 0), (1, 2)])
def test_pictures_of_an_epoch_that_was_begun_are_read_before_they_are_asked_for(tmp_path, workers, ahead):
    marked = [Example(str(number), 0, partial(read_marked, tmp_path, number)) for number in range(COUNT)]
    found = training_loader(marked, lambda raw: raw, batch_size=3, workers=workers, seed=0)
    assert found.batches_ahead == ahead
    found.prefetch(1)
    wait_for(lambda: len(list(tmp_path.iterdir())) >= 3 * ahead)
    assert len(list(tmp_path.iterdir())) == 3 * ahead


def test_workers_that_have_begun_an_epoch_end_with_the_loader(examples):
    before = set(multiprocessing.active_children())
    found = loader(examples, workers=1)
    found.prefetch(1)
    found.end_workers()
    assert set(multiprocessing.active_children()) == before
    assert list(found.epoch(1)) == []
