"""A transport adapter for `requests` that connects to one address per family and says in one line why it could not."""

import ipaddress
import socket
from typing import Any

import urllib3
from requests.adapters import HTTPAdapter


class ConnectError(OSError):
    """No TCP connection. The message names the host (which may be a proxy) and why.

    `retries` is how many more attempts are worthwhile.
    """

    def __init__(self, reason: str, retries: int) -> None:
        super().__init__(reason)
        self.retries = retries


class OneAddressAdapter(HTTPAdapter):
    """HTTPAdapter whose connections, to servers and to proxies, raise ConnectError.

    urllib3 tries every address of a host in turn, each with the whole time-out: behind a firewall that drops packets,
    sixteen addresses would take sixteen time-outs.
    """

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - as requests declares it
        """As HTTPAdapter, with connections of this module."""
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = _POOLS

    def proxy_manager_for(self, proxy: str, **proxy_kwargs: Any) -> Any:  # noqa: ANN401 - as requests declares it
        """As HTTPAdapter, with connections of this module but for SOCKS, which has its own."""
        manager = super().proxy_manager_for(proxy, **proxy_kwargs)
        if isinstance(manager, urllib3.ProxyManager):
            manager.pool_classes_by_scheme = _POOLS
        return manager


class _Connection(urllib3.connection.HTTPConnection):
    def _new_conn(self) -> socket.socket:
        return _connect(self.host, self.port, self.timeout)


class _SecureConnection(urllib3.connection.HTTPSConnection):
    def _new_conn(self) -> socket.socket:
        return _connect(self.host, self.port, self.timeout)


class PrivateAddress(OSError):
    """A host whose address is of this machine or its network. The message names the host."""


class GuardedAdapter(OneAddressAdapter):
    """OneAddressAdapter whose connections to servers, not those to proxies, raise PrivateAddress for such a host."""

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - as requests declares it
        """As HTTPAdapter, with guarded connections."""
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = _GUARDED_POOLS


class _GuardedConnection(urllib3.connection.HTTPConnection):
    def _new_conn(self) -> socket.socket:
        return _connect(self.host, self.port, self.timeout, guarded=True)


class _GuardedSecureConnection(urllib3.connection.HTTPSConnection):
    def _new_conn(self) -> socket.socket:
        return _connect(self.host, self.port, self.timeout, guarded=True)


class _GuardedPool(urllib3.HTTPConnectionPool):
    ConnectionCls = _GuardedConnection


class _GuardedSecurePool(urllib3.HTTPSConnectionPool):
    ConnectionCls = _GuardedSecureConnection


class _Pool(urllib3.HTTPConnectionPool):
    ConnectionCls = _Connection


class _SecurePool(urllib3.HTTPSConnectionPool):
    ConnectionCls = _SecureConnection


_POOLS = {"http": _Pool, "https": _SecurePool}
_GUARDED_POOLS = {"http": _GuardedPool, "https": _GuardedSecurePool}
_NAT64 = ipaddress.ip_network("64:ff9b::/96")  # an IPv4 address in its last 32 bits


def is_private_host(host: str) -> bool:
    """Whether any address of the host is of this machine or its network; not for a name that does not resolve."""
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return False
    return any(_is_private(str(entry[4][0])) for entry in found)


def _is_private(text: str) -> bool:
    address = ipaddress.ip_address(text.partition("%")[0])
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour
        if inner is None and address in _NAT64:
            inner = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        address = inner or address
    return not address.is_global or address.is_multicast


def _connect(host: str, port: int, timeout_s: float | None, *, guarded: bool = False) -> socket.socket:
    """A TCP connection to the first address of each family that answers within `timeout_s`.

    Raises:
        ConnectError: none does; PrivateAddress: with `guarded`, the address to connect to is of this network.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except socket.gaierror as error:
        raise ConnectError(f"the name {host} does not resolve", retries=1) from error
    failure: OSError | None = None
    for family in dict.fromkeys(entry[0] for entry in found):
        address = next(entry[4] for entry in found if entry[0] == family)
        if guarded and _is_private(str(address[0])):
            raise PrivateAddress(host)
        try:
            return socket.create_connection((str(address[0]), port), timeout_s)
        except OSError as error:
            failure = error
    timed_out = isinstance(failure, TimeoutError)
    reason = (
        f"no connection within {timeout_s:g} s"
        if timed_out
        else ((failure and failure.strerror) or "no address").lower()
    )
    raise ConnectError(f"{host}:{port}: {reason}", retries=0 if timed_out else 1) from failure
