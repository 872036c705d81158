"""`flowerml combine`: a greedy soup of finished runs of one model."""

import json
from collections.abc import Sequence
from pathlib import Path

from flowerml.cli.arguments import parse_int
from flowerml.errors import UserError
from flowerml.settings import resolve_setting
from flowerml.settings.flags import CommandParser


def run(argv: Sequence[str] | None) -> int:
    """Parse, combine, print. Raises UserError."""
    parser = CommandParser(
        prog="flowerml combine",
        description="Average the weights of finished runs of one model, one by one while accuracy does not fall.",
    )
    parser.add_argument("runs", nargs="+", metavar="RUN", help="a run's folder or its best.pth; two or more")
    parser.add_argument("--output-dir", required=True, metavar="PATH", help="a new or empty folder for the result")
    parser.add_argument("--train-dir", metavar="PATH", help="the pictures' folder; default: the one trained on")
    parser.add_argument(
        "--seed", metavar="INT", default="0", help="of the halves of the validation pictures; default: 0"
    )
    parser.add_argument("--device", metavar="TEXT", help="cpu, cuda, cuda:N or mps; default: the best there is")
    parser.add_argument("--workers", metavar="INT", help="processes that load pictures; default: by cores")
    parser.add_argument("--json", action="store_true", help="print the result as JSON on stdout")
    args = parser.parse(argv)
    seed = parse_int("--seed", args.seed, 0, 2**31)
    workers = resolve_setting("workers", args.workers)
    if len(args.runs) < 2:
        raise UserError(f"{args.runs[0]} is all there is to combine: name two or more runs of one model")

    from flowerml.runs.combine import Request, combine_runs, format_soup

    soup = combine_runs(
        Request(
            runs=tuple(map(Path, args.runs)),
            output_dir=Path(args.output_dir),
            train_dir=Path(args.train_dir) if args.train_dir else None,
            seed=seed,
            device=None if args.device == "auto" else args.device,
            workers=workers,
        )
    )
    print(json.dumps(soup.as_json()) if args.json else format_soup(soup))
    return 0
