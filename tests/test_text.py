"""One Unicode form for names, and lists cut for a terminal."""

import csv
import io

from flowerml.text import csv_text, cut_list, distinct_nfc, nfc, storable

COMPOSED, DECOMPOSED = "caf\u00e9", "cafe\u0301"


def test_names_are_compared_in_nfc():
    assert nfc(DECOMPOSED) == nfc(COMPOSED) == COMPOSED
    assert nfc("\udce9 花 🌻") == "\udce9 花 🌻"


def test_two_names_never_become_one():
    assert distinct_nfc([DECOMPOSED, "a"]) == [COMPOSED, "a"]
    assert distinct_nfc([DECOMPOSED, COMPOSED]) == [DECOMPOSED, COMPOSED]


def test_a_long_list_ends_with_the_number_of_the_others():
    lines = [str(number) for number in range(2404)]
    assert cut_list(lines, "see there") == [*lines[:20], "and 2,384 more: see there"]
    assert cut_list(lines[:21]) == lines[:21], "a line that counts one line is no shorter"
    assert cut_list(lines[:5], listed=2) == ["0", "1", "and 3 more"]
    assert cut_list([]) == []


def test_what_no_store_takes_is_escaped_and_nothing_else():
    assert storable("ros\udce9 \x00\x1b[31m\x85") == r"ros\udce9 \x00\x1b[31m\x85"
    kept = "tab\t, two\nlines, 花 🌻 é \u202e \u200d \xa0"
    assert storable(kept) == kept


def test_csv_rows_read_back_as_they_were_whatever_line_breaks_they_hold():
    rows = [["a\rb", "c\nd", "e\r\nf"], ["plain", 'quo"ted', "com,ma"], ["", "1", "2"]]
    text = csv_text(rows)
    assert [*csv.reader(io.StringIO(text, newline=""))] == rows
    assert text.endswith(",1,2\n")
    assert csv_text([["a", 1]]) == "a,1\n"
