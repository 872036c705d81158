"""Text of users: one Unicode form for names, escapes for what can't be stored, and long lists cut for a terminal."""

import csv
import io
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

# Undecodable bytes of file names (surrogates), and control characters except tab, newline and carriage return.
_NOT_STORABLE = re.compile(r"[\ud800-\udfff\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")
_FORMULA = re.compile(r"'*[=+\-@\t\r]")
_QUOTED_FORMULA = re.compile(r"'+[=+\-@\t\r]")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?|[+-]?(inf|nan)", re.IGNORECASE)
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
    """Rows as CSV with `\\n` at their ends. Carriage returns in fields are quoted, which csv omits with that ending.

    A text that a spreadsheet would take for a formula (a picture named `=HYPERLINK(...).jpg`) gets an apostrophe before
    it (OWASP, "CSV Injection"); `CsvRows` takes it away again.
    """
    lines = []
    for row in rows:
        line = io.StringIO()
        csv.writer(line, lineterminator="\r\n").writerow([_csv_cell(value) for value in row])
        lines.append(line.getvalue().removesuffix("\r\n") + "\n")
    return "".join(lines)


def _csv_cell(value: object) -> object:
    if value is None or isinstance(value, int | float):
        return value
    text = str(value)
    return f"'{text}" if _FORMULA.match(text) and not _NUMBER.fullmatch(text) else text


class CsvRows(csv.DictReader):
    """`csv.DictReader` of a file that `csv_text` wrote, or earlier versions: apostrophes before formulas are gone."""

    def __next__(self) -> dict[Any, Any]:
        """The next row. Raises csv.Error."""
        return {
            name: text[1:] if isinstance(text, str) and _QUOTED_FORMULA.match(text) else text
            for name, text in super().__next__().items()
        }


def cut_list(lines: Sequence[str], hint: str = "", listed: int = LISTED) -> list[str]:
    """The first `listed` lines and, where there are more, a line with the number of the others and where they are."""
    if len(lines) <= listed + 1:  # a line that counts one line is no shorter
        return [*lines]
    return [*lines[:listed], f"and {len(lines) - listed:,} more{f': {hint}' if hint else ''}"]
