"""The sizes of many pictures as a scatter plot; `size_figure.svg.j2` draws it.

Both axes are logarithmic and alike, so that square pictures lie on the diagonal whatever their size, and 100 px next to
8,000 px stay readable.
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from flowerml.reporting.html import pluralize

_LEFT, _TOP, _SIDE = 52, 22, 300  # the plot area, in SVG user units
_CELL = 5  # sizes in one square cell of this side become one dot: at most 3,600 dots for any number of pictures
_MAX_TICKS = 8


@dataclass(frozen=True)
class SizeTick:
    """A tick at `pixels` on both axes: `x` on the horizontal, `y` on the vertical one."""

    pixels: int
    x: float
    y: float


@dataclass(frozen=True)
class SizeDot:
    """The pictures of one cell of the plot."""

    x: float
    y: float
    radius: float
    title: str


@dataclass(frozen=True)
class SizeFigure:
    """Ticks and dots in SVG user units, the largest dot first: small ones stay visible on top of large ones."""

    ticks: tuple[SizeTick, ...]
    dots: tuple[SizeDot, ...]
    left: int = _LEFT
    top: int = _TOP
    right: int = _LEFT + _SIDE
    bottom: int = _TOP + _SIDE
    width: int = _LEFT + _SIDE + 20
    height: int = _TOP + _SIDE + 40


def describe_sizes(sizes: Sequence[tuple[int, int]]) -> str:
    """The number of different (width, height) in pixels, the most common one, and the shapes, in a sentence or two."""
    if not sizes:
        return "There is no picture to measure."
    tally = Counter(sizes)
    (width, height), most = min(tally.items(), key=lambda item: (-item[1], item[0]))
    if len(tally) == 1:
        everything = "The only picture is" if most == 1 else f"All {most:,} pictures are"
        return f"{everything} {width:,} × {height:,} px."
    shapes = (
        ("landscape", sum(w > h for w, h in sizes)),
        ("portrait", sum(w < h for w, h in sizes)),
        ("square", sum(w == h for w, h in sizes)),
    )
    shares = ", ".join(f"{count / len(sizes):.1%} {name}" for name, count in shapes if count)
    return (
        f"{len(tally):,} different sizes; the most common is {width:,} × {height:,} px ({pluralize(most, 'picture')})."
        f" {shares}."
    )


def size_figure(sizes: Sequence[tuple[int, int]]) -> SizeFigure:
    """Lay out a scatter plot of (width, height) in pixels, each >= 1; a dot's area grows with its share of pictures.

    Raises ValueError for no sizes.
    """
    if not sizes:
        raise ValueError("no sizes to draw")
    numbers = _round_numbers(min(map(min, sizes)), max(map(max, sizes)))
    ticks = [
        SizeTick(pixels, _LEFT + _axis_position(pixels, numbers), _TOP + _SIDE - _axis_position(pixels, numbers))
        for pixels in numbers
    ]
    return SizeFigure(tuple(ticks), tuple(_size_dots(sizes, numbers)))


def _round_numbers(smallest: int, largest: int) -> list[int]:
    """1, 2 and 5 times powers of ten from below `smallest` to above `largest`; powers alone where those are many."""
    round_numbers = [digit * 10**power for power in range(len(str(largest)) + 1) for digit in (1, 2, 5)]
    for numbers in (round_numbers, round_numbers[::3]):
        first = max((number for number in numbers if number < smallest), default=1)
        last = min(number for number in numbers if number > largest)
        ticks = [number for number in numbers if first <= number <= last]
        if len(ticks) <= _MAX_TICKS:
            break
    return ticks


def _axis_position(pixels: float, numbers: Sequence[int]) -> float:
    """The distance from the start of an axis with ticks at `numbers`, 0 to `_SIDE`."""
    return _SIDE * math.log(pixels / numbers[0]) / math.log(numbers[-1] / numbers[0])


def _size_dots(sizes: Sequence[tuple[int, int]], numbers: Sequence[int]) -> list[SizeDot]:
    """One dot per cell with pictures, at its most common size; the fullest cell first."""
    cells: dict[tuple[int, int], Counter[tuple[int, int]]] = {}
    for (width, height), count in Counter(sizes).items():
        cell = (int(_axis_position(width, numbers) // _CELL), int(_axis_position(height, numbers) // _CELL))
        cells.setdefault(cell, Counter())[width, height] = count
    dots = []
    for tally in cells.values():
        (size, _) = min(tally.items(), key=lambda item: (-item[1], item[0]))
        dots.append((-tally.total(), size, _size_dot(size, tally, len(sizes), numbers)))
    return [dot for _, _, dot in sorted(dots, key=lambda entry: entry[:2])]


def _size_dot(size: tuple[int, int], tally: Counter[tuple[int, int]], total: int, numbers: Sequence[int]) -> SizeDot:
    pictures = tally.total()
    about = "about " if len(tally) > 1 else ""
    return SizeDot(
        x=_LEFT + _axis_position(size[0], numbers),
        y=_TOP + _SIDE - _axis_position(size[1], numbers),
        radius=2 + 13 * math.sqrt(pictures / total),
        title=f"{about}{size[0]:,} × {size[1]:,} px: {pluralize(pictures, 'picture')}",
    )
