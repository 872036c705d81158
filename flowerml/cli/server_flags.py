"""Flags that the commands of a server's data share: the store, the artifacts, the accounts of the log-in."""

import argparse
import os

from flowerml.settings.flags import CommandParser

DEFAULT_STORE = "sqlite:///mlflow.db"
DEFAULT_ARTIFACTS = "mlartifacts"
DEFAULT_USERS = "mlflow-users.db"


def add_server_data(parser: CommandParser) -> None:
    """Add --store, --artifacts and --users, with the defaults of `flowerml serve`."""
    add_store(parser)
    parser.add_argument(
        "--artifacts",
        metavar="PATH",
        default=DEFAULT_ARTIFACTS,
        help="the folder of the artifacts, or their bucket (s3://…), which is left out; default: %(default)s",
    )
    parser.add_argument(
        "--users", metavar="FILE", help=f"the accounts of the log-in; default: {DEFAULT_USERS}, where there are any"
    )


def add_store(parser: CommandParser | argparse._ArgumentGroup) -> None:
    """Add --store; see `store_address`."""
    parser.add_argument(
        "--store", metavar="URI", help=f"the database; default: MLFLOW_BACKEND_STORE_URI, or {DEFAULT_STORE}"
    )


def store_address(given: str | None) -> str:
    """The store's address: as given with --store, as in MLFLOW_BACKEND_STORE_URI, or `sqlite:///mlflow.db`."""
    return given or os.environ.get("MLFLOW_BACKEND_STORE_URI") or DEFAULT_STORE
