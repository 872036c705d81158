"""The hub of published weights, as long as it answers: it is asked once before timm or open_clip ask it.

huggingface_hub itself repeats a question that is not answered six times, for every name that the file might have, with
a line of its own for each; some of its questions wait for ever. No setting bounds that.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from huggingface_hub import close_session, constants, get_session, set_client_factory
from huggingface_hub.utils import logging as client_logging
from huggingface_hub.utils._http import default_client_factory  # what `set_client_factory` replaces

from flowerml.errors import one_line
from flowerml.redaction import redact_secrets

Model = TypeVar("Model")

_TIMEOUT_S = 10.0  # for the first answer: the time-out of its client, unless HF_HUB_ETAG_TIMEOUT says otherwise
_SERVER_ERROR = 500
_UNANSWERED = 2  # requests in a row, after which the hub counts as gone


class HubStopped(Exception):
    """The hub has stopped answering; no request goes to it any more."""


@dataclass(frozen=True)
class HubFailure:
    """The hub's address, without passwords, and why it is no help."""

    address: str
    reason: str

    def __str__(self) -> str:
        return f"the hub {self.address} can't be reached ({self.reason}), and this machine's cache does not have them"


def ask_hub(make: Callable[[], Model]) -> tuple[Model | Exception, HubFailure | None]:
    """What `make` returns or raises, and why the hub is no help: then `make` is called with this machine's cache alone.

    None where the hub answers, and where the user has switched it off (HF_HUB_OFFLINE): then it is not asked either.
    """
    if constants.is_offline_mode():
        return _outcome(make), None
    failure = _find_failure()
    if failure is None:
        with _impatient_client():
            made = _outcome(make)
        if not isinstance(made, HubStopped):
            return made, None
        failure = HubFailure(redact_secrets(constants.ENDPOINT), str(made))
    constants.HF_HUB_OFFLINE = True
    try:
        return _outcome(make), failure
    finally:
        constants.HF_HUB_OFFLINE = False


def _outcome(make: Callable[[], Model]) -> Model | Exception:
    try:
        return make()
    except Exception as error:  # network, proxy, cache and hub client raise all kinds
        return error


@contextmanager
def _impatient_client() -> Iterator[None]:
    """Inside, the hub's client raises HubStopped in place of a third try, and says nothing of the first two."""
    unanswered = 0

    def before(request: Any) -> None:  # noqa: ANN401 - of the HTTP library that the hub's client happens to use
        nonlocal unanswered
        if unanswered >= _UNANSWERED:
            raise HubStopped(f"it has stopped answering: {unanswered} requests, up to {_timeout():.0f} s each")
        unanswered += 1
        given = request.extensions.get("timeout", {})
        most = _timeout() if request.method == "HEAD" else max(_timeout(), float(constants.HF_HUB_DOWNLOAD_TIMEOUT))
        parts = ("connect", "read", "write", "pool")
        request.extensions["timeout"] = {part: min(given.get(part) or most, most) for part in parts}

    def after(response: Any) -> None:  # noqa: ANN401
        nonlocal unanswered
        if response.status_code < _SERVER_ERROR:
            unanswered = 0

    def make_client() -> Any:  # noqa: ANN401
        client = default_client_factory()
        hooks = client.event_hooks
        client.event_hooks = {"request": [*hooks["request"], before], "response": [*hooks["response"], after]}
        return client

    verbosity = client_logging.get_verbosity()
    client_logging.set_verbosity_error()
    set_client_factory(make_client)
    try:
        yield
    finally:
        set_client_factory(default_client_factory)
        close_session()
        client_logging.set_verbosity(verbosity)


def _timeout() -> float:
    return float(constants.HF_HUB_ETAG_TIMEOUT) if os.environ.get("HF_HUB_ETAG_TIMEOUT") else _TIMEOUT_S


def _find_failure() -> HubFailure | None:
    address, timeout = constants.ENDPOINT, _timeout()
    try:
        status = get_session().head(address, timeout=timeout).status_code
    except Exception as error:  # of the client, whose library changes with its version, or of the system
        reason = f"no answer in {timeout:.0f} s" if "Timeout" in type(error).__name__ else str(error)
        return HubFailure(redact_secrets(address), one_line(redact_secrets(reason or type(error).__name__))[:140])
    return HubFailure(redact_secrets(address), f"it answers {status}") if status >= _SERVER_ERROR else None
