"""Likely label errors on the page of a folder, class by class."""

from dataclasses import dataclass

from flowerml.data.quality.summary import FolderReport
from flowerml.evaluation.labels.label_errors import LabelError, LabelErrors
from flowerml.reporting.thumbnail import Thumbnail

_MAX_CARDS = 600  # on the page: some 10 kB each


@dataclass(frozen=True)
class LabelErrorCard:
    """A picture whose label is doubted, with its thumbnail."""

    label_error: LabelError
    jpeg: bytes | None

    @property
    def alt(self) -> str:
        """The picture in words."""
        row = self.label_error
        return f"{row.key}: labelled {row.label}, taken for {row.suggested}"


@dataclass(frozen=True)
class LabelErrorClass:
    """One class of the folder: how many of its `pictures` are likely wrong, and the cards shown.

    `id` is its name in HTML and CSS; `pictures` is 0 where the folder does not have the class.
    """

    id: str
    name: str
    likely_wrong: int
    pictures: int
    cards: tuple[LabelErrorCard, ...]
    hidden: int


def label_error_classes(
    report: FolderReport, label_errors: LabelErrors, thumbnail: Thumbnail, limit: int
) -> list[LabelErrorClass]:
    """The classes with doubted labels, those of the folder first: up to `limit` cards each, fewer for many classes."""
    doubted = {name: rows for name, rows in label_errors.by_class.items() if rows}
    names = [
        *(name for name in report.counts if name in doubted),
        *(name for name in doubted if name not in report.counts),
    ]
    limit = min(limit, max(1, _MAX_CARDS // max(1, len(names))))
    return [
        LabelErrorClass(
            id=f"c{number}",
            name=name,
            likely_wrong=label_errors.estimated.get(name, 0),
            pictures=report.counts.get(name, 0),
            cards=tuple(LabelErrorCard(row, thumbnail(row.key)) for row in doubted[name][:limit]),
            hidden=max(0, len(doubted[name]) - limit),
        )
        for number, name in enumerate(names)
    ]
