"""What a person sees while a command runs. Everything here goes to stderr: stdout belongs to results (`--json`)."""

import os
import sys
import threading
import time
from collections.abc import Generator, Iterable, Iterator, Sized
from typing import TypeVar

Item = TypeVar("Item")


# A process that is forked while another thread prints would find the stream locked for ever: forks wait for the line.
_aloud = threading.RLock()
os.register_at_fork(before=_aloud.acquire, after_in_parent=_aloud.release, after_in_child=_aloud.release)


def say(text: str) -> None:
    """One line of information."""
    with _aloud:
        print(text, file=sys.stderr, flush=True)


def warn(text: str) -> None:
    """One line that a person should read."""
    say(f"warning: {text}")


def on_terminal() -> bool:
    """Whether a person watches (a bar makes sense) or a log file does (it does not)."""
    return sys.stderr.isatty()


def track(
    items: Iterable[Item], what: str, total: int | None = None, log_every_s: float = 15.0
) -> Generator[Item, None, None]:
    """Yield `items`, showing how far it is: a bar with ETA on a terminal, a plain line every `log_every_s` seconds in a
    log.
    """
    if total is None and isinstance(items, Sized):
        total = len(items)
    if on_terminal():
        yield from _bar(items, what, total)
        return
    started = shown = time.monotonic()
    for done, item in enumerate(items, start=1):
        yield item
        now = time.monotonic()
        if now - shown >= log_every_s and done != total:
            shown = now
            say(f"{what}: {done}{f' of {total}' if total else ''}{_eta(done, total, now - started)}")


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


def duration(seconds: float) -> str:
    """Seconds in the form a person reads: `45 s`, `3 min 05 s`, `2 h 10 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def track_bytes(
    chunks: Iterable[bytes], what: str, total: int | None, done: int = 0, log_every_s: float = 15.0
) -> Generator[bytes, None, None]:
    """Yield `chunks`, showing bytes, rate and time left as `track` does; `done` of the `total` bytes were there before."""
    if on_terminal():
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
            say(
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


def amount(size: float) -> str:
    """Bytes in the form a person reads: `512 B`, `228.8 MB`, `1.3 GB` (powers of 1000, as disks and networks are sold)."""
    for unit in ("B", "kB", "MB"):
        if size < 999.95 or (unit == "B" and size < 1000):
            return f"{size:.0f} B" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} GB"
