"""A worker process that can't hand a batch over, or can't be started, is never waited for."""

import multiprocessing

import pytest
import torch

from flowerml.data.loader import Example, evaluation_loader
from flowerml.data.workers.errors import DataLoaderDied, is_worker_death, worker_death_as_error
from flowerml.errors import Stopped


class Unsendable(str):
    """An id that can't be pickled."""

    __slots__ = ()

    def __reduce__(self):
        raise OSError(24, "Too many open files")


def loader(identifier="a", workers=1):
    examples = [Example(identifier, 0, lambda: torch.ones(2))]
    return evaluation_loader(examples, lambda raw: raw, batch_size=1, workers=workers)


def test_a_lost_batch_ends_in_one_line(capfd):
    with pytest.raises(DataLoaderDied) as caught, worker_death_as_error():
        list(loader(Unsendable("a")).epoch(1))
    message = str(caught.value)
    assert caught.value.exit_code == 1
    assert "\n" not in message
    assert all(words in message for words in ("/dev/shm", "--shm-size", "--workers 0"))
    assert "could not hand a batch over (OSError: [Errno 24] Too many open files)" in capfd.readouterr().err


def test_a_stop_that_was_requested_comes_first():
    for error in (RuntimeError("DataLoader worker (pid 1) is killed"), DataLoaderDied("died")):
        assert is_worker_death(error)
        with pytest.raises(Stopped, match="by Ctrl-C"), worker_death_as_error(lambda: "stopped by Ctrl-C"):
            raise error


def test_other_errors_pass():
    with pytest.raises(RuntimeError, match="shapes"), worker_death_as_error():
        raise RuntimeError("shapes do not fit")


def test_where_no_worker_can_be_started_the_training_loads_itself(monkeypatch, capsys):
    """On a full /dev/shm no semaphore can be made, so no queue."""

    def full():
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(multiprocessing, "Lock", full)
    ((inputs, _, _),) = loader(workers=2).epoch(1)
    assert torch.equal(inputs, torch.ones(1, 2))
    (line,) = capsys.readouterr().err.splitlines()
    assert "No space left on device" in line


class Lost(str):
    """An id that is received as if the worker had ended while it handed the batch over."""

    __slots__ = ()

    def __reduce__(self):
        return lose_connection, ()


def lose_connection():
    raise ConnectionResetError(104, "Connection reset by peer")


def test_a_connection_that_is_lost_before_the_death_is_seen_ends_in_one_line():
    with pytest.raises(DataLoaderDied, match=r"Connection reset by peer.*--workers 0"):
        list(loader(Lost("a")).epoch(1))


@pytest.mark.parametrize("error", [RuntimeError("shapes do not fit"), ConnectionResetError("a server's")])
def test_an_error_of_the_code_in_a_worker_is_not_its_death(error):
    def read():
        raise error

    damaged = evaluation_loader([Example("a", 0, read)], lambda raw: raw, batch_size=1, workers=1)
    with pytest.raises(type(error), match="Caught") as caught, worker_death_as_error():
        list(damaged.epoch(1))
    assert not is_worker_death(caught.value)
