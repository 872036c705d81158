"""Pictures that need no label: files, folders, and tables of paths. Those of `predict`, `explain`, `dataset next`."""

from collections.abc import Sequence
from pathlib import Path

from flowerml.data.folders import find_pictures
from flowerml.data.folders.walk import PassedOver
from flowerml.data.sources.forms import TABLE_SUFFIXES
from flowerml.data.sources.table.csv_table import read_rows
from flowerml.data.sources.table.file_rows import list_files


def find_unlabelled(places: Sequence[Path]) -> tuple[list[Path], list[PassedOver]]:
    """As `find_pictures`; a table (`.csv`, `.tsv`) among `places` stands for the files in its column `path`.

    Raises:
        UserError: as `find_pictures`, or a table that can't be read, has no such column, or names files that are not
            there.
    """
    found: dict[Path, None] = {}
    passed_over: list[PassedOver] = []
    for place in places:
        if place.suffix.lower() in TABLE_SUFFIXES and place.is_file():
            listed = list_files(place, read_rows(place, labelled=False))
            found |= dict.fromkeys(Path(str(picture.location)) for picture in listed.pictures)
        else:
            paths, counts = find_pictures([place])
            found |= dict.fromkeys(paths)
            passed_over += counts
    return list(found), passed_over
