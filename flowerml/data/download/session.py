"""Sessions of `requests` without credentials, and with a guard on redirects."""

from urllib.parse import urljoin, urlsplit

import requests

from flowerml.data.download.adapter import GuardedAdapter, OneAddressAdapter, is_private_host
from flowerml.errors import UserError

MAX_REDIRECTS = 10


class AnonymousSession(requests.Session):
    """A session that sends no credentials, also not those of ~/.netrc, with the transport `adapter`."""

    def __init__(self, adapter: type[OneAddressAdapter] = OneAddressAdapter) -> None:
        super().__init__()
        self.max_redirects = MAX_REDIRECTS
        self.auth = lambda request: request  # an `auth` of any kind keeps requests from reading ~/.netrc
        for scheme in ("http://", "https://"):
            self.mount(scheme, adapter())

    def rebuild_auth(self, prepared_request: requests.PreparedRequest, response: requests.Response) -> None:
        """No credentials on a redirect either."""


class GuardedSession(AnonymousSession):
    """A session for one address: a redirect may not lead to a machine of this network, unless the address is one.

    An outside server could else read what only this machine can reach (server-side request forgery). The address is
    checked when the connection is made, so that a name that resolves twice to different addresses gains nothing; a
    proxy is trusted to do the same.
    """

    def __init__(self, address: str) -> None:
        self._is_guarded = not is_private_host(urlsplit(address).hostname or "")
        super().__init__(GuardedAdapter if self._is_guarded else OneAddressAdapter)

    def get_redirect_target(self, resp: requests.Response) -> str | None:
        """Where the response redirects to. Raises UserError where it may not."""
        location = super().get_redirect_target(resp)
        host = "" if location is None else urlsplit(urljoin(resp.url, location)).hostname or ""
        if self._is_guarded and is_private_host(host):
            raise private_redirect(resp.url, host)
        return location


def private_redirect(address: str, where: str) -> UserError:
    """The error for an address outside this network that leads to a machine of it."""
    return UserError(
        f"{address} leads to {where}, a machine of this network: refused, as an outside server may not choose what is"
        " read here. Name that address itself if it is meant"
    )
