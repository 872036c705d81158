"""`flowerml restore`: put a backup into an empty database and an empty folder, or only check it."""

import logging
import os
from collections.abc import Sequence
from pathlib import Path

from flowerml.cli.commands.server.backup import describe, log_left_out
from flowerml.cli.server_flags import DEFAULT_USERS, add_server_data, store_address
from flowerml.process.stop_signal import sigterm_as_interrupt
from flowerml.settings.flags import CommandParser

logger = logging.getLogger(__name__)


def make_parser() -> CommandParser:
    """The command's flags."""
    parser = CommandParser(
        prog="flowerml restore",
        description=(
            "Restore what flowerml backup has made. Every file is compared with its sha256 before anything is written;"
            " the database and the folder have to be empty."
        ),
    )
    parser.add_argument("--from", dest="source", metavar="PATH", required=True, help="the backup: a folder or a .tar")
    parser.add_argument("--check", action="store_true", help="only compare its files with their sha256")
    add_server_data(parser)
    return parser


def run(argv: Sequence[str] | None) -> int:
    """Check or restore, and log what was. Raises UserError; then nothing is restored."""
    args = make_parser().parse(argv)
    store, source = store_address(args.store), Path(args.source)
    os.environ["MLFLOW_TRACKING_URI"] = store  # errors of the database name it

    from flowerml.redaction import redact_secrets
    from flowerml.tracking.backup.create import ServerData
    from flowerml.tracking.backup.restore import check_backup, restore_backup

    if args.check:
        manifest = check_backup(source)
        logger.info(f"{source} of {manifest.created} is whole: {describe(manifest)}")
        return 0
    target = ServerData(store, args.artifacts, Path(args.users or DEFAULT_USERS))
    with sigterm_as_interrupt():
        manifest = restore_backup(source, target)
    logger.info(f"{redact_secrets(store)} is as of {manifest.created}: {describe(manifest)}")
    log_left_out(manifest)
    return 0
