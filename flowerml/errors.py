"""Exceptions whose message is shown to the user as it is, without a traceback."""

from collections.abc import Sequence

from flowerml.redaction import redact_secrets


def one_line(text: str) -> str:
    """Escape unprintable characters of `text` as Python does: a newline in a path becomes `\\n`."""
    return "".join(
        char if char.isprintable() or char == "\t" else char.encode("unicode_escape").decode() for char in text
    )


class UserError(Exception):
    """An error the user can fix.

    The message is one line that says what is wrong, where, what is allowed and how to fix it; `entries` (bad files, for
    example) follow it, one line each. Commands print it to stderr and exit with `exit_code` (2: nothing was started; 1:
    a run had started and was closed as FAILED). Passwords in it are masked.
    """

    exit_code = 2

    def __init__(self, message: str, entries: Sequence[str] = ()) -> None:
        super().__init__(*((message, tuple(entries)) if entries else (message,)))  # args, so that it can be pickled

    def __str__(self) -> str:
        message, *listed = self.args
        lines = [one_line(message), *(f"  {one_line(entry)}" for entries in listed for entry in entries)]
        return redact_secrets("\n".join(lines))


class RunFailed(UserError):
    """A started run can't continue (a non-finite loss, a missing picture): exit code 1, the run is FAILED."""

    exit_code = 1


class LeaseLost(RunFailed):
    """A newer attempt owns the run: this process must not write to its folder or to the tracking server any more."""


class Stopped(Exception):
    """A stop was requested and carried out between two steps, with the state saved; the message says why."""
