"""Error messages on one line."""


def single_line(text: str) -> str:
    """`text` with its line breaks as spaces: a path may hold one."""
    return " ".join(text.splitlines())


def first_line(error: Exception) -> str:
    """The first line of an error's message, at most 140 characters; its type where it has none."""
    return (str(error) or type(error).__name__).splitlines()[0][:140]
