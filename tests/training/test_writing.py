"""Files that are written beside the training: in order, not after one that failed, and none forgotten."""

import signal
import threading

import pytest

from flowerml.errors import UserError
from flowerml.training.callbacks import Stopped
from flowerml.training.checkpoints.async_writer import async_writer


@pytest.fixture
def done():
    return []


def fails():
    raise UserError("no space left")


def test_in_the_order_of_asking_and_all_by_the_end(done):
    with async_writer() as writes:
        for number in range(10):
            writes.submit(
                lambda number=number: done.append((number, threading.current_thread() is threading.main_thread()))
            )
    assert done == [(number, False) for number in range(10)]


def test_the_training_goes_on_beside_it_and_waits_where_two_are_under_way(done):
    go_on = threading.Event()
    with async_writer() as writes:
        for _ in range(2):
            writes.submit(lambda: go_on.wait(30))
        assert done == []
        third = threading.Thread(target=lambda: (writes.submit(lambda: done.append("third")), done.append("asked")))
        third.start()
        third.join(0.1)
        assert third.is_alive()
        go_on.set()
        third.join(30)
    assert sorted(done) == ["asked", "third"]


def test_an_error_is_raised_in_the_training_and_nothing_is_written_after_it(done):
    def four():
        with async_writer() as writes:
            writes.submit(fails)
            for _ in range(3):
                writes.submit(lambda: done.append("later"))

    with pytest.raises(UserError, match="no space left"):
        four()
    assert done == []


def test_an_error_in_the_last_file_is_not_lost():
    with pytest.raises(UserError, match="no space left"), async_writer() as writes:
        writes.submit(fails)


def test_flush_waits_and_raises(done):
    with async_writer() as writes:
        writes.submit(lambda: done.append("first"))
        writes.flush()
        assert done == ["first"]
        writes.submit(fails)
        with pytest.raises(UserError, match="no space left"):
            writes.flush()


@pytest.mark.parametrize(
    ("error", "left"), [(ValueError("what ended it"), ["first", "second"]), (KeyboardInterrupt(), ["first"])]
)
def test_what_waits_is_written_unless_it_was_stopped_at_once(done, error, left):
    begun, go_on = threading.Event(), threading.Event()

    def first():
        begun.set()
        go_on.wait(30)
        done.append("first")

    def ended():
        with async_writer() as writes:
            writes.submit(first)
            writes.submit(lambda: done.append("second"))
            begun.wait(30)
            threading.Timer(0.2, go_on.set).start()
            raise error

    with pytest.raises(type(error)):
        ended()
    assert done == left


@pytest.mark.parametrize("waits", [True, False])
def test_a_stop_says_that_the_checkpoint_could_not_be_written(waits):
    """Else the run would be KILLED without a word, and what it was to go on from is not there."""
    go_on = threading.Event()

    def stopped():
        with async_writer() as writes:
            writes.submit(lambda: (go_on.wait(30), fails()))
            if waits:
                threading.Timer(0.1, go_on.set).start()
            else:
                go_on.set()
                writes.submit(lambda: None)
            raise Stopped("stopped by SIGTERM")

    with pytest.raises(UserError, match="no space left") as caught:
        stopped()
    assert isinstance(caught.value.__cause__, Stopped)


def test_what_ended_a_training_is_not_hidden_by_a_file_that_failed(capsys):
    def ended():
        with async_writer() as writes:
            writes.submit(fails)
            raise ValueError("what ended it")

    with pytest.raises(ValueError, match="what ended it"):
        ended()
    assert capsys.readouterr().err == "warning: and meanwhile: no space left\n"


def test_a_second_signal_while_the_last_files_are_written_leaves_them_but_for_the_one_under_way(done, monkeypatch):
    """And that one is waited for: nothing is written when the run has been left."""
    begun, go_on = threading.Event(), threading.Event()

    def first():
        begun.set()
        go_on.wait(30)
        done.append("first")

    def on_signal(_number, _frame):
        threading.Timer(0.2, go_on.set).start()
        raise KeyboardInterrupt

    def stopped():
        with async_writer() as writes:
            writes.submit(first)
            writes.submit(lambda: done.append("second"))
            begun.wait(30)
            main = threading.main_thread().ident
            threading.Timer(0.2, lambda: signal.pthread_kill(main, signal.SIGUSR1)).start()
            raise Stopped("stopped by SIGTERM")

    before = signal.signal(signal.SIGUSR1, on_signal)
    try:
        with pytest.raises(KeyboardInterrupt):
            stopped()
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert done == ["first"]
