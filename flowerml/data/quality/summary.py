"""A report on a folder of pictures, to read before training on it."""

from collections import defaultdict
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

from flowerml.data.folders import PassedOver, passed_over_line
from flowerml.data.quality.near_duplicates import group_numbers
from flowerml.data.scan import BadFile, Picture, Scan, bad_file_lines
from flowerml.text import cut_list


@dataclass(frozen=True)
class FolderReport:
    """Counts, sizes, unreadable files and near-duplicates of a folder.

    `widths` and `heights` are (smallest, median, largest) in pixels, `sizes` every picture's (width, height).
    `near_duplicates` are groups of one class; `across_classes` groups of one photo under several labels; `identical`
    groups of equal bytes. Files are `<class>/<name>`. `groups` is every picture's group number (see `group_numbers`).
    """

    root: str
    digest: str
    counts: dict[str, int]
    widths: tuple[int, float, int]
    heights: tuple[int, float, int]
    sizes: tuple[tuple[int, int], ...]
    bad: tuple[BadFile, ...]
    left_out: tuple[str, ...]
    groups_from: str
    groups: tuple[int, ...]
    near_duplicates: tuple[tuple[str, ...], ...]
    across_classes: tuple[tuple[str, ...], ...]
    identical: tuple[tuple[str, ...], ...]
    passed_over: tuple[PassedOver, ...] = ()
    remarks: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """The report as plain values, without the fields that have one value per picture (sizes, groups)."""
        return {name: value for name, value in asdict(self).items() if name not in ("sizes", "groups")}


def folder_report(scanned: Scan) -> FolderReport:
    """The report on a scan. Raises UserError where `manifest.csv` can't be read."""
    numbers, source = group_numbers(scanned.pictures, scanned.root)
    groups: dict[object, list[Picture]] = defaultdict(list)
    contents: dict[object, list[Picture]] = defaultdict(list)
    for picture, number in zip(scanned.pictures, numbers, strict=True):
        groups[number].append(picture)
        contents[picture.sha256].append(picture)
    several = [group for group in groups.values() if len(group) > 1]
    return FolderReport(
        root=str(scanned.root),
        digest=scanned.digest,
        counts=scanned.counts(),
        widths=_size_range([picture.width for picture in scanned.pictures]),
        heights=_size_range([picture.height for picture in scanned.pictures]),
        sizes=tuple((picture.width, picture.height) for picture in scanned.pictures),
        bad=scanned.bad,
        left_out=scanned.left_out,
        groups_from=source,
        groups=tuple(numbers),
        near_duplicates=tuple(_keys(group) for group in several if len(_labels(group)) == 1),
        across_classes=tuple(_keys(group) for group in several if len(_labels(group)) > 1),
        identical=tuple(_keys(group) for group in contents.values() if len(group) > 1),
        passed_over=scanned.passed_over,
        remarks=scanned.remarks,
    )


def report_lines(report: FolderReport) -> list[str]:
    """The report as lines for a terminal, at most 20 groups of each kind."""
    total = sum(report.counts.values())
    counts = {printable_name(name): count for name, count in report.counts.items()}
    width = max(map(len, counts))
    lines = [f"{printable_name(report.root)}: {total} pictures, digest {report.digest[:8]}"]
    lines += [f"  {name:<{width}}  {count:6d}  {count / max(1, total):6.1%}" for name, count in counts.items()]
    lines.append(
        f"widths {_range_text(report.widths)} px, heights {_range_text(report.heights)} px (smallest, median, largest)"
    )
    lines.append(f"folders left out: {', '.join(map(printable_name, report.left_out)) or 'none'}")
    lines.append(passed_over_line(report.passed_over) or "passed over: nothing")
    lines += report.remarks
    lines.append(f"files that can't be read: {len(report.bad)}")
    if report.bad:
        lines += [f"  {line}" for line in bad_file_lines(report.bad)]
    lines += _group_lines(f"near-duplicates in a class ({report.groups_from})", report.near_duplicates)
    lines += _group_lines("the same photo under two classes", report.across_classes)
    lines += _group_lines("files of equal content", report.identical)
    return lines


def _group_lines(title: str, groups: tuple[tuple[str, ...], ...]) -> list[str]:
    lines = cut_list(["  ".join(map(printable_name, group)) for group in groups], "--json lists all")
    return [f"{title}: {len(groups)} groups", *(f"  {line}" for line in lines)]


def printable_name(name: str) -> str:
    """The name for a terminal; its repr() where it has unprintable characters."""
    return name if name.isprintable() else repr(name)


def _size_range(values: list[int]) -> tuple[int, float, int]:
    return (min(values), median(values), max(values)) if values else (0, 0, 0)


def _range_text(values: tuple[int, float, int]) -> str:
    return ", ".join(f"{value:g}" for value in values)


def _labels(group: list[Picture]) -> set[str]:
    return {picture.label for picture in group}


def _keys(group: list[Picture]) -> tuple[str, ...]:
    return tuple(picture.key for picture in group)
