"""`flowerml ui`: MLflow's pages of the tracking store, opened where runs and the model registry are."""

import logging
import os
from collections.abc import Sequence

from flowerml.cli.arguments import parse_int
from flowerml.process.stop_signal import sigterm_as_interrupt
from flowerml.settings.flags import CommandParser

logger = logging.getLogger(__name__)

_PORT = "5000"  # MLflow's own


def make_parser() -> CommandParser:
    """The command's flags."""
    parser = CommandParser(
        prog="flowerml ui",
        description=(
            "Show runs, champions and reports in MLflow's pages, on this machine alone. For a store that is a server it"
            " prints the address and ends."
        ),
    )
    parser.add_argument(
        "--store", metavar="URI", help="the tracking store; default: MLFLOW_TRACKING_URI, or as MLflow finds it"
    )
    parser.add_argument(
        "--experiment", metavar="TEXT", help="the experiment to open; default: the one that was changed last"
    )
    parser.add_argument("--port", metavar="INT", default=_PORT, help=f"default: {_PORT}")
    return parser


def run(argv: Sequence[str] | None) -> int:
    """Start a server if the store has none, print the address, serve until it is stopped. Raises UserError."""
    args = make_parser().parse(argv)
    port = parse_int("--port", args.port, 1, 65535)
    if args.store:
        os.environ["MLFLOW_TRACKING_URI"] = args.store

    from flowerml.tracking.server.first_page import current_store, first_page, own_pages
    from flowerml.tracking.server.process import ServerOptions, running_server

    page = first_page(args.experiment)
    if address := own_pages():
        logger.info(f"{address}/{page}")
        return 0
    server = ServerOptions(current_store(), port)
    with sigterm_as_interrupt(), running_server(server, show_log=False) as process:
        logger.info(f"{server.address}/{page}\n(Ctrl-C ends it)")
        try:
            return process.wait()
        except KeyboardInterrupt:
            return 0
