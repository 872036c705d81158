"""`flowerml dataset next`: which unlabelled photos to label first."""

import argparse
import json
import logging
from pathlib import Path

from flowerml.cli.arguments import parse_page
from flowerml.errors import UserError, one_line
from flowerml.files import write_text
from flowerml.text import cut_list

logger = logging.getLogger(__name__)

NEXT_PAGE = "label-next.html"
_PRINTED = 20
_SHOWN = 120  # on the page


def run_next(args: argparse.Namespace) -> int:
    """Rank the photos, print the first, write the page. Raises UserError. Exits 1 if photos could not be read."""
    if not args.folds or not args.photos:
        raise UserError(
            "dataset next needs --folds (a folder of flowerml train --folds) and --photos (a folder of unlabelled ones,"
            " or a table of their paths)"
        )

    from flowerml.data.decode import BadImage, read_image
    from flowerml.data.folders import passed_over_line
    from flowerml.data.sources.unlabelled import find_unlabelled
    from flowerml.reporting.next_pictures_page import label_next_page
    from flowerml.reporting.thumbnail import thumbnail_jpeg
    from flowerml.runs.folds.out_of_fold import read_cross_validation
    from flowerml.runs.folds.unlabelled import rank_unlabelled, unlabelled_csv

    page = parse_page(args.html, NEXT_PAGE)
    folds = read_cross_validation(Path(args.folds))
    folds.require_label_errors()
    paths, passed_over = find_unlabelled([Path(args.photos)])
    if line := passed_over_line(passed_over):
        logger.info(line)
    found = rank_unlabelled(folds, paths, args.device)
    if args.json:
        content = {
            "pictures": [picture.as_json() for picture in found.pictures],
            "bad": [{"image": str(path), "reason": reason} for path, reason in found.bad],
        }
        print(json.dumps(content))
    else:
        print("disagreement  likeliest classes")
        for one in found.pictures[:_PRINTED]:
            classes = f"{one.first} {one.p_first:.2f}, {one.second} {one.p_second:.2f}"
            print(f"{one.disagreement:12.4f}  {classes}  {one_line(str(one.path))}")
    if page is not None:

        def thumbnail(key: str) -> bytes | None:
            try:
                return thumbnail_jpeg(read_image(Path(key)))
            except BadImage:
                return None  # removed meanwhile

        how = (
            f"{len(found.pictures):,} photos, ranked by how much the {len(folds.runs)} models of {folds.folder}"
            f" disagree on them; the first {min(_SHOWN, len(found.pictures))} are shown."
        )
        rows = [
            (str(one.path), one.disagreement, one.first, one.p_first, one.second, one.p_second)
            for one in found.pictures[:_SHOWN]
        ]
        write_text(page, label_next_page(title="Photos to label next", how=how, rows=rows, thumbnail=thumbnail))
        write_text(page.with_suffix(".csv"), unlabelled_csv(found.pictures))
        logger.info(f"the page with the photos: {page}; all of them: {page.with_suffix('.csv')}")
    if found.bad:
        lines = [one_line(f"{path}: {reason}") for path, reason in found.bad]
        logger.info("\n".join([f"can't be used ({len(lines)}):", *(f"  {line}" for line in cut_list(lines))]))
    return 1 if found.bad else 0
