"""`flowerml compare`: compare two finished campaigns, and check predictions about the second."""

import json
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flowerml.errors import UserError
from flowerml.progress_bar import status
from flowerml.redaction import redact_secrets
from flowerml.settings.flags import CommandParser
from flowerml.translation import LANGUAGES, translation

if TYPE_CHECKING:
    from flowerml.campaign.comparison.statistics import CampaignComparison

logger = logging.getLogger(__name__)

NAME = "comparison"


def make_parser() -> CommandParser:
    """The command's flags."""
    parser = CommandParser(
        prog="flowerml compare",
        description=(
            "Compare what two finished campaigns have chosen, on the same examples: one page, and the figures as"
            " Markdown and CSV."
        ),
    )
    about = (
        "a plan whose newest finished campaign is meant, or a campaign's own name; twice: the first is what the second"
        " is compared with"
    )
    parser.add_argument("--plan", action="append", default=[], metavar="TEXT", help=about)
    parser.add_argument("--baseline", metavar="TEXT", help="the first of the two, where --plan names the second only")
    parser.add_argument(
        "--predicted",
        metavar="FILE",
        help="ranges predicted for the second (YAML); default: those shipped for the two plans",
    )
    parser.add_argument(
        "--output-dir", metavar="PATH", default=".", help=f"where {NAME}.html, .md and .csv are written; default: here"
    )
    parser.add_argument(
        "--lang", choices=LANGUAGES, default="en", help="language of page, Markdown and sentences; default: en"
    )
    parser.add_argument("--json", action="store_true", help="print the figures as JSON on stdout")
    return parser


def run(argv: Sequence[str] | None) -> int:
    """Parse, ask the tracking server, write. Raises UserError."""
    args = make_parser().parse(argv)
    plans = args.plan if args.baseline is None else [args.baseline, *args.plan]
    if len(plans) != 2:
        times = "once" if len(args.plan) == 1 else f"{len(args.plan)} times"
        if args.baseline is not None:
            raise UserError(f"--plan is given {times} beside --baseline {args.baseline}: name one")
        raise UserError(f"--plan is given {times}: name two, for example --plan relations_exp1 --plan relations_exp2")

    from flowerml.campaign.comparison.predictions import predictions_for, read_predicted_ranges
    from flowerml.files import check_writable, write_text

    folder = Path(args.output_dir)
    given = read_predicted_ranges(Path(args.predicted)) if args.predicted is not None else None
    check_writable(folder / f"{NAME}.html")

    with status("loading MLflow"):
        from flowerml.campaign.comparison.data import load_comparison
        from flowerml.campaign.comparison.html import comparison_html
        from flowerml.campaign.comparison.statistics import compare_campaigns
        from flowerml.campaign.comparison.summary import summary_sentences
        from flowerml.campaign.comparison.text_formats import comparison_csv, comparison_markdown

    data, texts = load_comparison(*plans), translation(args.lang)
    comparison = compare_campaigns(data, predictions_for(data.first.plan, data.second.plan) if given is None else given)
    command = ("flowerml", "compare", *map(redact_secrets, sys.argv[1:] if argv is None else argv))
    write_text(folder / f"{NAME}.html", comparison_html(comparison, command, texts))
    write_text(folder / f"{NAME}.md", comparison_markdown(comparison, texts))
    write_text(folder / f"{NAME}.csv", comparison_csv(comparison))
    for line in summary_sentences(comparison, texts):
        logger.info(line)
    logger.info(f"{folder / NAME}.html shows it all; .md and .csv beside it have the figures")
    if args.json:
        print(json.dumps(_comparison_json(comparison)))
    return 0


def _comparison_json(comparison: "CampaignComparison") -> dict[str, Any]:
    data = comparison.data
    return {
        "campaigns": [data.first.campaign, data.second.campaign],
        "seeds": [run.seed for run in data.first.runs],
        "examples": len(data.labels),
        "figures": [
            {
                "figure": row.metric,
                "class": row.class_name or None,
                "n": row.n,
                "first": row.first.value,
                "second": row.second.value,
                "difference": row.difference.value,
                "difference_interval_95": (
                    None if row.difference.low is None else [row.difference.low, row.difference.high]
                ),
                "predicted": [row.predicted.low, row.predicted.high] if row.predicted else None,
                "verdict": row.verdict,
            }
            for row in comparison.rows
        ],
    }
