"""The page of a data folder (`data-check.html`): counts, sizes, and everything to look at before training on it."""

from dataclasses import dataclass
from pathlib import PurePath

from flowerml.data.folders import passed_over_line
from flowerml.data.quality.summary import FolderReport
from flowerml.evaluation.labels.label_errors import LabelErrors
from flowerml.reporting.data_page.groups import duplicate_groups
from flowerml.reporting.data_page.label_errors import label_error_classes
from flowerml.reporting.figures.size_figure import describe_sizes, size_figure
from flowerml.reporting.html import render_page
from flowerml.reporting.thumbnail import Thumbnail

_MAX_ROWS = 500  # of the table of bad files


@dataclass(frozen=True)
class _Tile:
    """A finding at a glance: a count (None: unknown) that links to its section. Coloured where action is needed."""

    anchor: str
    count: int | None
    noun: str
    advice: str
    needs_action: bool = False


def data_page(report: FolderReport, label_errors: LabelErrors | None, *, thumbnail: Thumbnail, limit: int = 40) -> str:
    """Render a folder's report; `label_errors` is None where labels were not checked.

    `thumbnail` gives the JPEG file (160 to 224 pixels) of a picture by its key, or None for a neutral box; it is called
    for shown pictures only, and its exceptions propagate. At most `limit` groups of each kind and `limit` label errors
    of a class are shown, and fewer of a class where there are more than a few dozen classes. Write the page as UTF-8.
    Raises ValueError for a negative limit.
    """
    if limit < 0:
        raise ValueError(f"limit is {limit}, which is negative")
    return render_page(
        "data_check.html.j2",
        title=f"Data check: {PurePath(report.root).name or report.root}",
        report=report,
        passed_over=passed_over_line(report.passed_over),
        tiles=_finding_tiles(report, label_errors),
        balance=_class_balance(report),
        size_summary=describe_sizes(report.sizes),
        size_figure=size_figure(report.sizes) if report.sizes else None,
        max_rows=_MAX_ROWS,
        across=duplicate_groups(report.across_classes, report.identical, thumbnail, limit),
        near=duplicate_groups(report.near_duplicates, report.identical, thumbnail, limit),
        label_errors=label_errors,
        label_classes=label_error_classes(report, label_errors, thumbnail, limit) if label_errors is not None else (),
    )


def _finding_tiles(report: FolderReport, label_errors: LabelErrors | None) -> list[_Tile]:
    bad, across, near = len(report.bad), len(report.across_classes), len(report.near_duplicates)
    nouns = "photo under two labels", "photos under two labels"
    tiles = [
        _action_tile("bad", bad, "bad file", "bad files", "mend or remove them"),
        _action_tile("across", across, *nouns, "decide which label is right"),
        _Tile(
            "near",
            near,
            "near-duplicate group" if near == 1 else "near-duplicate groups",
            "no action needed" if near else "nothing found",
        ),
    ]
    if label_errors is None:
        return [*tiles, _Tile("labels", None, "likely wrong labels", "not looked for")]
    wrong = sum(label_errors.estimated.values())
    return [*tiles, _action_tile("labels", wrong, "likely wrong label", "likely wrong labels", "look at each of them")]


def _action_tile(anchor: str, count: int, noun: str, plural: str, advice: str) -> _Tile:
    return _Tile(
        anchor, count, noun if count == 1 else plural, advice if count else "nothing found", needs_action=count > 0
    )


def _class_balance(report: FolderReport) -> str:
    """How many times as many pictures the largest class has as the smallest, as a sentence."""
    ordered = sorted(report.counts.items(), key=lambda item: item[1])
    if empty := [name for name, count in ordered if count == 0]:
        return f"Without a readable picture: {', '.join(empty)}."
    if len(ordered) < 2:
        return "There is only one class." if ordered else "There are no classes."
    (small, fewest), (large, most) = ordered[0], ordered[-1]
    if fewest == most:
        return "Every class has as many pictures."
    return f"Imbalance {most / fewest:.2f} : 1, from {large} ({most:,}) to {small} ({fewest:,})."
