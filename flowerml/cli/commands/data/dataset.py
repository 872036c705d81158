"""`flowerml dataset make|check|fetch|next`: generate a dataset, check a folder, fetch photos, rank unlabelled ones."""

import argparse
import json
import logging
import re
import shlex
from collections.abc import Sequence
from pathlib import Path

from flowerml.cli.arguments import parse_int, parse_page
from flowerml.cli.label_next import NEXT_PAGE, run_next
from flowerml.errors import UserError, one_line
from flowerml.progress_bar import track
from flowerml.settings import resolve_setting
from flowerml.settings.addresses import is_remote
from flowerml.settings.flags import CommandParser
from flowerml.text import cut_list

logger = logging.getLogger(__name__)

PAGE = "data-check.html"
# The flags that not every action has, by the names of their values.
_ACTIONS_OF_FLAGS = {
    **dict.fromkeys(("per_class", "long_tail", "size", "seed"), ("make",)),
    **dict.fromkeys(("classes", "checkpoint", "annotations", "wording"), ("check",)),
    **dict.fromkeys(("html", "folds", "device", "json"), ("check", "next")),
    "kind": ("make", "check"),
    "photos": ("next",),
    **dict.fromkeys(("url", "archive", "sha256", "keep_archive"), ("fetch",)),
}


def make_parser() -> CommandParser:
    """The command's flags."""
    parser = CommandParser(
        prog="flowerml dataset",
        description="Draw a set of pictures, look through a folder of them, fetch photos, or rank unlabelled ones.",
    )
    about = (
        "make: draw a set; check: list what a folder holds; fetch: bring the public flower photos (229 MB, CC-BY);"
        " next: which unlabelled photos to label first"
    )
    parser.add_argument("action", choices=("make", "check", "fetch", "next"), help=about)
    parser.add_argument("--train-dir", default="data/train", metavar="PATH", help="the folder; default: data/train")
    kinds = (
        "flowers: pictures in a folder per class; relations: two boxed things in a picture, with annotations; default:"
        " flowers"
    )
    parser.add_argument("--kind", choices=("flowers", "relations"), default="flowers", help=kinds)
    make = parser.add_argument_group("make")
    make.add_argument(
        "--per-class", default="60", metavar="INT", help="pictures (pairs of things) per class; default: 60"
    )
    tail = (
        "relations: as unequal as in a real set (on 345 times as often as outside), --per-class being the mean;"
        " default: false"
    )
    make.add_argument("--long-tail", nargs="?", const="true", default="false", choices=("true", "false"), help=tail)
    make.add_argument("--size", default="160", metavar="INT", help="typical edge [px] (32 to 2048); default: 160")
    make.add_argument("--seed", default="11", metavar="INT", help="seed of the drawings; default: 11")
    check = parser.add_argument_group("check")
    check.add_argument("--classes", metavar="A,B,...", help="class names, or `folders`; default: the five flowers")
    check.add_argument(
        "--html",
        nargs="?",
        const="",
        metavar="FILE",
        help=f"write a page with all that was found; default name: {PAGE} (next: {NEXT_PAGE})",
    )
    doubt = "a run's best.pth: also look for wrong labels with its model (a minute per 1,000 pictures without a GPU)"
    check.add_argument("--checkpoint", metavar="PATH", help=doubt)
    doubt = "a folder of flowerml train --folds: also look for wrong labels with its out-of-fold predictions (seconds)"
    check.add_argument("--folds", metavar="PATH", help=doubt)
    check.add_argument(
        "--device",
        metavar="TEXT",
        help="where that model computes: cpu, cuda, cuda:N or mps; default: the best there is",
    )
    check.add_argument(
        "--annotations",
        metavar="PATH",
        help="relations: the file of boxes and relations; default: found in --train-dir",
    )
    check.add_argument(
        "--wording",
        metavar="TEXT",
        default="exact",
        help="relations: exact, synonyms, or a table of texts; default: exact",
    )
    check.add_argument("--json", action="store_true", help="print what was found as JSON on stdout")
    label = parser.add_argument_group("next")
    label.add_argument(
        "--photos",
        metavar="PATH",
        help="folder or table of unlabelled photos, ranked by how much the models of --folds disagree on them",
    )
    fetch = parser.add_argument_group("fetch")
    fetch.add_argument(
        "--url", metavar="URL", help="a .tgz with one folder per class; default: TensorFlow's flower_photos.tgz"
    )
    fetch.add_argument(
        "--archive", metavar="FILE", help="a .tgz that is on this disk already: no network, and it is left as it is"
    )
    fetch.add_argument(
        "--sha256",
        metavar="HEX",
        help="the archive's digest; default: that of flower_photos.tgz, from wherever it comes",
    )
    keep = "leave the fetched archive beside --train-dir; default: false"
    fetch.add_argument("--keep-archive", nargs="?", const="true", default="false", choices=("true", "false"), help=keep)
    return parser


