"""One Unicode form for names, and lists cut for a terminal."""

import csv
import io

import pytest

from flowerml.text import CsvRows, csv_text, cut_list, distinct_nfc, nfc, storable

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


@pytest.mark.parametrize(
    "name", ["=HYPERLINK(A1).jpg", "@SUM(1).jpg", "+1-2.jpg", "-2+3.jpg", "\t=1", "\r=1", "'=1", "''-1x", "=1\n=2"]
)
def test_no_spreadsheet_takes_a_name_for_a_formula_and_it_reads_back(name):
    text = csv_text([["image", "energy"], [name, "-3.5"]])
    ((image, energy),) = [*csv.reader(io.StringIO(text, newline=""))][1:]
    assert image == f"'{name}"
    assert energy == "-3.5"
    assert [*CsvRows(io.StringIO(text, newline=""))] == [{"image": name, "energy": "-3.5"}]


@pytest.mark.parametrize("text", ["-1", "+1.5", "-1e-05", "-inf", "nan", "a=b", "'quoted'", "", "5-3.jpg"])
def test_numbers_and_harmless_names_stay_as_they_are(text):
    assert csv_text([[text, "x"]]) == f"{text},x\n"
    assert [*CsvRows(["a,b\n", f"{text},x\n"])] == [{"a": text, "b": "x"}]
