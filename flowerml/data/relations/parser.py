"""What all readers of annotations share: wrong JSON is refused in one line, boxes that can't be right are listed,
nothing is guessed.
"""

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from flowerml.data.relations.records import RELATIONS, Box, Pair
from flowerml.data.relations.vocabulary import normal
from flowerml.errors import UserError, one_line

_SHOWN = 5


@dataclass(frozen=True)
class Annotations:
    """What a file of annotations holds.

    `images` names every annotated image, also those without a pair; `problems` has a line for each pair that was left
    out, beginning with its image; `remarks` is what a person should know all the same; `other` counts the relation
    texts that are none of the ten.
    """

    source: str
    pairs: tuple[Pair, ...]
    images: tuple[str, ...]
    problems: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()
    other: Mapping[str, int] = field(default_factory=dict)

    def counts(self) -> list[int]:
        """Pairs of each relation, in the order of RELATIONS."""
        found = Counter(pair.relation for pair in self.pairs)
        return [found[name] for name in RELATIONS]

    def lines(self) -> list[str]:
        """What is printed after reading."""
        counted = ", ".join(f"{name} {count:,}" for name, count in zip(RELATIONS, self.counts(), strict=True))
        lines = [f"{self.source}: {len(self.pairs):,} pairs in {len(self.images):,} images ({counted})"]
        if self.other:
            often = sorted(self.other.items(), key=lambda one: (-one[1], one[0]))
            shown = ", ".join(f"{text!r} {count:,}" for text, count in often[:_SHOWN])
            lines.append(
                f"  other relations, left out: {sum(self.other.values()):,} of {len(self.other):,} texts ({shown} …)"
            )
        lines += [f"  {remark}" for remark in self.remarks]
        if self.problems:
            lines.append(f"  left out, {len(self.problems):,} pair(s):")
            lines += [f"    {problem}" for problem in self.problems]
        return [one_line(line) for line in lines]


class AnnotationCollector:
    """Pairs as a reader meets them: names are looked up, boxes are judged, what can't be used is put down with its
    image.
    """

    def __init__(self, source: str, names: Mapping[str, str]) -> None:
        """`names`: relation by normal text, from `names.load_names`."""
        self._source, self._names = source, names
        self._pairs: list[Pair] = []
        self._images: dict[str, None] = {}
        self._other: Counter[str] = Counter()
        self.problems: list[str] = []
        self.remarks: list[str] = []

    def image(self, image: str) -> None:
        """There are annotations of this image, if only an empty list."""
        self._images[image] = None

    def relation(self, text: str) -> str | None:
        """Which of the ten this text means; None, and counted, where it is none of them."""
        relation = self._names.get(normal(text))
        if relation is None:
            self._other[normal(text)] += 1
        return relation

    def pair(
        self,
        image: str,
        size: tuple[int, int] | None,
        relation: str,
        boxes: tuple[Box, Box],
        categories: Sequence[str | None],
    ) -> None:
        """Take the pair, or list why not. `size`: width and height of its image, None where nothing tells it."""
        reason = "the size of the image is not known" if size is None else _misfit(size, *boxes)
        if size is None or reason is not None:
            self.problems.append(f"{image}: {relation}: {reason}")
            return
        self._pairs.append(Pair(image, *size, *boxes, relation, *categories))

    def done(self) -> Annotations:
        """All of it.

        Raises:
            UserError: not one pair is left.
        """
        if not self._pairs:
            seen = ", ".join(repr(text) for text, _ in self._other.most_common(_SHOWN))
            raise UserError(
                f"{self._source}: no pair of the ten relations in it ({len(self._images)} images, {len(self.problems)}"
                f" pairs left out, relations there: {seen or 'none'}). Name other annotations, or a file of names",
                self.problems[:20],
            )
        return Annotations(
            self._source,
            tuple(self._pairs),
            tuple(self._images),
            tuple(self.problems),
            tuple(self.remarks),
            dict(self._other),
        )


