"""Progress of long work on stderr: a bar with ETA on a terminal, plain lines in a log."""

import logging
import sys
import time
from collections.abc import Generator, Iterable, Iterator, Sized
from contextlib import contextmanager
from typing import TypeVar

from flowerml.human_units import amount, duration

logger = logging.getLogger(__name__)

Item = TypeVar("Item")


def on_terminal() -> bool:
    """Whether stderr is a terminal, where a bar can be drawn, and not a log file."""
    return sys.stderr.isatty()


def _shows_bar() -> bool:
    return on_terminal() and logger.isEnabledFor(logging.INFO)


@contextmanager
def status(words: str) -> Iterator[None]:
    """Show `words` on a terminal while the body runs, and remove them after it; nothing in a log."""
    if not _shows_bar():
        yield
        return
    print(f"{words} …", end="", file=sys.stderr, flush=True)
    try:
        yield
    finally:
        print("\r\033[K", end="", file=sys.stderr, flush=True)  # to the start of the line, erase to its end


def track(
    items: Iterable[Item], what: str, total: int | None = None, log_every_s: float = 15.0
) -> Generator[Item, None, None]:
    """Yield `items`, showing how far it is: a bar with ETA on a terminal, a plain line every `log_every_s` seconds in a
    log.
    """
    if total is None and isinstance(items, Sized):
        total = len(items)
    if _shows_bar():
        yield from _bar(items, what, total)
        return
    started = shown = time.monotonic()
    for done, item in enumerate(items, start=1):
        yield item
        now = time.monotonic()
        if now - shown >= log_every_s and done != total:
            shown = now
            logger.info(f"{what}: {done}{f' of {total}' if total else ''}{_eta(done, total, now - started)}")


def _bar(items: Iterable[Item], what: str, total: int | None) -> Iterator[Item]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        yield from progress.track(items, total=total, description=what)


def _eta(done: int, total: int | None, elapsed: float) -> str:
    if not total:
        return ""
    return f", about {duration((total - done) * elapsed / done)} left"


def track_bytes(
    chunks: Iterable[bytes], what: str, total: int | None, done: int = 0, log_every_s: float = 15.0
) -> Generator[bytes, None, None]:
    """Yield `chunks`, showing bytes, rate and ETA as `track` does; `done` of the `total` bytes exist already."""
    if _shows_bar():
        yield from _byte_bar(chunks, what, total, done)
        return
    started = shown = time.monotonic()
    got = 0
    for chunk in chunks:
        yield chunk
        got += len(chunk)
        now = time.monotonic()
        if now - shown >= log_every_s and done + got != total:
            shown = now
            left = _eta(got, total - done, now - started) if total else ""
            logger.info(
                f"{what}: {amount(done + got)}{f' of {amount(total)}' if total else ''},"
                f" {amount(round(got / (now - started)))}/s{left}"
            )


def _byte_bar(chunks: Iterable[bytes], what: str, total: int | None, done: int) -> Iterator[bytes]:
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(what, total=total, completed=done)
        for chunk in chunks:
            yield chunk
            progress.advance(task, len(chunk))
