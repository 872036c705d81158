"""`flowerml app`: a page on this machine to try models with one's own pictures."""

import logging
import tempfile
from collections.abc import Sequence
from pathlib import Path

from flowerml.cli.arguments import parse_int
from flowerml.errors import UserError
from flowerml.files import missing_reason
from flowerml.process.stop_signal import sigterm_as_interrupt
from flowerml.settings.flags import CommandParser

logger = logging.getLogger(__name__)

_HOST, _PORT = "127.0.0.1", "7860"  # Gradio's own port


def make_parser() -> CommandParser:
    """The command's flags."""
    parser = CommandParser(
        prog="flowerml app",
        description=(
            "A page to try models: labels, probabilities and heat maps of photos, relations of two boxes. On this"
            " machine alone, without a network."
        ),
    )
    parser.add_argument(
        "--checkpoint",
        nargs="+",
        action="extend",
        default=[],
        metavar="FILE",
        help="delivered .pth files, or a run's folder or best.pth; default: the registered champions",
    )
    parser.add_argument(
        "--host", metavar="NAME", default=_HOST, help="127.0.0.1 or localhost: for this machine; default: %(default)s"
    )
    parser.add_argument("--port", metavar="INT", default=_PORT, help="0 takes a free one; default: %(default)s")
    parser.add_argument("--device", metavar="TEXT", help="cpu, cuda, cuda:N or mps; default: the best there is")
    return parser


def run(argv: Sequence[str] | None) -> int:
    """Load the models, print the page's address, serve until it is stopped. Raises UserError."""
    args = make_parser().parse(argv)
    port = parse_int("--port", args.port, 0, 65535)
    named = [_weights_file(Path(path)) for path in args.checkpoint]

    from flowerml.app.server import HOSTS, check_gradio, listening_socket, serve

    if args.host not in HOSTS:
        raise UserError(
            f"--host {args.host}: the page has no log-in, so it is for this machine alone. Allowed: {', '.join(HOSTS)};"
            " from another machine reach it through ssh -L"
        )
    check_gradio()
    with sigterm_as_interrupt(), listening_socket(args.host, port) as bound, tempfile.TemporaryDirectory() as scratch:
        weights = _shown_weights(named) or _registered_weights(Path(scratch))

        from flowerml.app.models import load_models
        from flowerml.training.device import use_device

        models = load_models(weights, str(use_device(args.device)))
        logger.info(f"models: {', '.join(weights)}")
        try:
            serve(models, bound, args.host, Path(scratch) / "uploads")
        except KeyboardInterrupt:
            return 0
    return 0


def _weights_file(path: Path) -> Path:
    """The file that a --checkpoint names. Raises UserError where there is none."""
    file = path / "best.pth" if path.is_dir() else path
    if reason := missing_reason(file):
        raise UserError(f"--checkpoint {file}: {reason}. Allowed: a delivered .pth, or a run's folder or best.pth")
    return file


def _shown_weights(paths: Sequence[Path]) -> dict[str, Path]:
    if not paths:
        return {}

    from flowerml.app.models import shown_names

    return shown_names(paths)


def _registered_weights(scratch: Path) -> dict[str, Path]:
    """The champions of the current tracking store, downloaded, by name and version. Raises UserError."""
    from flowerml.tracking.registry.fetch import fetch_registered, registered_families

    families = registered_families()
    if not families:
        raise UserError(
            "the tracking store has no registered champion: register one with `flowerml select --register`, or name"
            " files: --checkpoint FILE"
        )
    found = [fetch_registered(family, scratch / family) for family in families]
    return {f"{one.name}, version {one.version}": one.weights for one in found}