def _misfit(size: tuple[int, int], subject: Box, other: Box) -> str | None:
    """Why these boxes can't be boxes in an image of this size (width, height); None where they can."""
    width, height = size
    for role, box in (("subject", subject), ("object", other)):
        numbers = f"{role} box left {box.x0:g}, top {box.y0:g}, right {box.x1:g}, bottom {box.y1:g}"
        if box.x1 <= box.x0 or box.y1 <= box.y0:
            return f"{numbers}: no area"
        if box.x0 < 0 or box.y0 < 0 or box.x1 > width or box.y1 > height:
            return f"{numbers}: not inside the image of {width}x{height}"
    return None


def read_json(path: Path) -> Any:  # noqa: ANN401 - any JSON value
    """The content of a JSON file. Raises UserError in one line."""
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file") from error
    except OSError as error:
        raise UserError(f"{path}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 text (byte {error.start})") from error
    except (json.JSONDecodeError, RecursionError) as error:
        raise UserError(f"{path}: not JSON ({error}); is the download whole?") from error


class Entry:
    """A JSON value and its place in words, so that what is wrong with it can be said in one line."""

    def __init__(self, value: Any, place: str) -> None:  # noqa: ANN401 - any JSON value
        self.value, self._place = value, place

    def wrong(self, wanted: str) -> UserError:
        """The refusal: `wanted` says what should stand here."""
        return UserError(
            f"{self._place}: {self.value!r:.60} where {wanted} should be. Mend the file, or take the entry out"
        )

    def get(self, name: str) -> "Entry":
        """The value of a key. Raises UserError."""
        if not isinstance(self.value, dict):
            raise self.wrong("an object with keys")
        if name not in self.value:
            raise UserError(
                f"{self._place}: no {name!r} (keys here: {', '.join(map(str, self.value)) or 'none'}). Mend the file"
            )
        return Entry(self.value[name], f"{self._place}, {name}")

    def has(self, name: str) -> bool:
        """Whether there is such a key."""
        return isinstance(self.value, dict) and name in self.value

    def items(self) -> list["Entry"]:
        """The values of a list. Raises UserError."""
        if not isinstance(self.value, list):
            raise self.wrong("a list")
        return [Entry(value, f"{self._place}, entry {number}") for number, value in enumerate(self.value)]

    def named(self) -> list[tuple[str, "Entry"]]:
        """The keys and values of an object. Raises UserError."""
        if not isinstance(self.value, dict):
            raise self.wrong("an object with keys")
        return [(name, Entry(value, f"{self._place}, {name}")) for name, value in self.value.items()]

    def number(self) -> float:
        """A finite number. Raises UserError."""
        if isinstance(self.value, bool) or not isinstance(self.value, int | float) or not math.isfinite(self.value):
            raise self.wrong("a number")
        return float(self.value)

    def whole(self, wanted: str = "a whole number >= 0") -> int:
        """A whole number >= 0. Raises UserError."""
        if isinstance(self.value, bool) or not isinstance(self.value, int) or self.value < 0:
            raise self.wrong(wanted)
        return self.value

    def text(self) -> str:
        """A text that is not empty. Raises UserError."""
        if not isinstance(self.value, str) or not self.value.strip():
            raise self.wrong("a text")
        return self.value

    def one_of(self, values: Sequence[str], what: str) -> str:
        """The value this index points at. Raises UserError."""
        index = self.whole(f"the number of one of the {len(values)} {what}")
        if index >= len(values):
            raise self.wrong(f"the number of one of the {len(values)} {what} (0 to {len(values) - 1})")
        return values[index]

    def box_by_size(self) -> Box:
        """The box of `{x, y, w, h}`: left and top edge, width, height, in pixels. Raises UserError."""
        x, y, w, h = (self.get(name).number() for name in ("x", "y", "w", "h"))
        return Box(x, y, x + w, y + h)

    def size(self) -> tuple[int, int]:
        """Width and height in pixels, of `{width, height}`. Raises UserError."""
        width, height = (self.get(name).whole("a number of pixels") for name in ("width", "height"))
        if not width or not height:
            raise self.wrong("a width and a height above 0")
        return width, height
