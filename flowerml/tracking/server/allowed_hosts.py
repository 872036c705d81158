"""The names under which a server may be reached: MLflow refuses others, as a page elsewhere could point one at it."""

import re
import socket
from collections.abc import Sequence
from ipaddress import ip_address

import psutil

from flowerml.errors import UserError

_NAME = re.compile(r"[A-Za-z0-9._*:\[\]-]{1,255}")
_LOOPBACK = ("localhost", "localhost:*", "127.0.0.1", "127.0.0.1:*")


def host_options(host: str, port: int, named: Sequence[str] | None) -> list[str]:
    """Options of `mlflow server` for one that listens on `host`: names that a request's Host may have.

    `named` are those that a user has given; None: this machine's names and addresses. The pages send their requests
    with an Origin too, of the same names, and MLflow by itself takes it from loopback alone.

    Raises:
        UserError: one of `named` is not a host's name.
    """
    if named is None:
        names = [] if _is_loopback(host) else _own_names(host)
        hosts = [one for name in names for one in (name, f"{name}:{port}")]
    else:
        hosts = [name.strip() for name in named if name.strip()]
        for name in hosts:
            if not _NAME.fullmatch(name):
                raise UserError(
                    f"--allowed-hosts has {name!r}. Allowed: names and addresses such as lab.example.org, with a port"
                    " or * where wanted, and commas between them"
                )
    options = ["--allowed-hosts", ",".join((*_LOOPBACK, *hosts))]
    if hosts:
        origins = [f"{scheme}://{name}" for name in hosts for scheme in ("http", "https")]  # https: behind a proxy
        options += ["--cors-allowed-origins", ",".join(origins)]
    return options


def _own_names(host: str) -> list[str]:
    """This machine's names, and the addresses of its network interfaces (IPv4)."""
    interfaces = psutil.net_if_addrs().values()
    addresses = [one.address for found in interfaces for one in found if one.family == socket.AF_INET]
    names = [host, socket.gethostname(), socket.getfqdn(), *addresses]
    return [name for name in dict.fromkeys(names) if name != "0.0.0.0" and not _is_loopback(name)]  # nosec B104


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
