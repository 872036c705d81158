"""Every benchmark has `--quick`, `make bench-quick` runs it, and CI calls that; tables are checked when printed."""

import argparse
import ast
import re
from pathlib import Path

import pytest
from rich.table import Table

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "benchmarks"
MAKEFILE = (ROOT / "Makefile").read_text()
SCRIPTS = [path for path in sorted(FOLDER.glob("*.py")) if '__name__ == "__main__"' in path.read_text()]
LISTED = re.search(r"(?m)^BENCHMARKS := (.*)$", MAKEFILE)[1].split()


@pytest.fixture
def harness(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    from support import harness

    return harness


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_benchmark_has_quick_and_is_in_the_makefile(path):
    """`parse_arguments` adds `--quick`."""
    calls = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
    parsed = [call for call in calls if getattr(call.func, "id", None) == "parse_arguments"]
    assert [ast.unparse(argument) for call in parsed for argument in call.args] == ["parser", "QUICK"]
    assert LISTED.count(path.stem) == 1


def test_makefile_lists_no_other_benchmarks_and_ci_runs_them():
    assert sorted(LISTED) == [path.stem for path in SCRIPTS]
    assert len(SCRIPTS) >= 7
    recipe = re.search(r"(?m)^bench-quick:.*\n((?:\t.*\n)+)", MAKEFILE)[1]
    assert "$(BENCHMARKS)" in recipe
    assert "benchmarks/NAME.py --quick" in recipe
    assert "make bench-quick" in (ROOT / ".ci" / "run").read_text().splitlines()


def test_quick_replaces_the_defaults_and_nothing_that_was_given(harness, monkeypatch):
    def parsed(*words):
        monkeypatch.setattr("sys.argv", ["benchmark", *words])
        parser = argparse.ArgumentParser()
        parser.add_argument("--runs", type=int, default=5)
        parser.add_argument("--rounds", type=int, default=7)
        return vars(harness.parse_arguments(parser, {"runs": 1, "rounds": 1}))

    assert parsed() == {"runs": 5, "rounds": 7, "quick": False}
    assert parsed("--quick") == {"runs": 1, "rounds": 1, "quick": True}
    assert parsed("--quick", "--runs", "3") == {"runs": 3, "rounds": 1, "quick": True}


def table_of(*rows):
    table = Table("", "seconds", title="a table")
    for row in rows:
        table.add_row(*row)
    return table


def test_whole_table_is_printed(harness, capsys):
    harness.print_table(table_of(("first", "1.00"), ("second", "2.00")), 2, [1.0, 2.0], [-1.0], width=60)
    printed = capsys.readouterr().out
    assert all(text in printed for text in ("a table", "first", "1.00", "second", "2.00"))


def test_tables_are_added_to_the_results_in_markdown_under_the_machine(harness, monkeypatch, tmp_path, capsys):
    results = tmp_path / "RESULTS.md"
    monkeypatch.setenv("BENCH_RESULTS", str(results))
    monkeypatch.setattr("sys.argv", ["/somewhere/benchmarks/predict.py", "--photos", "/somewhere/photos"])
    for name in ("first", "second"):
        harness.print_table(table_of((name, "1.00")), 1, [1.0], width=60)
    text = results.read_text()
    assert text.startswith("# Measured\n")
    assert text.count("# Measured") == 1
    assert text.count("## a table\n") == text.count("|  | seconds |\n| --- | --- |\n") == 2
    assert [line for line in text.splitlines() if "1.00" in line] == ["| first | 1.00 |", "| second | 1.00 |"]
    assert "`predict.py --photos photos`" in text
    assert "somewhere" not in text


@pytest.mark.parametrize(
    ("rows", "measured", "derived", "message"),
    [
        (2, [1.0], [], "1 rows instead of 2"),
        (1, [], [], "finite and positive"),
        (1, [0.0], [], "finite and positive"),
        (1, [-1.0], [], "finite and positive"),
        (1, [float("nan")], [], "finite and positive"),
        (1, [float("inf")], [], "finite and positive"),
        (1, [1.0], [float("nan")], "not all figures are finite: "),
    ],
)
def test_incomplete_table_is_an_error(harness, capsys, rows, measured, derived, message):
    with pytest.raises(RuntimeError, match=message):
        harness.print_table(table_of(("first", "1.00")), rows, measured, derived)
    assert capsys.readouterr().out == ""


def test_a_part_of_the_gpu_benchmark_that_fails_is_a_row_and_the_others_are_measured(monkeypatch, harness):
    import gpu

    def fail():
        raise RuntimeError("CUDA error:\nout of luck")

    report = gpu.Report()
    rows = report.table("Steps", ("model", "rate", "waits"), [fail, lambda: ["tiny", "7", "0"]])
    assert rows == [["FAILED", "CUDA error: out of luck", ""], ["tiny", "7", "0"]]
    assert report.failed == 1
    assert "## Steps\n\n| model | rate | waits |\n| --- | --- | --- |\n| FAILED | CUDA" in report.text


def test_without_a_gpu_it_says_so_in_one_line(monkeypatch, harness):
    import gpu

    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr("sys.argv", ["gpu.py"])
    with pytest.raises(SystemExit, match="error: torch sees no GPU here"):
        gpu.main()
