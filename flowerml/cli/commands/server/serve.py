"""`flowerml serve`: MLflow's tracking server for a team, on one machine and without containers."""

import logging
import os
from collections.abc import Sequence
from ipaddress import ip_address
from pathlib import Path

from flowerml.cli.arguments import parse_int
from flowerml.cli.server_flags import DEFAULT_ARTIFACTS, DEFAULT_USERS, add_store, store_address
from flowerml.errors import UserError
from flowerml.process.stop_signal import sigterm_as_interrupt
from flowerml.settings.errors import flag_name
from flowerml.settings.flags import CommandParser

logger = logging.getLogger(__name__)

_DEFAULTS = {"host": "127.0.0.1", "port": "5000", "workers": "2", "users": DEFAULT_USERS, "permission": "EDIT"}


def make_parser() -> CommandParser:
    """The command's flags."""
    parser = CommandParser(
        prog="flowerml serve",
        description=(
            "Run MLflow's tracking server: runs and models in a database, artifacts through the server, job execution"
            " off. Beyond this machine only with log-in."
        ),
    )
    add_store(parser)
    parser.add_argument(
        "--artifacts", metavar="PATH", default=DEFAULT_ARTIFACTS, help="folder or bucket; default: %(default)s"
    )
    parser.add_argument(
        "--host",
        metavar="NAME",
        default=_DEFAULTS["host"],
        help="the address to listen on; 0.0.0.0 is all of them; default: %(default)s",
    )
    parser.add_argument("--port", metavar="INT", default=_DEFAULTS["port"], help="default: %(default)s")
    parser.add_argument("--workers", metavar="INT", default=_DEFAULTS["workers"], help="default: %(default)s")
    parser.add_argument(
        "--allowed-hosts",
        metavar="A,B,...",
        help="names by which others reach it, as in their address; default: this machine's",
    )
    login = parser.add_argument_group("log-in")
    login.add_argument("--login", action="store_true", help="ask for name and password, also on this machine alone")
    login.add_argument("--users", metavar="FILE", help=f"the accounts; default: {_DEFAULTS['users']}")
    login.add_argument(
        "--admin-password-file",
        metavar="FILE",
        help="password of the account admin, which the first start creates; or MLFLOW_AUTH_ADMIN_PASSWORD",
    )
    login.add_argument(
        "--permission",
        metavar="TEXT",
        help=(
            f"on what others have made: READ, USE, EDIT, MANAGE or NO_PERMISSIONS; default: {_DEFAULTS['permission']}"
        ),
    )
    return parser


def run(argv: Sequence[str] | None) -> int:
    """Start the server, print its address, serve until it is stopped. Raises UserError."""
    args = make_parser().parse(argv)
    port = parse_int("--port", args.port, 1, 65535)
    workers = parse_int("--workers", args.workers, 1, 64)
    store = store_address(args.store)
    if store.startswith(("http:", "https:")):
        raise UserError(f"--store {store}: that is a server already. Give a database: sqlite:///… or postgresql://…")

    from flowerml.tracking.server.allowed_hosts import host_options
    from flowerml.tracking.server.artifacts import checked_destination
    from flowerml.tracking.server.login import PERMISSIONS, login_environment
    from flowerml.tracking.server.process import ServerOptions, running_server
    from flowerml.tracking.server.store import prepare_store

    permission = _DEFAULTS["permission"] if args.permission is None else args.permission
    if permission not in PERMISSIONS:
        raise UserError(f"--permission is {permission!r}. Allowed: {', '.join(PERMISSIONS)}")
    with_login = args.login or not _is_loopback(args.host)
    for name in () if with_login else ("users", "admin_password_file", "permission"):
        if getattr(args, name) is not None:
            raise UserError(f"{flag_name(name)} is for a server with log-in: add --login, or leave it out")
    options = host_options(args.host, port, None if args.allowed_hosts is None else args.allowed_hosts.split(","))
    options += ["--serve-artifacts", "--artifacts-destination", checked_destination(args.artifacts)]
    environment: dict[str, str] = {}
    if with_login:
        options += ["--app-name", "basic-auth"]
        password_file = None if args.admin_password_file is None else Path(args.admin_password_file)
        users = _DEFAULTS["users"] if args.users is None else args.users
        environment = login_environment(Path(users), password_file, permission)
    os.environ["MLFLOW_TRACKING_URI"] = store
    prepare_store()
    server = ServerOptions(store, port, args.host, workers, tuple(options), environment)
    with sigterm_as_interrupt(), running_server(server, show_log=True) as process:
        words = ", with log-in" if with_login else ", for this machine alone"
        logger.info(f"{server.address} answers{words}. For clients: export MLFLOW_TRACKING_URI={server.address}")
        try:
            return process.wait()
        except KeyboardInterrupt:
            return 0


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
