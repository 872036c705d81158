"""Whether the hub of published weights can be reached, asked once before timm or open_clip ask it.

huggingface_hub itself repeats a question that is not answered six times, up to 60 s each, for every name that the file
might have, with a line of its own for each; no setting bounds that.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from huggingface_hub import constants, get_session

from flowerml.errors import one_line
from flowerml.redaction import redact_secrets

_TIMEOUT_S = 10.0  # for the first answer: the time-out of its client, unless HF_HUB_ETAG_TIMEOUT says otherwise
_SERVER_ERROR = 500


@dataclass(frozen=True)
class HubFailure:
    """The hub's address, without passwords, and why it is no help."""

    address: str
    reason: str

    def __str__(self) -> str:
        return f"the hub {self.address} can't be reached ({self.reason}), and this machine's cache does not have them"


@contextmanager
def responsive_hub() -> Iterator[HubFailure | None]:
    """Inside, the hub's client uses this machine's cache alone if the hub does not answer; yields why it does not.

    None where it answers, and where the user has switched it off (HF_HUB_OFFLINE): then it is not asked either.
    """
    failure = None if constants.is_offline_mode() else _find_failure()
    if failure is None:
        yield None
        return
    constants.HF_HUB_OFFLINE = True
    try:
        yield failure
    finally:
        constants.HF_HUB_OFFLINE = False


def _find_failure() -> HubFailure | None:
    address = constants.ENDPOINT
    timeout = float(constants.HF_HUB_ETAG_TIMEOUT) if os.environ.get("HF_HUB_ETAG_TIMEOUT") else _TIMEOUT_S
    try:
        status = get_session().head(address, timeout=timeout).status_code
    except Exception as error:  # of the client, whose library changes with its version, or of the system
        reason = f"no answer in {timeout:.0f} s" if "Timeout" in type(error).__name__ else str(error)
        return HubFailure(redact_secrets(address), one_line(redact_secrets(reason or type(error).__name__))[:140])
    return HubFailure(redact_secrets(address), f"it answers {status}") if status >= _SERVER_ERROR else None
