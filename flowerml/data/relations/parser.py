"""Shared by all annotation readers: typed access to JSON with one-line errors, and validation of boxes.

A pair whose boxes are invalid is left out and listed; nothing is guessed.
"""

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from flowerml.data.relations.records import RELATIONS, Box, Pair
from flowerml.data.relations.vocabulary import normalize_text
from flowerml.errors import UserError, one_line
from flowerml.text import cut_list, nfc

FULL_LIST = "`flowerml dataset check --kind relations --json` lists all"
_MAX_LISTED = 5


@dataclass(frozen=True)
class Annotations:
    """The content of an annotation file.

    `images` are all annotated images, also those without a pair. `problems` has a line for each pair left out, which
    begins with its image. `notes` are remarks on pairs that are used. `other_relations` counts the relation texts that
    are none of the ten.
    """

    source: str
    pairs: tuple[Pair, ...]
    images: tuple[str, ...]
    problems: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    other_relations: Mapping[str, int] = field(default_factory=dict)

    def counts(self) -> list[int]:
        """Pairs of each relation, in the order of RELATIONS."""
        counted = Counter(pair.relation for pair in self.pairs)
        return [counted[name] for name in RELATIONS]

    def summary_lines(self) -> list[str]:
        """The lines printed after reading."""
        counted = ", ".join(f"{name} {count:,}" for name, count in zip(RELATIONS, self.counts(), strict=True))
        lines = [f"{self.source}: {len(self.pairs):,} pairs in {len(self.images):,} images ({counted})"]
        if self.other_relations:
            most_common = sorted(self.other_relations.items(), key=lambda item: (-item[1], item[0]))
            examples = ", ".join(f"{text!r} {count:,}" for text, count in most_common[:_MAX_LISTED])
            left_out = sum(self.other_relations.values())
            lines.append(
                f"  other relations, left out: {left_out:,} of {len(self.other_relations):,} texts ({examples} …)"
            )
        lines += [f"  {note}" for note in self.notes]
        if self.problems:
            lines.append(f"  left out, {len(self.problems):,} pair(s):")
            lines += [f"    {line}" for line in cut_list(self.problems, FULL_LIST)]
        return [one_line(line) for line in lines]


class AnnotationCollector:
    """Collects the pairs of a file: looks up relation names, validates boxes, lists what can't be used."""

    def __init__(self, source: str, names: Mapping[str, str]) -> None:
        """`names`: relation by normalized text, from `vocabulary.load_vocabulary`."""
        self._source, self._names = source, names
        self._pairs: list[Pair] = []
        self._images: dict[str, None] = {}
        self._other: Counter[str] = Counter()
        self.problems: list[str] = []
        self.notes: list[str] = []

    def add_image(self, image: str) -> None:
        """Record an annotated image, also one without pairs."""
        self._images[nfc(image)] = None

    def find_relation(self, text: str | None) -> str | None:
        """The relation that `text` names; None where it is none of the ten, or blank, which is counted."""
        text = text or ""
        relation = self._names.get(normalize_text(text))
        if relation is None:
            self._other[normalize_text(text)] += 1
        return relation

    def add_pair(
        self,
        image: str,
        size: tuple[int, int] | None,
        relation: str,
        boxes: tuple[Box, Box],
        categories: Sequence[str | None],
    ) -> None:
        """Add the pair, or list why not. `size`: width and height of its image, None where they are unknown."""
        reason = "the size of the image is not known" if size is None else _box_error(size, *boxes)
        if size is None or reason is not None:
            self.problems.append(f"{image}: {relation}: {reason}")
            return
        self._pairs.append(Pair(nfc(image), *size, *boxes, relation, *categories))

    def finish(self) -> Annotations:
        """The collected annotations.

        Raises:
            UserError: no pair is left.
        """
        if not self._pairs:
            texts = ", ".join(repr(text) for text, _ in self._other.most_common(_MAX_LISTED))
            raise UserError(
                f"{self._source}: no pair of the ten relations in it ({len(self._images)} images, {len(self.problems)}"
                f" pairs left out, relations there: {texts or 'none'}). Name other annotations, or a file of names",
                cut_list(self.problems),
            )
        return Annotations(
            self._source,
            tuple(self._pairs),
            tuple(self._images),
            tuple(self.problems),
            tuple(self.notes),
            dict(self._other),
        )


