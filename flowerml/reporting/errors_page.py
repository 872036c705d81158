"""The page of wrongly classified pictures (`errors.html`), the most confident mistakes first."""

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from flowerml.process.threads import map_in_threads
from flowerml.reporting.html import render_page


@dataclass(frozen=True)
class Mistake:
    """One wrongly classified picture.

    `image` is its path relative to the data set, `label` its true class, `predicted` the class the model chose;
    `p_label` and `p_predicted` are the probabilities (0 to 1) of the two.
    """

    image: str
    label: str
    predicted: str
    p_label: float
    p_predicted: float

    @property
    def margin(self) -> float:
        """Probability of the predicted class minus that of the true one; -1 where either is not finite."""
        margin = self.p_predicted - self.p_label
        return margin if math.isfinite(margin) else -1.0


@dataclass(frozen=True)
class Overlays:
    """Heat maps laid over pictures, JPEG files by a mistake's `image`; `note` says what they are, or why none are."""

    note: str
    jpegs: Mapping[str, bytes] = field(default_factory=dict)


HEAT_MAPS = 24  # mistakes that get a heat map: each costs a forward and a backward pass
_KINDS = 200  # entries of the filter, the most frequent ones; more only for pictures that are shown


@dataclass(frozen=True)
class _MistakeKind:
    """A pair of true and predicted class: an entry of the filter. `id` is its name in HTML and CSS."""

    id: str
    name: str
    count: int
    is_shown: bool


@dataclass(frozen=True)
class _MistakeCard:
    mistake: Mistake
    kind: str
    jpeg: bytes | None
    overlay: bytes | None

    @property
    def alt(self) -> str:
        """The picture in words."""
        return f"{self.mistake.image}: {self.mistake.label}, taken for {self.mistake.predicted}"

    @property
    def overlay_alt(self) -> str:
        """The overlay in words."""
        return f"{self.mistake.image}: heat map of {self.mistake.predicted}"


def errors_page(
    rows: Sequence[Mistake],
    *,
    title: str,
    total: int,
    thumbnail: Callable[[Mistake], bytes | None],
    limit: int = 200,
    overlays: Callable[[Sequence[Mistake]], Overlays] | None = None,
) -> str:
    """Render the mistakes `rows` among `total` classified pictures, the largest margin first.

    `thumbnail` gives a picture's JPEG file, or None for a neutral box; it is called for shown pictures only, at most
    `limit` times and in several threads, and its exceptions propagate. `overlays` gives heat maps for the first of
    them, at most `HEAT_MAPS`, to stand under their pictures; None: the page does not speak of them. Write the page as
    UTF-8. Raises ValueError for a negative limit, or a `total` below the number of mistakes.
    """
    if limit < 0:
        raise ValueError(f"limit is {limit}, which is negative")
    if total < len(rows):
        raise ValueError(f"{len(rows)} mistakes among {total} pictures")
    shown = sorted(rows, key=lambda row: (-row.margin, row.image))[:limit]
    shown_pairs = {(row.label, row.predicted) for row in shown}
    pairs = Counter((row.label, row.predicted) for row in rows)
    kinds = {
        pair: _MistakeKind(f"k{number}", " → ".join(pair), count, pair in shown_pairs)
        for number, (pair, count) in enumerate(sorted(pairs.items(), key=lambda item: (-item[1], item[0])))
    }
    heat = overlays(shown[:HEAT_MAPS]) if overlays is not None and shown else Overlays("")
    return render_page(
        "errors.html.j2",
        title=title,
        total=total,
        mistakes=len(rows),
        kinds=[kind for number, kind in enumerate(kinds.values()) if kind.is_shown or number < _KINDS],
        heat_note=heat.note,
        cards=[
            _MistakeCard(row, kinds[row.label, row.predicted].id, picture, heat.jpegs.get(row.image))
            for row, picture in zip(shown, map_in_threads(thumbnail, shown), strict=True)
        ],
        hidden=len(rows) - len(shown),
    )
