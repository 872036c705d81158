"""The sizes of many pictures as one small SVG figure, for a page that loads nothing.

Both axes are logarithmic and alike, so square pictures lie on the diagonal whatever their size, and 100 px beside 8,000
px stay readable.
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from flowerml.reporting.html import counted

_LEFT, _TOP, _SIDE = 52, 22, 300  # the field of the plot, in the figure's own units
_WIDTH, _HEIGHT = _LEFT + _SIDE + 20, _TOP + _SIDE + 40
_RIGHT, _FLOOR = _LEFT + _SIDE, _TOP + _SIDE
_CELL = 5  # sizes that fall into one square of this edge become one dot: 3,600 dots at most, however many pictures
_MANY_TICKS = 8


@dataclass(frozen=True)
class _Dot:
    """A place in the figure: its most common (width, height), the pictures there, and how many different sizes those
    have.
    """

    size: tuple[int, int]
    pictures: int
    different: int


def size_words(sizes: Sequence[tuple[int, int]]) -> str:
    """In a sentence or two: how many different (width, height) in pixels there are, the most common one, and the
    shapes.
    """
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
        f"{len(tally):,} different sizes; the most common is {width:,} × {height:,} px ({counted(most, 'picture')})."
        f" {shares}."
    )


def size_figure(sizes: Sequence[tuple[int, int]]) -> str:
    """SVG scatter of (width, height) in pixels, each >= 1: a dot's area grows with the share of the pictures at that
    place.

    Colours are the page's: `--line`, `--muted`, `--right-bar`. Raises ValueError where there is nothing to draw.
    """
    if not sizes:
        raise ValueError("no sizes to draw")
    ticks = _ticks(min(map(min, sizes)), max(map(max, sizes)))
    marks = [_mark(dot, ticks, len(sizes)) for dot in _dots(sizes, ticks)]
    label = f"Widths and heights of the pictures. {size_words(sizes)}"
    return (
        f'<svg class="scatter" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img"'
        f' aria-label="{label}">\n{_field(ticks)}\n{"".join(marks)}\n</svg>'
    )


def _ticks(smallest: int, largest: int) -> list[int]:
    """Round numbers from below `smallest` to above `largest`: 1, 2 or 5 times a power of ten, powers alone where those
    are many.
    """
    round_numbers = [digit * 10**power for power in range(len(str(largest)) + 1) for digit in (1, 2, 5)]
    for numbers in (round_numbers, round_numbers[::3]):
        first = max((number for number in numbers if number < smallest), default=1)
        last = min(number for number in numbers if number > largest)
        ticks = [number for number in numbers if first <= number <= last]
        if len(ticks) <= _MANY_TICKS:
            break
    return ticks


def _along(pixels: float, ticks: Sequence[int]) -> float:
    """How far along an axis a number of pixels lies, 0 to `_SIDE`."""
    return _SIDE * math.log(pixels / ticks[0]) / math.log(ticks[-1] / ticks[0])


def _dots(sizes: Sequence[tuple[int, int]], ticks: Sequence[int]) -> list[_Dot]:
    """What to draw, the fullest place first: the small dots come last and stay visible on the large ones."""
    places: dict[tuple[int, int], Counter[tuple[int, int]]] = {}
    for (width, height), count in Counter(sizes).items():
        place = (int(_along(width, ticks) // _CELL), int(_along(height, ticks) // _CELL))
        places.setdefault(place, Counter())[width, height] = count
    dots = [_Dot(min(here, key=lambda size: (-here[size], size)), here.total(), len(here)) for here in places.values()]
    return sorted(dots, key=lambda dot: (-dot.pictures, dot.size))


def _mark(dot: _Dot, ticks: Sequence[int], total: int) -> str:
    width, height = dot.size
    x, y = _LEFT + _along(width, ticks), _FLOOR - _along(height, ticks)
    radius = 2 + 13 * math.sqrt(dot.pictures / total)
    about = "" if dot.different == 1 else "about "
    title = f"{about}{width:,} × {height:,} px: {counted(dot.pictures, 'picture')}"
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius:.1f}"><title>{title}</title></circle>'


def _field(ticks: Sequence[int]) -> str:
    """Grid, tick labels, the diagonal of square pictures, and the names of the axes."""
    parts = [f'<path class="square" d="M{_LEFT} {_FLOOR}L{_RIGHT} {_TOP}"/>']
    for tick in ticks:
        x, y = _LEFT + _along(tick, ticks), _FLOOR - _along(tick, ticks)
        parts.append(f'<path d="M{x:.1f} {_TOP}V{_FLOOR}M{_LEFT} {y:.1f}H{_RIGHT}"/>')
        parts.append(f'<text x="{x:.1f}" y="{_FLOOR + 16}" text-anchor="middle">{tick:,}</text>')
        parts.append(f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{tick:,}</text>')
    turned = f'transform="rotate(-45 {_RIGHT - 18} {_TOP + 9})"'
    parts += [
        f'<text x="{_LEFT + 8}" y="{_TOP + 18}">portrait</text>',
        f'<text x="{_RIGHT - 8}" y="{_FLOOR - 10}" text-anchor="end">landscape</text>',
        f'<text x="{_RIGHT - 18}" y="{_TOP + 9}" text-anchor="end" {turned}>square</text>',
        f'<text x="{_LEFT + _SIDE / 2}" y="{_HEIGHT - 4}" text-anchor="middle">width [px]</text>',
        f'<text x="2" y="{_TOP - 9}">height [px]</text>',
    ]
    return "\n".join(parts)