def run(argv: Sequence[str] | None) -> int:
    """Parse and run the action. Raises UserError. `check` exits 1 if it found problems."""
    parser = make_parser()
    args = parser.parse(argv)
    for name, actions in _ACTIONS_OF_FLAGS.items():
        if args.action not in actions and getattr(args, name) != parser.get_default(name):
            raise UserError(
                f"--{name.replace('_', '-')} is of dataset {' and '.join(actions)}: leave it out with dataset"
                f" {args.action}"
            )
    return {"make": _make_dataset, "check": _check_dataset, "fetch": _fetch_dataset, "next": run_next}[args.action](
        args
    )


def _make_dataset(args: argparse.Namespace) -> int:
    per_class = parse_int("--per-class", args.per_class, 1, 100_000)
    size = parse_int("--size", args.size, 32, 2048)
    seed = parse_int("--seed", args.seed, 0, 2**31)
    root = _own_folder(args)
    try:
        if root.exists() and (not root.is_dir() or any(root.iterdir())):
            raise UserError(
                f"--train-dir {root} exists and is not empty: drawings never mix with other pictures; name a new folder"
            )
    except OSError as error:
        raise UserError(f"--train-dir {root}: {error.strerror}. Name another folder") from error

    if args.kind == "relations":
        return _make_scenes(root, per_class, size, seed, tail=args.long_tail == "true")
    if args.long_tail == "true":
        raise UserError("--long-tail is for --kind relations: the flowers are drawn in equal numbers")

    from flowerml.data.synthetic.flowers import CLASSES, make_flowers

    progress = track(range(per_class * len(CLASSES)), "drawing")
    next(progress)

    def on_image(_path: Path) -> None:
        next(progress, None)

    paths = make_flowers(root, per_class, size=size, seed=seed, on_image=on_image)
    progress.close()
    logger.info(f"{len(paths)} pictures, {per_class} of each of {', '.join(CLASSES)}, drawn into {root}")
    return 0


def _own_folder(args: argparse.Namespace) -> Path:
    """The folder to write into. Raises UserError for an address."""
    if is_remote(args.train_dir):
        raise UserError(f"--train-dir {args.train_dir}: pictures are written on this machine: name a folder")
    return Path(args.train_dir)


def _make_scenes(root: Path, per_class: int, size: int, seed: int, *, tail: bool) -> int:
    from flowerml.data.synthetic.scenes import MIN_SIZE, make_scenes, relation_counts

    if size < MIN_SIZE:
        raise UserError(f"--size is {size}. Allowed with --kind relations: {MIN_SIZE} to 2048")
    if per_class < 2:
        raise UserError(
            f"--per-class is {per_class}. Allowed with --kind relations: 2 and more, one for each side of a split"
        )
    counts = relation_counts(10 * per_class, long_tail=tail)
    progress = track(range(sum(counts.values())), "drawing")
    next(progress)

    def on_image(pairs: int) -> None:
        for _ in range(pairs):
            next(progress, None)

    pairs = make_scenes(root, counts, size=size, seed=seed, on_image=on_image)
    progress.close()
    listed = ", ".join(f"{name} {count}" for name, count in counts.items())
    logger.info(f"{len(pairs)} pairs in {len({pair.image for pair in pairs})} pictures drawn into {root}: {listed}")
    logger.info(f"next: flowerml train --model relation:timm:NAME --weights PATH --train-dir {shlex.quote(str(root))}")
    return 0


