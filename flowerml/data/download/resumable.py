"""One file over HTTP; an interrupted download resumes where it stopped, within one call and in the next."""

import http.client
import json
import logging
import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path

import requests

from flowerml.data.download.http import ALTERNATIVES, RetryableError, iter_body, open_url
from flowerml.errors import UserError
from flowerml.files import write_json
from flowerml.human_units import amount
from flowerml.progress_bar import track_bytes
from flowerml.redaction import redact_secrets

logger = logging.getLogger(__name__)

RETRY_DELAYS_S = (1.0, 2.0, 4.0, 8.0)
MIN_PROGRESS = 1_000_000  # bytes after which an attempt does not count as failed: the delays begin anew
RETRYABLE_STATUS = (408, 425, 429, 500, 502, 503, 504)


@dataclass(frozen=True)
class DownloadRecord:
    """What is known of the whole file: its URL, its size in bytes, and the server's version of it (ETag or date)."""

    url: str = ""
    size: int | None = None
    version: str = ""


class PartialFile:
    """A file being downloaded, with a DownloadRecord in a JSON file beside it.

    Not written atomically by `files.write_with`: the bytes received so far are what a later attempt resumes from.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._record_path = path.with_name(f"{path.name}.json")

    def size(self) -> int:
        """Bytes received so far."""
        return self.path.stat().st_size if self.path.exists() else 0

    def read_record(self) -> DownloadRecord:
        """The stored record; an empty one where there is none or it can't be read."""
        try:
            record = DownloadRecord(**json.loads(self._record_path.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return DownloadRecord()
        valid = isinstance(record.size, int | None) and isinstance(record.version, str)
        return record if valid else DownloadRecord()

    def write_record(self, record: DownloadRecord) -> None:
        """Store the record. Raises UserError as `files.write_json`."""
        write_json(self._record_path, asdict(record))

    def remove(self) -> None:
        """Delete the file and its record."""
        self._record_path.unlink(missing_ok=True)
        self.path.unlink(missing_ok=True)

    def append(self, chunks: Iterator[bytes]) -> None:
        """Write behind what is there. Raises UserError where the disk is full or the folder can't be written to."""
        try:
            target = self.path.open("ab", buffering=0)  # unbuffered: what arrived before a break is on disk after it
        except OSError as error:
            raise UserError(_partial_write_error(self.path, error)) from error
        with target:
            for chunk in chunks:
                try:
                    target.write(chunk)
                except OSError as error:
                    raise UserError(_partial_write_error(self.path, error)) from error


def download(
    url: str,
    part: PartialFile,
    size: int | None,
    on_size: Callable[[int], None],
    retry_delays_s: Sequence[float] = RETRY_DELAYS_S,
) -> None:
    """Download `url` into `part`, resuming behind what is there. The content is not checked: compare a digest.

    Args:
        url: an http or https address.
        part: the file to complete.
        size: what the whole file must have, in bytes, where that is known.
        on_size: called with the whole size as soon as the server has sent it; may raise to refuse it.
        retry_delays_s: waits between attempts after a break. A server that can't be reached at all is tried once more
            at most.

    Raises:
        UserError: not reachable, not there, not of that size, or broken off too often (the bytes received stay in
            `part`).
    """
    responded, failures = False, 0
    while True:
        before = part.size()
        try:
            _attempt(url, part, size, on_size)
        except RetryableError as error:
            responded |= error.responded
            failures = 0 if part.size() - before >= MIN_PROGRESS else failures
            if failures >= (len(retry_delays_s) if responded else min(error.retries, len(retry_delays_s))):
                raise UserError(_failure_text(url, part, error, responded)) from error
            delay = retry_delays_s[failures]
            failures += 1
            resumed = f", from {amount(part.size())} on" if part.size() else ""
            logger.info(f"{error}; trying again in {delay:g} s{resumed}")
            time.sleep(delay)
        else:
            return


def _attempt(url: str, part: PartialFile, size: int | None, on_size: Callable[[int], None]) -> None:
    """One request, or two where `part` turns out to be of no use."""
    have, record = part.size(), part.read_record()
    total = record.size if size is None else size
    if have and have == total:
        return
    if total is not None and have > total:
        logger.info(f"{part.path} is longer than the file: starting from the beginning")
        part.remove()
        have = 0
    # Another mirror's version names mean nothing here; there the digest decides.
    version = record.version if redact_secrets(record.url) == redact_secrets(url) else ""
    with open_url(url, _range_headers(have, version)) as response:
        if not have or _is_continuation(response, have, version, total):
            _receive(url, part, response, size, on_size)
            return
        if response.status_code == 416 and _total_size(response, have) == have:
            return
        if response.status_code not in (200, 206, 416):
            raise _status_error(url, response)
        logger.info(
            "the server's file is another one by now, or it only sends whole files: starting from the beginning"
        )
        part.remove()
        if response.status_code == 200:
            _receive(url, part, response, size, on_size)
            return
    _attempt(url, part, size, on_size)


def _receive(
    url: str, part: PartialFile, response: requests.Response, size: int | None, on_size: Callable[[int], None]
) -> None:
    """Append the body to `part`."""
    have, status = part.size(), response.status_code
    if status not in (200, 206) or (status == 206 and not _is_continuation(response, have, "", None)):
        raise _status_error(url, response)
    total = _total_size(response, have)
    if size is not None and total not in (None, size):
        kind = response.headers.get("Content-Type", "no type").partition(";")[0].strip()
        raise UserError(
            f"{url} offers {total} bytes ({kind}) where the archive has {size}: is it a login page, or another file?"
            f" Else: {ALTERNATIVES}"
        )
    if total is not None:
        on_size(total)
    part.write_record(DownloadRecord(url, total, _version(response)))
    limit = total if total is not None else size
    body = iter_body(response, None if limit is None else limit - have)
    chunks = track_bytes(body, "fetching", limit, done=have)
    with closing(chunks):  # ends the progress bar also where the disk is full
        part.append(chunks)
    if limit is not None and part.size() < limit:
        reason = f"the connection was closed at {amount(part.size())} of {amount(limit)}"
        raise RetryableError(reason, retries=1, responded=True)
    part.write_record(DownloadRecord(redact_secrets(url), part.size(), _version(response)))


def _range_headers(have: int, version: str) -> dict[str, str]:
    """Range from byte `have` on, with If-Range where a strong version is known (HTTP allows no weak ones there)."""
    if not have:
        return {}
    strong = version and not version.startswith("W/")
    return {"Range": f"bytes={have}-", **({"If-Range": version} if strong else {})}


def _version(response: requests.Response) -> str:
    return response.headers.get("ETag") or response.headers.get("Last-Modified") or ""


def _is_continuation(response: requests.Response, have: int, version: str, total: int | None) -> bool:
    """Whether a 206 starts at byte `have` of the same version and, where known, the same size."""
    start = re.match(r"bytes (\d+)-", response.headers.get("Content-Range", ""))
    return (
        response.status_code == 206
        and start is not None
        and int(start[1]) == have
        and (not version or version == _version(response))
        and total in (None, _total_size(response, have))
    )


def _total_size(response: requests.Response, have: int) -> int | None:
    """The whole file's size in bytes, as far as the headers give it."""
    length: int | None = response.raw.length_remaining
    if response.status_code not in (206, 416):
        return length
    total = re.search(r"/(\d+)$", response.headers.get("Content-Range", ""))
    if total:
        return int(total[1])
    return None if length is None else have + length


def _status_error(url: str, response: requests.Response) -> Exception:
    status = f"{response.status_code} {http.client.responses.get(response.status_code, '')}".rstrip()
    if response.status_code in RETRYABLE_STATUS:
        return RetryableError(f"the server answers {status}", retries=1, responded=True)
    return UserError(f"{url} can't be had (the server answers {status}): {ALTERNATIVES}")


def _failure_text(url: str, part: PartialFile, error: RetryableError, responded: bool) -> str:  # noqa: FBT001
    kept = (
        f" {amount(part.size())} are kept in {part.path}: the same command goes on from there." if part.size() else ""
    )
    if not responded:
        return f"{url} can't be reached ({error}): {ALTERNATIVES}.{kept}"
    return f"{url} broke off too often (last: {error}).{kept} Try again later, or {ALTERNATIVES}"


def _partial_write_error(path: Path, error: OSError) -> str:
    return f"can't write {path}: {error.strerror or error}. Free space there, or name another folder: --train-dir"
