"""Pages that say which pictures to look at, and which unlabelled ones to label, next."""

from collections.abc import Sequence
from dataclasses import dataclass

from flowerml.evaluation.labels.label_errors import LabelError
from flowerml.evaluation.labels.next_pictures import ClassNeed, ConfusedPair, UncertainPicture
from flowerml.reporting.html import render_page
from flowerml.reporting.thumbnail import Thumbnail

_PAIRS = 10


@dataclass(frozen=True)
class _Card:
    """A picture with two classes and their probabilities; `tag` stands over it."""

    key: str
    jpeg: bytes | None
    upper: tuple[str, str, float]
    lower: tuple[str, str, float]
    tag: str = ""

    @property
    def alt(self) -> str:
        """The picture in words."""
        return f"{self.key}: {self.upper[0]} or {self.lower[0]}"


def next_pictures_page(
    *,
    title: str,
    how: str,
    needs: Sequence[ClassNeed],
    pairs: Sequence[ConfusedPair],
    doubted: Sequence[LabelError],
    doubted_in_all: int,
    uncertain: Sequence[UncertainPicture],
    thumbnail: Thumbnail,
) -> str:
    """Render the page: classes, likely wrong labels, then the pictures that the model can't tell.

    `how` says where the probabilities come from; `doubted` are shown of `doubted_in_all` likely wrong labels.
    `thumbnail` is called once per shown picture. Write the page as UTF-8.
    """
    return render_page(
        "next_pictures.html.j2",
        title=title,
        how=how,
        needs=needs,
        pairs=pairs[:_PAIRS],
        errors=sum(pair.errors for pair in pairs),
        doubted=[
            _Card(
                row.key,
                thumbnail(row.key),
                (row.label, "the folder says", row.p_label),
                (row.suggested, "the model says", row.p_suggested),
            )
            for row in doubted
        ],
        doubted_in_all=doubted_in_all,
        hidden=doubted_in_all - len(doubted),
        uncertain=[
            _Card(
                row.key,
                thumbnail(row.key),
                (row.first, "most probable", row.p_first),
                (row.second, "then", row.p_second),
                "" if row.label == row.first else f"labelled {row.label}",
            )
            for row in uncertain
        ],
    )


def label_next_page(
    *, title: str, how: str, rows: Sequence[tuple[str, float, str, float, str, float]], thumbnail: Thumbnail
) -> str:
    """Render the page of unlabelled pictures: path, disagreement, and the two likeliest classes with probabilities.

    `thumbnail` is called once per picture. Write the page as UTF-8.
    """
    cards = [
        _Card(
            path,
            thumbnail(path),
            (first, "most probable", p_first),
            (second, "then", p_second),
            f"disagreement {score:.2f}",
        )
        for path, score, first, p_first, second, p_second in rows
    ]
    return render_page("label_next.html.j2", title=title, how=how, cards=cards)