def _check_dataset(args: argparse.Namespace) -> int:
    if args.kind == "relations":
        return _check_pair_dataset(args)
    if args.annotations or args.wording != "exact":
        raise UserError("--annotations and --wording are for --kind relations")
    if args.folds and args.checkpoint:
        raise UserError("--folds and --checkpoint both look for wrong labels: give one of the two")
    if args.device and not args.checkpoint:
        raise UserError("--device is for the model that looks for wrong labels: give it with --checkpoint PATH")

    from flowerml.data.quality.summary import folder_report, report_lines
    from flowerml.runs.data_check import find_suspect_labels, suspect_labels_of_folds, write_data_page
    from flowerml.runs.folds.out_of_fold import read_cross_validation
    from flowerml.tasks.flowers import FlowersTask
    from flowerml.training.checkpoints.checkpoint import load_checkpoint

    root = Path(args.train_dir)
    page = parse_page(args.html, PAGE)
    checkpoint = load_checkpoint(Path(args.checkpoint)) if args.checkpoint else None
    folds = read_cross_validation(Path(args.folds)) if args.folds else None
    scanned = FlowersTask().scan(root, resolve_setting("classes", args.classes))
    report = folder_report(scanned)
    suspects = None
    if checkpoint is not None:
        suspects = find_suspect_labels(checkpoint, Path(args.checkpoint), scanned, report, args.device)
    elif folds is not None:
        suspects = suspect_labels_of_folds(folds, scanned)
    if args.json:
        print(json.dumps(report.as_json() | ({"suspects": suspects.as_json()} if suspects else {})))
    else:
        print("\n".join([*report_lines(report), *(suspects.lines() if suspects else [])]))
    if page is not None:
        write_data_page(page, scanned, report, suspects)
        logger.info(f"the page with the pictures side by side: {page}")
    return 1 if report.bad or report.across_classes else 0


def _check_pair_dataset(args: argparse.Namespace) -> int:
    for flag in ("html", "checkpoint", "folds", "device"):
        if getattr(args, flag) is not None:
            raise UserError(f"--{flag} looks at whole pictures in folders: leave it out with --kind relations")

    from flowerml.data.relations.folder import read_pair_folder
    from flowerml.data.relations.parser import FULL_LIST
    from flowerml.data.relations.split import measure_ambiguity

    annotations = Path(args.annotations) if args.annotations else None
    folder = read_pair_folder(Path(args.train_dir), annotations, args.wording, resolve_setting("classes", args.classes))
    bad = [f"{one.file}: {one.reason}" for one in folder.bad]
    doubt = measure_ambiguity(folder.pairs) if folder.pairs else None
    if args.json:
        found = {
            "pairs": len(folder.pairs),
            "pictures": len(folder.sha256),
            "digest": folder.digest,
            "counts": folder.counts(),
            "bad": bad,
        }
        print(json.dumps({**found, "ceiling": None if doubt is None else doubt.ceiling}))
        return 1 if bad else 0
    counts = ", ".join(f"{name} {count:,}" for name, count in folder.counts().items())
    print(
        f"{folder.annotations.source}: {len(folder.pairs):,} usable pairs in {len(folder.sha256):,} pictures: {counts}"
    )
    print("\n".join([*cut_list(folder.annotations.notes), *([doubt.summary()] if doubt else [])]))
    if bad:
        listed = cut_list([one_line(line) for line in bad], FULL_LIST)
        print("\n".join([f"can't be used ({len(bad):,}):", *(f"  {line}" for line in listed)]))
    return 1 if bad else 0


def _fetch_dataset(args: argparse.Namespace) -> int:
    from flowerml.data.download.flower_photos import PUBLIC_SHA256, PUBLIC_URL, fetch_photos, unpack_photos

    root = _own_folder(args)
    sha256 = PUBLIC_SHA256 if args.sha256 is None else args.sha256.lower()
    if not re.fullmatch(r"[0-9a-f]{64}", sha256):
        raise UserError(f"--sha256 is {args.sha256!r}. Allowed: 64 hexadecimal digits, as sha256sum prints them")
    if args.archive is not None and args.url is not None:
        raise UserError("--archive and --url are given: name one of them")
    if args.archive is not None:
        counts = unpack_photos(root, Path(args.archive), sha256)
    else:
        url = PUBLIC_URL if args.url is None else args.url
        counts = fetch_photos(root, url, sha256, keep_archive=args.keep_archive == "true")
    licence = f"; licence: {root / 'LICENSE.txt'}" if (root / "LICENSE.txt").exists() else ""
    logger.info(
        f"{sum(counts.values())} pictures in {root}:"
        f" {', '.join(f'{name} {count}' for name, count in counts.items())}{licence}"
    )
    logger.info(f"next: flowerml dataset check --train-dir {shlex.quote(str(root))}")
    return 0
