"""Text of users: one Unicode form for names, escapes for what can't be stored, and long lists cut for a terminal."""

import csv
import io
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence

# Undecodable bytes of file names (surrogates), and control characters except tab, newline and carriage return.
_NOT_STORABLE = re.compile(r"[\ud800-\udfff\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")
LISTED = 20  # entries of a list that are printed before the rest is only counted


def storable(text: str) -> str:
    """`text` with what no file, terminal or database takes as Python escapes: `\\udce9` for an undecodable byte."""
    return _NOT_STORABLE.sub(lambda found: found[0].encode("unicode_escape").decode("ascii"), text)


def nfc(name: str) -> str:
    """`name` in Unicode's form NFC, in which flowerml compares names: macOS writes é as e and an accent (NFD)."""
    return unicodedata.normalize("NFC", name)


def nfd(name: str) -> str:
    """`name` in Unicode's form NFD, in which macOS writes names."""
    return unicodedata.normalize("NFD", name)


def distinct_nfc(names: Sequence[str]) -> list[str]:
    """Each name in NFC; as it is where two names would become one."""
    counted = Counter(map(nfc, names))
    return [name if counted[nfc(name)] > 1 else nfc(name) for name in names]


def escape_markdown(text: str) -> str:
    """`text` on one line, with Markdown's special characters (also those of tables and HTML) escaped."""
    return "".join(f"\\{char}" if char in "\\|*_`[]<" else char for char in " ".join(text.split()))


def csv_text(rows: Iterable[Iterable[object]]) -> str:
    """Rows as CSV with `\\n` at their ends. Carriage returns in fields are quoted, which csv omits with that ending."""
    lines = []
    for row in rows:
        line = io.StringIO()
        csv.writer(line, lineterminator="\r\n").writerow(row)
        lines.append(line.getvalue().removesuffix("\r\n") + "\n")
    return "".join(lines)


def cut_list(lines: Sequence[str], hint: str = "", listed: int = LISTED) -> list[str]:
    """The first `listed` lines and, where there are more, a line with the number of the others and where they are."""
    if len(lines) <= listed + 1:  # a line that counts one line is no shorter
        return [*lines]
    return [*lines[:listed], f"and {len(lines) - listed:,} more{f': {hint}' if hint else ''}"]
