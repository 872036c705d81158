"""The one exception that is meant for people: its text is shown as it is, without a traceback."""


class UserError(Exception):
    """A mistake the user can mend.

    The message is one line that says what is wrong, where, what is allowed and how to mend it. Commands print it to stderr and exit
    with `exit_code` (2: nothing was started; 1: a run was under way and has been closed as FAILED).
    """

    exit_code = 2


class RunFailed(UserError):
    """A run that had begun can't go on (a loss that is not finite, a picture that vanished). Exit code 1, the run is FAILED."""

    exit_code = 1
