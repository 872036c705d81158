"""What the fault suite counts: of each fault how often it was tried, survived, what was lost, and how long it took."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

HEADER = ("fault", "tries", "survived", "lost", "seconds")


class Tally:
    """One fault's row of the table. A trial that raises counts as not survived, and fails its test."""

    def __init__(self, fault: str) -> None:
        self.fault, self.tries, self.survived, self.lost = fault, 0, 0, 0
        self._started = time.monotonic()

    @contextmanager
    def trial(self) -> Iterator[None]:
        self.tries += 1
        yield
        self.survived += 1

    def row(self) -> list[str]:
        return [
            self.fault,
            str(self.tries),
            str(self.survived),
            str(self.lost),
            f"{time.monotonic() - self._started:.1f}",
        ]


def merged(rows: list[list[str]]) -> list[list[str]]:
    """One row per fault, in the order of their numbers: the fast and the slow tests of one fault are one row."""
    together: dict[str, list[float]] = {}
    for fault, *figures in rows:
        sums = together.setdefault(fault, [0.0] * len(figures))
        together[fault] = [before + float(figure) for before, figure in zip(sums, figures, strict=True)]
    ordered = sorted(together.items(), key=lambda entry: int(entry[0].split()[0]))
    return [[fault, *(f"{value:.0f}" for value in figures[:3]), f"{figures[3]:.1f}"] for fault, figures in ordered]


def table(rows: list[list[str]]) -> str:
    lines = [list(HEADER), *merged(rows)]
    widths = [max(len(line[place]) for line in lines) for place in range(len(HEADER))]
    return "\n".join(
        "  ".join(
            text.ljust(width) if place == 0 else text.rjust(width)
            for place, (text, width) in enumerate(zip(line, widths, strict=True))
        )
        for line in lines
    )
