"""The background writer: in order, nothing after a failed file, and nothing lost."""

import signal
import threading

import pytest

from flowerml.errors import Stopped, UserError
from flowerml.training.checkpoints.async_writer import async_writer


@pytest.fixture
def done():
    return []


def fails():
    raise UserError("no space left")


def test_tasks_run_in_order_and_all_are_done_at_the_end(done):
    with async_writer() as writer:
        for number in range(10):
            writer.submit(
                lambda number=number: done.append((number, threading.current_thread() is threading.main_thread()))
            )
    assert done == [(number, False) for number in range(10)]


def test_submit_blocks_only_when_two_tasks_are_pending(done):
    go_on = threading.Event()
    with async_writer() as writer:
        for _ in range(2):
            writer.submit(lambda: go_on.wait(30))
        assert done == []
        third = threading.Thread(target=lambda: (writer.submit(lambda: done.append("third")), done.append("asked")))
        third.start()
        third.join(0.1)
        assert third.is_alive()
        go_on.set()
        third.join(30)
    assert sorted(done) == ["asked", "third"]


def test_an_error_is_raised_in_the_training_and_later_tasks_are_dropped(done):
    def four():
        with async_writer() as writer:
            writer.submit(fails)
            for _ in range(3):
                writer.submit(lambda: done.append("later"))

    with pytest.raises(UserError, match="no space left"):
        four()
    assert done == []


def test_an_error_in_the_last_task_is_raised():
    with pytest.raises(UserError, match="no space left"), async_writer() as writer:
        writer.submit(fails)


def test_flush_waits_and_raises(done):
    with async_writer() as writer:
        writer.submit(lambda: done.append("first"))
        writer.flush()
        assert done == ["first"]
        writer.submit(fails)
        with pytest.raises(UserError, match="no space left"):
            writer.flush()


@pytest.mark.parametrize(
    ("error", "left"), [(ValueError("what ended it"), ["first", "second"]), (KeyboardInterrupt(), ["first"])]
)
def test_pending_tasks_run_after_an_error_but_not_after_an_interrupt(done, error, left):
    begun, go_on = threading.Event(), threading.Event()

    def first():
        begun.set()
        go_on.wait(30)
        done.append("first")

    def ended():
        with async_writer() as writer:
            writer.submit(first)
            writer.submit(lambda: done.append("second"))
            begun.wait(30)
            threading.Timer(0.2, go_on.set).start()
            raise error

    with pytest.raises(type(error)):
        ended()
    assert done == left


@pytest.mark.parametrize("waits", [True, False])
def test_a_failed_checkpoint_after_a_stop_request_is_raised(waits):
    """Otherwise the run would end as KILLED with no checkpoint to resume from."""
    go_on = threading.Event()

    def stopped():
        with async_writer() as writer:
            writer.submit(lambda: (go_on.wait(30), fails()))
            if waits:
                threading.Timer(0.1, go_on.set).start()
            else:
                go_on.set()
                writer.submit(lambda: None)
            raise Stopped("stopped by SIGTERM")

    with pytest.raises(UserError, match="no space left") as caught:
        stopped()
    assert isinstance(caught.value.__cause__, Stopped)


def test_a_failed_task_does_not_hide_the_error_of_the_training(capsys):
    def ended():
        with async_writer() as writer:
            writer.submit(fails)
            raise ValueError("what ended it")

    with pytest.raises(ValueError, match="what ended it"):
        ended()
    assert capsys.readouterr().err == "warning: and meanwhile: no space left\n"


def test_a_second_signal_during_the_flush_drops_pending_tasks(done, monkeypatch):
    """The running task is waited for: nothing is written after the context exits."""
    begun, go_on = threading.Event(), threading.Event()

    def first():
        begun.set()
        go_on.wait(30)
        done.append("first")

    def on_signal(_number, _frame):
        threading.Timer(0.2, go_on.set).start()
        raise KeyboardInterrupt

    def stopped():
        with async_writer() as writer:
            writer.submit(first)
            writer.submit(lambda: done.append("second"))
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
