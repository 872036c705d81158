"""Text of users: one Unicode form for names, and long lists cut for a terminal."""

import unicodedata
from collections import Counter
from collections.abc import Sequence

LISTED = 20  # entries of a list that are printed before the rest is only counted


def nfc(name: str) -> str:
    """`name` in Unicode's form NFC, in which flowerml compares names: macOS writes é as e and an accent (NFD)."""
    return unicodedata.normalize("NFC", name)


def distinct_nfc(names: Sequence[str]) -> list[str]:
    """Each name in NFC; as it is where two names would become one."""
    counted = Counter(map(nfc, names))
    return [name if counted[nfc(name)] > 1 else nfc(name) for name in names]


def cut_list(lines: Sequence[str], hint: str = "", listed: int = LISTED) -> list[str]:
    """The first `listed` lines and, where there are more, a line with the number of the others and where they are."""
    if len(lines) <= listed + 1:  # a line that counts one line is no shorter
        return [*lines]
    return [*lines[:listed], f"and {len(lines) - listed:,} more{f': {hint}' if hint else ''}"]
