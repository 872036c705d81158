"""Reports of folders and likely label errors, their page and its parts."""

import re
from dataclasses import replace

from flowerml.data.quality.summary import FolderReport
from flowerml.data.scan import BadFile
from flowerml.evaluation.labels.label_errors import LabelError, LabelErrors
from flowerml.reporting.data_page.page import data_page

EMPTY = FolderReport(
    root="data/train",
    digest="0123456789abcdef" * 4,
    counts={"daisy": 0, "rose": 0},
    widths=(0, 0, 0),
    heights=(0, 0, 0),
    sizes=(),
    bad=(),
    left_out=(),
    groups_from="perceptual hash, distance <= 4 of 64",
    groups=(),
    near_duplicates=(),
    across_classes=(),
    identical=(),
)
FOUND = replace(
    EMPTY,
    counts={"daisy": 1200, "rose": 400},
    widths=(300, 320, 640),
    heights=(200, 240.5, 480),
    sizes=((640, 480), (320, 240), (320, 240), (300, 300)),
    bad=(BadFile("rose/a.jpg", "not a picture"), BadFile("rose/b.jpg", "truncated")),
    left_out=("cat & dog",),
    near_duplicates=(("daisy/1.jpg", "daisy/2.jpg"), ("rose/1.jpg", "rose/2.jpg", "rose/3.jpg")),
    across_classes=(("daisy/5.jpg", "rose/5.jpg"),),
    identical=(("daisy/1.jpg", "daisy/2.jpg"), ("rose/1.jpg", "rose/3.jpg")),
)


def label_error(key: str, p_label: float = 0.1, *, likely: bool = False, suggested: str = "tulip") -> LabelError:
    return LabelError(key, key.partition("/")[0], suggested, p_label, 0.8, likely)


def label_errors(*rows: LabelError, **estimated: int) -> LabelErrors:
    names = dict.fromkeys(row.label for row in rows)
    return LabelErrors(
        {name: [row for row in rows if row.label == name] for name in names}, "Five folds of <a model>.", estimated
    )


def page(report=FOUND, found_errors=None, *, thumbnail=lambda key: b"jpeg", limit=40) -> str:
    return data_page(report, found_errors, thumbnail=thumbnail, limit=limit)


def part(text: str, anchor: str) -> str:
    """The section of that name, as it stands in the page."""
    return re.search(rf'<section id="{anchor}".*?</section>', text, re.DOTALL)[0]


def tiles(text: str) -> dict[str, tuple[str, bool]]:
    """Section -> (number, whether it is coloured)."""
    found = re.findall(r'<a( class="act")? href="#(\w+)"><b>([^<]*)</b>', text)
    return {anchor: (number, bool(mark)) for mark, anchor, number in found}
