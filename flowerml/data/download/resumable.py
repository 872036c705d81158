"""One file over HTTP: an interrupted download goes on where it stopped, in this call and in the next one."""

import http.client
import json
import logging
import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path

from flowerml.data.download.http import WAYS, RetryableError, open_url, reading_failed
from flowerml.errors import UserError
from flowerml.files import write_json
from flowerml.human_units import amount
from flowerml.progress_bar import track_bytes

logger = logging.getLogger(__name__)

PAUSES_S = (1.0, 2.0, 4.0, 8.0)
PROGRESS = 1_000_000  # bytes a try must bring to count as "it goes on": then the pauses begin anew
CHUNK = 1 << 16
BUSY = (408, 425, 429, 500, 502, 503, 504)


@dataclass(frozen=True)
class DownloadRecord:
    """What is known of a part's whole: where it came from, its size [bytes], and the server's word for this version
    (ETag or date).
    """

    url: str = ""
    size: int | None = None
    version: str = ""


class PartialFile:
    """A file that is not whole yet, with a `Note` beside it. Not written by `files.write_with`: being half is what it
    is for.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._note = path.with_name(f"{path.name}.json")

    def length(self) -> int:
        """Bytes that are there."""
        return self.path.stat().st_size if self.path.exists() else 0

    def note(self) -> DownloadRecord:
        """What was noted; an empty one where there is none or it can't be read."""
        try:
            note = DownloadRecord(**json.loads(self._note.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return DownloadRecord()
        return note if isinstance(note.size, int | None) and isinstance(note.version, str) else DownloadRecord()

    def remember(self, note: DownloadRecord) -> None:
        """Write the note. Raises UserError as `files.write_json`."""
        write_json(self._note, asdict(note))

    def remove(self) -> None:
        """Forget it all."""
        self._note.unlink(missing_ok=True)
        self.path.unlink(missing_ok=True)

    def append(self, chunks: Iterator[bytes]) -> None:
        """Write behind what is there. Raises UserError where the disk is full or the folder can't be written to."""
        try:
            target = self.path.open(
                "ab", buffering=0
            )  # nothing waits in memory: what came before a break is there after it
        except OSError as error:
            raise UserError(_no_write(self.path, error)) from error
        with target:
            for chunk in chunks:
                try:
                    target.write(chunk)
                except OSError as error:
                    raise UserError(_no_write(self.path, error)) from error


def download(
    url: str, part: PartialFile, size: int | None, on_size: Callable[[int], None], pauses_s: Sequence[float] = PAUSES_S
) -> None:
    """Bring what `url` offers into `part`, going on behind what is there. Whether the content is the right one, a
    digest must say.

    `size` [bytes] is what the file must have, where that is known. `on_size` is called with the size as soon as a
    server has told it and may refuse it. After a break it waits `pauses_s` between tries; a server that can't be
    reached at all is tried once more at most.

    Raises:
        UserError: not reachable, not there, not of that size, or broken off too often (what has come is kept in
            `part`).
    """
    answered, fails = False, 0
    while True:
        before = part.length()
        try:
            _attempt(url, part, size, on_size)
        except RetryableError as error:
            answered |= error.answered
            fails = 0 if part.length() - before >= PROGRESS else fails
            if fails >= (len(pauses_s) if answered else min(error.tries, len(pauses_s))):
                raise UserError(_given_up(url, part, error, answered)) from error
            pause = pauses_s[fails]
            fails += 1
            logger.info(
                f"{error}; trying again in {pause:g} s"
                + (f", from {amount(part.length())} on" if part.length() else "")
            )
            time.sleep(pause)
        else:
            return


def _attempt(url: str, part: PartialFile, size: int | None, on_size: Callable[[int], None]) -> None:
    """One connection, or two where the part turns out to be of no use."""
    have, note = part.length(), part.note()
    whole = note.size if size is None else size
    if have and have == whole:
        return
    if whole is not None and have > whole:
        logger.info(f"{part.path} is longer than the file: starting from the beginning")
        part.remove()
        have = 0
    known = (
        note.version if note.url == url else ""
    )  # another mirror's names for versions mean nothing here; the digest decides
    with closing(open_url(url, _range(have, known))) as answer:
        if not have or _goes_on(answer, have, known, whole):
            _receive(url, part, answer, size, on_size)
            return
        if answer.status == 416 and _total(answer, have) == have:
            return
        if answer.status not in (200, 206, 416):
            raise _refused(url, answer)
        logger.info(
            "the server's file is another one by now, or it only sends whole files: starting from the beginning"
        )
        part.remove()
        if answer.status == 200:
            _receive(url, part, answer, size, on_size)
            return
    _attempt(url, part, size, on_size)


def _receive(
    url: str, part: PartialFile, answer: http.client.HTTPResponse, size: int | None, on_size: Callable[[int], None]
) -> None:
    have = part.length()
    if answer.status not in (200, 206) or (answer.status == 206 and not _goes_on(answer, have, "", None)):
        raise _refused(url, answer)
    total = _total(answer, have)
    if size is not None and total not in (None, size):
        kind = answer.headers.get_content_type()
        raise UserError(
            f"{url} offers {total} bytes ({kind}) where the archive has {size}: is it a login page, or another file?"
            f" Else: {WAYS}"
        )
    if total is not None:
        on_size(total)
    part.remember(DownloadRecord(url, total, _version(answer)))
    limit = total if total is not None else size
    chunks = track_bytes(_chunks(answer, None if limit is None else limit - have), "fetching", limit, done=have)
    with closing(chunks):  # also where the disk is full: the bar must go
        part.append(chunks)
    if limit is not None and part.length() < limit:
        raise RetryableError(
            f"the connection was closed at {amount(part.length())} of {amount(limit)}", tries=1, answered=True
        )
    part.remember(DownloadRecord(url, part.length(), _version(answer)))


def _chunks(answer: http.client.HTTPResponse, left: int | None) -> Iterator[bytes]:
    """The body as it arrives, `left` bytes at most."""
    while left is None or left > 0:
        try:
            chunk = answer.read1(CHUNK if left is None else min(CHUNK, left))
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise reading_failed(error) from error
        if not chunk:
            return
        left = None if left is None else left - len(chunk)
        yield chunk


def _range(have: int, version: str) -> dict[str, str]:
    if not have:
        return {}
    weak = version.startswith("W/")  # says "about the same": HTTP takes only exact names as a condition
    return {"Range": f"bytes={have}-", **({"If-Range": version} if version and not weak else {})}


def _version(answer: http.client.HTTPResponse) -> str:
    return str(answer.headers.get("ETag") or answer.headers.get("Last-Modified") or "")


def _goes_on(answer: http.client.HTTPResponse, have: int, version: str, size: int | None) -> bool:
    """Whether a 206 is the rest of the file that the part is the beginning of."""
    begins = re.match(r"bytes (\d+)-", answer.headers.get("Content-Range", ""))
    same = not version or version == _version(answer)
    return (
        answer.status == 206
        and begins is not None
        and int(begins[1]) == have
        and same
        and size in (None, _total(answer, have))
    )


def _total(answer: http.client.HTTPResponse, have: int) -> int | None:
    """The whole file's size [bytes], as far as the answer tells it."""
    if answer.status in (206, 416):
        told = re.search(r"/(\d+)$", answer.headers.get("Content-Range", ""))
        return int(told[1]) if told else None if answer.length is None else have + answer.length
    return answer.length


def _refused(url: str, answer: http.client.HTTPResponse) -> Exception:
    status = f"{answer.status} {http.client.responses.get(answer.status, '')}".rstrip()
    if answer.status in BUSY:
        return RetryableError(f"the server answers {status}", tries=1, answered=True)
    return UserError(f"{url} can't be had (the server answers {status}): {WAYS}")


def _given_up(url: str, part: PartialFile, error: RetryableError, answered: bool) -> str:  # noqa: FBT001
    kept = (
        f" {amount(part.length())} are kept in {part.path}: the same command goes on from there."
        if part.length()
        else ""
    )
    if not answered:
        return f"{url} can't be reached ({error}): {WAYS}.{kept}"
    return f"{url} broke off too often (last: {error}).{kept} Try again later, or {WAYS}"


def _no_write(path: Path, error: OSError) -> str:
    return f"can't write {path}: {error.strerror or error}. Free space there, or name another folder: --train-dir"
