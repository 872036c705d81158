"""Bytes that are read ahead: those of each source, in bounds, with its own error at its turn."""

import threading
from dataclasses import dataclass, field

import pytest

from flowerml.data.workers import prefetch
from flowerml.data.workers.prefetch import read_source, reading_ahead


@dataclass(frozen=True)
class Slow:
    """A source whose reads are noted in `reads`, and wait for `go`."""

    number: int
    size: int = 1
    reads: list = field(default_factory=list, compare=False)
    go: threading.Event = field(default_factory=threading.Event, compare=False)

    def read(self):
        self.reads.append(self.number)
        assert self.go.wait(10)
        if self.number < 0:
            raise ValueError(f"no {self.number}")
        return str(self.number).encode()


def sources(numbers, size=1):
    reads, go = [], threading.Event()
    go.set()
    return [Slow(number, size, reads, go) for number in numbers], reads


def test_each_gets_its_own_bytes_and_is_read_once():
    wanted, reads = sources(range(100))
    with reading_ahead(wanted):
        assert [read_source(source) for source in wanted] == [str(number).encode() for number in range(100)]
    assert sorted(reads) == [*range(100)]


def test_several_are_read_at_a_time_and_no_more_than_there_are_threads():
    together = threading.Barrier(prefetch.THREADS)

    @dataclass(frozen=True)
    class Meets:
        number: int
        size: int = 1

        def read(self):
            together.wait(10)
            return b"x"

    wanted = [Meets(number) for number in range(2 * prefetch.THREADS)]
    with reading_ahead(wanted):
        assert [read_source(source) for source in wanted] == [b"x"] * len(wanted)


@pytest.mark.parametrize(("size", "ahead"), [(1, 16), (2**25, 2), (2**24, 4), (2**30, 1)])
def test_only_so_many_or_so_many_bytes_are_read_before_they_are_used(size, ahead):
    wanted, reads = sources(range(40), size)
    with reading_ahead(wanted):
        for number, source in enumerate(wanted):
            assert len(reads) <= number + ahead
            read_source(source)
    assert sorted(reads) == [*range(40)]


def test_an_error_is_raised_where_its_source_is_read():
    wanted, _ = sources([1, -2, 3])
    with reading_ahead(wanted):
        assert read_source(wanted[0]) == b"1"
        with pytest.raises(ValueError, match="no -2"):
            read_source(wanted[1])
        assert read_source(wanted[2]) == b"3"


def test_one_that_is_wanted_twice_or_out_of_turn_or_was_not_announced_is_read():
    wanted, reads = sources(range(30))
    other = sources([77])[0][0]
    with reading_ahead([*wanted, wanted[0]]):
        for source in (wanted[29], wanted[0], wanted[0], other, *wanted[1:29]):
            assert read_source(source) == str(source.number).encode()
    assert sorted(reads) == sorted([*range(30), 0])
    assert read_source(other) == b"77", "as outside of such a context"


def test_at_its_end_nothing_is_read_any_more():
    """What was started is waited for: a thread that still reads could break a process that ends."""
    wanted, reads = sources(range(40))
    wanted[0].go.clear()
    threading.Timer(0.2, wanted[0].go.set).start()
    with pytest.raises(RuntimeError, match="stop"), reading_ahead(wanted):
        raise RuntimeError("stop")
    assert len(reads) <= prefetch.THREADS
    before = len(reads)
    with reading_ahead(sources(range(50, 60))[0]):
        pass
    assert len(reads) == before


def test_a_context_of_another_thread_is_not_this_ones():
    wanted, reads = sources(range(3))
    with reading_ahead(wanted):
        thread = threading.Thread(target=read_source, args=(wanted[0],))
        thread.start()
        thread.join()
        assert [read_source(source) for source in wanted] == [b"0", b"1", b"2"]
    assert sorted(reads) == [0, 0, 1, 2]
