"""`flowerml backup`: a tracking store's database, artifacts and accounts, as one folder or file with digests."""

import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from flowerml.cli.server_flags import DEFAULT_USERS, add_server_data, store_address
from flowerml.human_units import amount
from flowerml.process.stop_signal import sigterm_as_interrupt
from flowerml.settings.flags import CommandParser

if TYPE_CHECKING:
    from flowerml.tracking.backup.manifest import Manifest

logger = logging.getLogger(__name__)


def make_parser() -> CommandParser:
    """The command's flags."""
    parser = CommandParser(
        prog="flowerml backup",
        description=(
            "Back up a tracking store: the database as it is at one moment, all artifacts, the accounts of the log-in."
            " The server may go on running."
        ),
    )
    parser.add_argument(
        "--output", metavar="PATH", required=True, help="a new folder, or a new file whose name ends in .tar"
    )
    add_server_data(parser)
    return parser


def run(argv: Sequence[str] | None) -> int:
    """Back up, log what is in it and what is not. Raises UserError; then there is no backup."""
    args = make_parser().parse(argv)
    store = store_address(args.store)
    os.environ["MLFLOW_TRACKING_URI"] = store  # errors of the database name it

    from flowerml.tracking.backup.create import ServerData, create_backup

    users = Path(args.users or DEFAULT_USERS)
    data = ServerData(store, args.artifacts, users if args.users or users.exists() else None)
    output = Path(args.output)
    with sigterm_as_interrupt():
        manifest = create_backup(data, output)
    logger.info(f"{output}: {describe(manifest)}")
    log_left_out(manifest)
    return 0


def describe(manifest: "Manifest") -> str:
    """What a backup holds, as a line."""
    from flowerml.tracking.backup.manifest import ACCOUNTS

    artifacts = f", {len(manifest.artifacts)} artifacts" if manifest.has_artifacts else ""
    accounts = ", the accounts of the log-in" if ACCOUNTS in manifest.files else ""
    return (
        f"{manifest.rows.get('runs', 0)} runs, {manifest.rows.get('model_versions', 0)} model versions{artifacts}"
        f"{accounts}; {amount(manifest.total_bytes)} in {len(manifest.files)} files, each with its sha256"
    )


def log_left_out(manifest: "Manifest") -> None:
    """Say which artifacts are not in a backup."""
    if not manifest.has_artifacts:
        logger.info(f"artifacts in {manifest.artifact_root} are not in it: that storage is backed up by its own means")
    if manifest.left_out:
        folders = ", ".join(manifest.left_out[:3]) + (" …" if len(manifest.left_out) > 3 else "")
        logger.warning(
            f"{len(manifest.left_out)} folders that the database names are not in it, as they are outside of"
            f" {manifest.artifact_root} ({folders}): back up again with --artifacts naming a folder that holds them all"
        )
