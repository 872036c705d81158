"""Files that the artifact store does not take wait; no event behind them does."""

import logging
import time

from flowerml.events import Artifact
from flowerml.journal import DamagedLine, Journal
from flowerml.tracking.client import artifacts
from flowerml.tracking.client.failures import ArtifactStoreError, find_failure

logger = logging.getLogger(__name__)

_RETRY_DELAYS_S = (2.0, 5.0, 15.0, 60.0)
_CLOSE_TIMEOUT_S = 1.0  # for the response to an upload, in addition to its estimated time, once the run has ended


class FileUploads:
    """When files are uploaded: at once, or after a delay once the artifact store has failed; a warning names it once.

    A file is known by the offset in the journal where its record ends.
    """

    def __init__(self, journal: Journal) -> None:
        self.error: ArtifactStoreError | None = None  # the last one, while the artifact store fails
        self._journal = journal
        self._due = 0.0  # time.monotonic() of the next try
        self._failures = 0
        self._reported = False
        self._closing_since: float | None = None

    @property
    def is_due(self) -> bool:
        """Whether a file may be tried now."""
        return time.monotonic() >= self._due

    @property
    def retry_in_s(self) -> float:
        """Seconds until a waiting file may be tried."""
        return max(0.0, self._due - time.monotonic())

    def close(self) -> None:
        """The run has ended: try once more, unless the artifact store hangs, and wait for it only shortly."""
        self._closing_since = time.monotonic()
        if self.error is None or not isinstance(self.error.__cause__, TimeoutError):
            self._due = 0.0

    def is_late(self, waited_s: float, upload_s: float) -> bool:
        """Whether an upload that began `waited_s` ago, and should take `upload_s`, is given up."""
        if self._closing_since is not None:
            waited_at_close_s = min(waited_s, time.monotonic() - self._closing_since)
            return waited_at_close_s > _CLOSE_TIMEOUT_S + upload_s
        return artifacts.is_late(waited_s, upload_s)

    def on_success(self) -> None:
        """A file was uploaded."""
        if self.error is not None:
            logger.info(f"the artifact store {self.error.address} takes files again")
        self.error, self._failures, self._due = None, 0, 0.0

    def on_failure(self, error: ArtifactStoreError) -> None:
        """A file was not taken: the next is tried after a delay."""
        self.error = error
        self._due = time.monotonic() + _RETRY_DELAYS_S[min(self._failures, len(_RETRY_DELAYS_S) - 1)]
        self._failures += 1
        if not self._reported:
            logger.warning(
                f"{find_failure(error)}. Metrics, tags and the run's end go to MLflow all the same; files wait"
                f" in {self._journal.root} for `flowerml sync {self._journal.root}`"
            )
        self._reported = True

    def find(self, end: int) -> Artifact | None:
        """The file whose record ends at the offset `end`. Raises OSError if the journal is gone."""
        for entry in self._journal.records():
            if not isinstance(entry, DamagedLine) and entry.end == end and isinstance(entry.record, Artifact):
                return entry.record
        return None
