"""`flowerml combine`: a greedy soup of finished runs of one model, or the weights of an ensemble of two."""

import argparse
import json
import logging
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

from flowerml.cli.arguments import parse_int
from flowerml.errors import UserError
from flowerml.progress_bar import status
from flowerml.settings import resolve_setting
from flowerml.settings.flags import CommandParser

logger = logging.getLogger(__name__)

FAMILIES = ("cnn", "vit")


def make_parser() -> CommandParser:
    """The command's flags."""
    parser = CommandParser(
        prog="flowerml combine",
        description="Average the weights of finished runs of one model, one by one while accuracy does not fall.",
    )
    parser.add_argument("runs", nargs="*", metavar="RUN", help="a run's folder or its best.pth; two or more")
    parser.add_argument("--campaign", metavar="TEXT", help="instead: all finished training runs of this campaign")
    parser.add_argument("--family", choices=FAMILIES, help="with --campaign: of this family")
    parser.add_argument(
        "--interpolate",
        action="store_true",
        help="of two runs, a linear probe and a fine-tuned one: the best point between their weights (WiSE-FT)",
    )
    parser.add_argument(
        "--ensemble",
        action="store_true",
        help="of two runs of any models: the weights of their mean probabilities; writes nothing",
    )
    parser.add_argument("--output-dir", metavar="PATH", help="a new or empty folder for the result")
    parser.add_argument("--train-dir", metavar="PATH", help="the pictures' folder; default: the one trained on")
    parser.add_argument(
        "--seed", metavar="INT", default="0", help="of the halves of the validation pictures; default: 0"
    )
    parser.add_argument("--device", metavar="TEXT", help="cpu, cuda, cuda:N or mps; default: the best there is")
    parser.add_argument("--workers", metavar="INT", help="processes that load pictures; default: by cores")
    parser.add_argument("--json", action="store_true", help="print the result as JSON on stdout")
    parser.add_argument("--no-record", action="store_true", help="leave no run in MLflow")
    return parser


def run(argv: Sequence[str] | None) -> int:
    """Parse, combine, print. Raises UserError."""
    args = make_parser().parse(argv)
    seed = parse_int("--seed", args.seed, 0, 2**31)
    workers = resolve_setting("workers", args.workers)
    _check_runs(args)
    if args.ensemble:
        return _print_ensemble(args, seed)

    with status("loading PyTorch and MLflow"):
        from flowerml.campaign.run_folders import campaign_run_folders
        from flowerml.runs.soup.evaluator import Request
        from flowerml.runs.soup.greedy import combine_runs, format_soup
        from flowerml.runs.soup.interpolate import format_interpolation, interpolate_runs
        from flowerml.runs.soup.record import Combination, record_combination
        from flowerml.tracking import default_experiment, start_child_run, where_to_look

    named = nullcontext(tuple(map(Path, args.runs)))
    with campaign_run_folders(args.campaign, args.family) if args.campaign else named as runs:
        request = Request(
            runs=runs,
            output_dir=Path(args.output_dir),
            train_dir=Path(args.train_dir) if args.train_dir else None,
            seed=seed,
            device=None if args.device == "auto" else args.device,
            workers=workers,
            skip_others=bool(args.campaign),  # what was named by hand is refused
        )
        made: Combination
        if args.interpolate:
            point = made = interpolate_runs(request)
            text, content = format_interpolation(point), point.as_json()
        else:
            soup = made = combine_runs(request)
            text, content = format_soup(soup), soup.as_json()
        print(json.dumps(content) if args.json else text)
        if not args.no_record:
            chosen = default_experiment()
            run_id = record_combination(
                made, lambda experiment, name: start_child_run(None, chosen or experiment, name, "combine")
            )
            logger.info(f"run {run_id} has its files and figures: {where_to_look(run_id)}")
    return 0


def _print_ensemble(args: argparse.Namespace, seed: int) -> int:
    """Choose the weights of an ensemble and print them. Raises UserError."""
    from flowerml.runs.soup.ensemble import choose_ensemble

    first, second = map(Path, args.runs)
    found = choose_ensemble((first, second), train_dir=Path(args.train_dir) if args.train_dir else None, seed=seed)
    print(json.dumps(found.as_json()) if args.json else found.choice.line())
    return 0


def _has_kept_epochs(runs: Sequence[str]) -> bool:
    """Whether the one run that is named has other epochs to average with."""
    from flowerml.runs.outputs.kept_epochs import EPOCHS  # late: it needs torch

    return len(runs) == 1 and (Path(runs[0]) / EPOCHS).is_dir()


def _check_runs(args: argparse.Namespace) -> None:
    """Refuse runs that are named in two ways, or too few, and flags that do not go together. Raises UserError."""
    if not (args.output_dir or args.ensemble):
        raise UserError("the following arguments are required: --output-dir. flowerml combine --help lists the flags")
    if args.campaign and args.runs:
        raise UserError("--campaign and run folders exclude each other: name the runs in one way")
    if bool(args.campaign) != bool(args.family):
        raise UserError("--campaign and --family belong together: a campaign has runs of several models")
    if not args.campaign and len(args.runs) < 2 and not _has_kept_epochs(args.runs):
        found = f"{args.runs[0]} is all there is to combine" if args.runs else "nothing is named to combine"
        raise UserError(
            f"{found}: name two or more runs of one model, one that has kept its epochs (--keep-epochs), or --campaign"
            " and --family"
        )
    if args.interpolate and len(args.runs) != 2:
        raise UserError(
            f"--interpolate is of two runs, not of {len(args.runs) or 'a campaign'}: name a linear probe (--probe) and"
            " a fine-tuned run with the same --weights"
        )
    if not args.ensemble:
        return
    if args.interpolate or args.output_dir:
        raise UserError(
            f"--ensemble does not go with {'--interpolate' if args.interpolate else '--output-dir'}: it prints weights"
            " and writes no file. Leave out one of the two"
        )
    if len(args.runs) != 2:
        raise UserError(
            f"--ensemble is of two runs, not of {len(args.runs) or 'a campaign'}: name two with the same validation"
            " pictures"
        )
