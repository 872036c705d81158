"""The one exception that is meant for people: its text is shown as it is, without a traceback."""

from collections.abc import Sequence


def one_line(text: str) -> str:
    """`text` with what would break its line, or can't be shown, as Python writes it: a newline in a path as `\\n`."""
    return "".join(
        char if char.isprintable() or char == "\t" else char.encode("unicode_escape").decode() for char in text
    )


class UserError(Exception):
    """A mistake the user can mend.

    The message is one line, whatever names and reasons go into it, that says what is wrong, where, what is allowed and
    how to mend it; `entries` (bad files, for example) follow it as a line each. Commands print it to stderr and exit
    with `exit_code` (2: nothing was started; 1: a run was under way and has been closed as FAILED).
    """

    exit_code = 2

    def __init__(self, message: str, entries: Sequence[str] = ()) -> None:
        super().__init__(
            *((message, tuple(entries)) if entries else (message,))
        )  # what it is made of again in another process

    def __str__(self) -> str:
        message, *listed = self.args
        return "\n".join([one_line(message), *(f"  {one_line(entry)}" for entries in listed for entry in entries)])


class RunFailed(UserError):
    """A run that had begun can't go on (a loss that is not finite, a picture that vanished). Exit code 1, the run is
    FAILED.
    """

    exit_code = 1


class LeaseLost(RunFailed):
    """Another process has taken this run over: this one may write nothing more, neither to the folder nor to the
    tracking server.
    """


class Stopped(Exception):
    """A stop was requested and carried out between two steps, with the state saved; the message says why."""