def _box_error(size: tuple[int, int], subject: Box, other: Box) -> str | None:
    """Why a box is invalid in an image of `size` (width, height); None where both are valid."""
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


class JsonNode:
    """A JSON value with its location in words, for error messages in one line."""

    def __init__(self, value: Any, location: str) -> None:  # noqa: ANN401 - any JSON value
        self.value, self._location = value, location

    def error(self, expected: str) -> UserError:
        """The error to raise for this value; `expected` says what it should be."""
        return UserError(
            f"{self._location}: {self.value!r:.60} where {expected} should be. Mend the file, or take the entry out"
        )

    def get(self, name: str) -> "JsonNode":
        """The value of a key. Raises UserError."""
        if not isinstance(self.value, dict):
            raise self.error("an object with keys")
        if name not in self.value:
            raise UserError(
                f"{self._location}: no {name!r} (keys here: {', '.join(map(str, self.value)) or 'none'}). Mend the file"
            )
        return JsonNode(self.value[name], f"{self._location}, {name}")

    def has(self, name: str) -> bool:
        """Whether there is such a key."""
        return isinstance(self.value, dict) and name in self.value

    def items(self) -> list["JsonNode"]:
        """The values of a list. Raises UserError."""
        if not isinstance(self.value, list):
            raise self.error("a list")
        return [JsonNode(value, f"{self._location}, entry {number}") for number, value in enumerate(self.value)]

    def members(self) -> list[tuple[str, "JsonNode"]]:
        """The keys and values of an object. Raises UserError."""
        if not isinstance(self.value, dict):
            raise self.error("an object with keys")
        return [(name, JsonNode(value, f"{self._location}, {name}")) for name, value in self.value.items()]

    def as_float(self) -> float:
        """A finite number. Raises UserError."""
        if isinstance(self.value, bool) or not isinstance(self.value, int | float) or not math.isfinite(self.value):
            raise self.error("a number")
        return float(self.value)

    def as_int(self, expected: str = "a whole number >= 0") -> int:
        """A whole number >= 0. Raises UserError."""
        if isinstance(self.value, bool) or not isinstance(self.value, int) or self.value < 0:
            raise self.error(expected)
        return self.value

    def as_str(self) -> str:
        """A string that is not blank. Raises UserError."""
        if not isinstance(self.value, str) or not self.value.strip():
            raise self.error("a text")
        return self.value

    def as_optional_str(self) -> str | None:
        """A string; None where it is blank or null. Raises UserError."""
        return None if self.value is None or not str(self.value).strip() else self.as_str()

    def as_item_of(self, values: Sequence[str], what: str) -> str:
        """The item of `values` with this index. Raises UserError."""
        index = self.as_int(f"the number of one of the {len(values)} {what}")
        if index >= len(values):
            raise self.error(f"the number of one of the {len(values)} {what} (0 to {len(values) - 1})")
        return values[index]

    def as_box(self) -> Box:
        """The box of `{x, y, w, h}`: left and top edge, width, height, in pixels. Raises UserError."""
        x, y, w, h = (self.get(name).as_float() for name in ("x", "y", "w", "h"))
        return Box(x, y, x + w, y + h)

    def as_size(self) -> tuple[int, int]:
        """Width and height in pixels, of `{width, height}`. Raises UserError."""
        width, height = (self.get(name).as_int("a number of pixels") for name in ("width", "height"))
        if not width or not height:
            raise self.error("a width and a height above 0")
        return width, height
