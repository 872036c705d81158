"""One self-contained HTML page of the wrongly classified pictures, the most confidently wrong ones first.

The page is whole in itself (see `page`); the filter by kind of mistake is CSS only.
"""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from flowerml.reporting.html import bar, html_document, picture, text


@dataclass(frozen=True)
class Mistake:
    """One wrongly classified picture.

    `image` is its path relative to the data set, `label` its true class, `predicted` the class the model chose;
    `p_label` and `p_predicted` are the probabilities (0 to 1) the model gave to the two.
    """

    image: str
    label: str
    predicted: str
    p_label: float
    p_predicted: float

    @property
    def margin(self) -> float:
        """How much surer the model was of the wrong class than of the true one; -1 where either is not a number."""
        margin = self.p_predicted - self.p_label
        return margin if math.isfinite(margin) else -1.0


def _card(row: Mistake, kind: int, jpeg: bytes | None) -> str:
    """One picture; `kind` is the number of its pair of classes in the filter."""
    alt = f"{row.image}: {row.label}, taken for {row.predicted}"
    bars = bar("wrong", row.predicted, "predicted", row.p_predicted) + bar("right", row.label, "true", row.p_label)
    return f'<li class="card k{kind}">{picture(jpeg, alt)}<dl>{bars}</dl><p>{text(row.image)}</p></li>'


def _filter(kinds: Sequence[tuple[tuple[str, str], int]], shown: set[int], total: int) -> str:
    """Chips with the count of each pair of classes, also the filter; a pair without a card can't be chosen."""
    radio = '<label class="chip"><input type="radio" name="kind" autocomplete="off"'
    chips = [f'{radio} id="all" checked><span>all</span><b>{total}</b></label>']
    for number, ((label, predicted), count) in enumerate(kinds):
        off = "" if number in shown else " disabled"
        name = f"{text(label)} → {text(predicted)}"
        chips.append(f'{radio} id="k{number}"{off}><span>{name}</span><b>{count}</b></label>')
    return f"<fieldset><legend>true class → predicted class</legend>{''.join(chips)}</fieldset>"


def errors_page(
    rows: Sequence[Mistake],
    *,
    title: str,
    total: int,
    thumbnail: Callable[[Mistake], bytes | None],
    limit: int = 200,
) -> str:
    """HTML page of the mistakes `rows` among `total` classified pictures, the largest margin first.

    `thumbnail` gives a picture's JPEG file, or None for a neutral box; it is asked for shown pictures only, of which
    there are at most `limit`, and what it raises is passed on. Write the page as UTF-8. Raises ValueError for a
    negative limit, or a `total` below the number of mistakes.
    """
    if limit < 0:
        raise ValueError(f"limit is {limit}, which is negative")
    if total < len(rows):
        raise ValueError(f"{len(rows)} mistakes among {total} pictures")
    if not rows:
        fine = "Every picture was classified correctly." if total else "No pictures were classified."
        body = f'<p class="summary"><b>0 of {total} wrong</b></p>\n<p class="fine">{fine}</p>'
        return html_document(title, "", body)
    ordered = sorted(rows, key=lambda row: (-row.margin, row.image))
    pairs = Counter((row.label, row.predicted) for row in rows)
    kinds = sorted(pairs.items(), key=lambda item: (-item[1], item[0]))
    number = {pair: index for index, (pair, _) in enumerate(kinds)}
    shown = [(row, number[row.label, row.predicted]) for row in ordered[:limit]]
    cards = [_card(row, kind, thumbnail(row)) for row, kind in shown]
    rest = len(rows) - len(cards)
    note = "Surest mistakes first: by the probability of the predicted class minus that of the true class."
    if rest:
        note += f" {rest} more {'is' if rest == 1 else 'are'} not shown."
    used = {kind for _, kind in shown}
    rules = "".join(f"body:has(#k{kind}:checked) .card:not(.k{kind}) {{ display: none; }}\n" for kind in sorted(used))
    body = (
        f'<p class="summary"><b>{len(rows)} of {total} wrong</b> ({len(rows) / total:.1%})</p>\n'
        f'<p class="note">{note}</p>\n{_filter(kinds, used, len(rows))}\n<ol class="grid">\n'
        + "\n".join(cards)
        + "\n</ol>"
    )
    return html_document(title, rules, body)
